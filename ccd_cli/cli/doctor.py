"""`ccd doctor`: versions and devices, for bug reports."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil

import click

import ccd_cli
from ccd_cli.cli.options import Command, options_from
from ccd_cli.cli.screen import JsonScreen

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "opencv-python",
    "pillow",
    "imageio",
    "av",
    "open3d",
    "safetensors",
    "huggingface-hub",
)
EXTRAS = {
    "transformers": "transformers",
    "diffusion": "diffusers",
    "moge": "moge",
    "data": "h5py",
    "ray": "ray",
    "heic": "pillow_heif",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "int8": "nncf",
    "wandb": "wandb",
    "mlflow": "mlflow",
}


@click.command(cls=Command, says="Collecting versions and devices")
@options_from(screen=JsonScreen)
def command(screen: JsonScreen) -> None:
    """Print versions, devices, optional dependencies and cache folder, for bug reports.

    Example: ccd doctor --json
    """
    facts = _facts()
    if screen.as_json:
        screen.document(facts)
        return
    for section, rows in facts.items():
        click.echo(section)
        for key, value in rows.items():
            click.echo(f"  {key:<20} {value}")


def _reachable() -> str:
    """Return whether the hub answers within three seconds."""
    import urllib.error
    import urllib.request

    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return "not checked: offline"
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=3).close()
    except urllib.error.HTTPError:
        return "yes"
    except (OSError, ValueError) as error:
        return f"no ({error})"
    return "yes"


def _facts() -> dict[str, dict[str, object]]:
    import torch

    from ccd_cli.core.compute import has_bf16, idle_gpu
    from ccd_cli.core.paths import cache_folder

    def version(package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    devices: dict[str, object] = {
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}"
    }
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        total = torch.cuda.get_device_properties(i).total_memory / 2**30
        devices[f"cuda:{i}"] = f"{torch.cuda.get_device_name(i)}, {total:.0f} GiB, bf16 {'yes' if has_bf16() else 'no'}"
    if not torch.cuda.is_available() and (why := idle_gpu()):
        devices["cuda"] = f"an NVIDIA GPU is there, but {why}"
    if torch.backends.mps.is_available():
        devices["mps"] = "available"
    folder = cache_folder()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    return {
        "ccd": {"version": ccd_cli.__version__, "python": platform.python_version(), "system": platform.platform()},
        "packages": {name: version(name) for name in PACKAGES},
        "extras": {
            name: "installed" if importlib.util.find_spec(module) else "not installed"
            for name, module in EXTRAS.items()
        },
        "devices": devices,
        "cache": {"folder": str(folder), "free": f"{shutil.disk_usage(existing).free / 2**30:.0f} GiB"},
        "hub": {
            "reachable": _reachable(),
            "address": os.environ.get("HF_ENDPOINT", "https://huggingface.co"),
            "offline": os.environ.get("HF_HUB_OFFLINE", "0"),
        },
    }
