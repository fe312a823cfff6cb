"""Folders of the hub in the layout of `transformers`: what must lie in them, and loading them whole or not at all."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ccd_cli.core.errors import CheckpointError, TeacherError, first_line
from ccd_cli.geometry.kinds import Kind
from ccd_cli.models.files import SAFE_SUFFIX, check_file, read_header
from ccd_cli.models.strict import check_fit

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there
_INSTALL = 'pip install -e ".[transformers]"'


@dataclass(frozen=True)
class Family:
    """One `model_type` of `transformers`: its classes, and what its maps mean (None: the card has to tell)."""

    model: str
    processor: str
    kind: Kind | None = None


FAMILIES: Mapping[str, Family] = {
    "depth_anything": Family("DepthAnythingForDepthEstimation", "DPTImageProcessor"),
    "depth_pro": Family("DepthProForDepthEstimation", "DepthProImageProcessor", "metric"),
    "dpt": Family("DPTForDepthEstimation", "DPTImageProcessor"),
    "glpn": Family("GLPNForDepthEstimation", "GLPNImageProcessor", "metric"),
    "zoedepth": Family("ZoeDepthForDepthEstimation", "ZoeDepthImageProcessor", "metric"),
}
_BACKBONES = ("beit", "bit", "dinov2", "swinv2")

# The first fusion layer has nothing to add up, so its first residual unit is never run, and older folders lack it
# (`DPTFeatureFusionLayer.forward`). Mask tokens are for pre-training only.
_MAY_LACK = re.compile(r"(^|\.)fusion_stage\.layers\.0\.residual_layer1\.|(^|\.)mask_token$")
# Constants that older versions of `transformers` saved with the weights, and what only pre-training or classifying uses.
_MAY_HOLD = re.compile(r"\.relative_(position_index|coords_table)$|(^|\.)mask_token$|(^|\.)pooler\.dense\.")


def kind_of(config: Mapping[str, Any], told: Kind) -> Kind:
    """Return what the maps of a folder's network mean, where its `config` says so, else what the card has `told`.

    Raises `CheckpointError` where the two contradict each other.
    """
    found = FAMILIES[config["model_type"]].kind
    if config["model_type"] == "depth_anything":
        found = "metric" if config.get("depth_estimation_type") == "metric" else "disparity"
    if found is not None and found != told:
        raise CheckpointError(f"The folder holds a network for {found} maps, its card says {told}.")
    return told


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config.json of a folder that can be loaded.

    Raises `CheckpointError` for folders that lack a file, or whose network is not one of `FAMILIES` or asks for another
    download.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder with {CONFIG}, {PROCESSOR} and {WEIGHTS[0]}.")
    lacking = [name for name in (CONFIG, PROCESSOR) if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in WEIGHTS):
        lacking.append(WEIGHTS[0])
    if lacking:
        raise CheckpointError(f"{folder} lacks {' and '.join(lacking)}.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{folder / CONFIG} is not a readable JSON file.") from None
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise CheckpointError(f"{folder} holds a network of type '{model_type}', not one of {known}.")
    backbone = config.get("backbone_config") or {}
    inner = backbone.get("model_type", _BACKBONES[0]) if isinstance(backbone, dict) else None
    if config.get("backbone") or config.get("use_pretrained_backbone") or inner not in _BACKBONES:
        named = config.get("backbone") or inner
        raise CheckpointError(f"{folder} builds on the backbone '{named}', not on one of {', '.join(_BACKBONES)}.")
    if model_type == "depth_pro" and not config.get("use_fov_model"):
        raise CheckpointError(f"{folder} holds a Depth Pro without its field of view, which gives no meters.")
    return config


def weights_file(folder: Path) -> Path:
    """Return the file that `load_folder` reads the weights of a folder from; raises `CheckpointError` if it is damaged."""
    path = next(folder / name for name in WEIGHTS if (folder / name).is_file())
    if path.suffix == SAFE_SUFFIX:
        read_header(path)
    return check_file(path)


def load_folder(folder: Path, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return (model, image processor) of a folder that `read_config` found in order; nothing is downloaded or executed.

    The model is in float32 on the CPU. Every tensor of it must be in the file, fit, and every one of the file must be
    used, but for those that are never run; pickled weights are read without running them. Raises `TeacherError` where
    `transformers` is missing or too old, and `CheckpointError` for files that are damaged or do not fit.
    """
    library = _library()
    family = FAMILIES[config["model_type"]]
    weights = weights_file(folder)
    if not all(hasattr(library, name) for name in (family.model, family.processor)):
        raise _too_old(library)
    with _quiet(library):
        try:
            processor = getattr(library, family.processor).from_pretrained(folder, local_files_only=True)
        except Exception as error:  # whatever a wrong file makes it raise
            raise CheckpointError(f"{folder / PROCESSOR} cannot be used ({first_line(error)}).") from None
        if getattr(processor, "backend", None) != "torchvision":
            raise _too_old(library)
        try:
            model, report = getattr(library, family.model).from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=weights.suffix == SAFE_SUFFIX,
                weights_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # `_check` names them
                output_loading_info=True,
            )
        except Exception as error:
            raise CheckpointError(f"{folder} cannot be loaded ({first_line(error)}).") from None
    _check(weights, report)
    return model, processor


def _library() -> Any:
    if importlib.util.find_spec("transformers") is None:
        raise TeacherError("This teacher needs the transformers package.", _INSTALL)
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise TeacherError(f"The transformers package cannot be imported ({first_line(error)}).", _INSTALL) from None


def _too_old(library: Any) -> TeacherError:
    return TeacherError(f"transformers {library.__version__} is too old for this teacher.", f"{_INSTALL} --upgrade")


def _check(path: Path, report: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` for anything that `from_pretrained` only warns about."""
    check_fit(
        path,
        sorted(name for name in report["missing_keys"] if not _MAY_LACK.search(name)),
        sorted(name for name in report["unexpected_keys"] if not _MAY_HOLD.search(name)),
        sorted(f"{name} ({list(there)} instead of {list(own)})" for name, there, own in report["mismatched_keys"]),
    )
    if report.get("error_msgs"):
        raise CheckpointError(f"{path} cannot be loaded ({str(report['error_msgs'][0])[:200]}).")


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Silence what `transformers` prints while it loads; what matters comes as an error."""
    logging = library.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
