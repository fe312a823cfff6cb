"""Where a report was made: command, versions and hardware."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

import ccd_cli

_PACKAGES = ("torch", "timm", "numpy", "opencv-python", "transformers", "diffusers")


def provenance(command: str, device: str) -> dict[str, str]:
    """Return {name: value} for a page: the command as typed, versions of what computes, and the machine."""
    found = {name: _version(name) for name in _PACKAGES}
    return {
        "Command": command or "–",
        "ccd": ccd_cli.__version__,
        "Python": platform.python_version(),
        "Packages": ", ".join(f"{name} {version}" for name, version in found.items() if version),
        "Device": device,
        "Machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return getattr(sys.modules.get("cv2"), "__version__", "") if package == "opencv-python" else ""
