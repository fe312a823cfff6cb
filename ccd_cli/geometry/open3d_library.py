"""Open3D, where it is needed: it is large, and its system libraries may be missing."""

from __future__ import annotations

from typing import Any

from ccd_cli.core.errors import CcdError, first_line


def load_open3d(needs: str = "--voxel and --outliers", otherwise: str = "or leave these options out") -> Any:
    """Return the module `open3d`; raises CcdError where it, or a system library of it, is missing.

    `needs` says what needs it, `otherwise` what else can be done.
    """
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise CcdError(
            f"Open3D, which {needs} need, cannot be loaded ({first_line(error)}).",
            "Install it with: pip install open3d (on a minimal Linux also: apt-get install libx11-6 libgl1 libgomp1 libusb-1.0-0), "
            f"{otherwise}.",
        ) from error
    return open3d
