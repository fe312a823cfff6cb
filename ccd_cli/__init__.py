"""ccd: distill, evaluate and use monocular depth models, from the command line and from Python (docs/python.md).

`import ccd_cli as ccd` loads nothing but this file; the first use of a name loads what it needs.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import inspect

    from ccd_cli.api import catalog as teachers
    from ccd_cli.api.clouds import PointCloud
    from ccd_cli.api.depth import DepthMap, point_cloud
    from ccd_cli.api.model import Model, load
    from ccd_cli.api.recipes import distill, label
    from ccd_cli.api.scores import Evaluation, analyze, evaluate, metrics
    from ccd_cli.api.video import VideoResult, predict_video
    from ccd_cli.core.errors import CcdError, CcdWarning
    from ccd_cli.geometry.depth_map import Camera

__version__ = "0.1.0"
__all__ = [
    "Camera",
    "CcdError",
    "CcdWarning",
    "DepthMap",
    "Evaluation",
    "Model",
    "PointCloud",
    "VideoResult",
    "__version__",
    "analyze",
    "distill",
    "evaluate",
    "label",
    "load",
    "metrics",
    "point_cloud",
    "predict_video",
    "teachers",
]

_MODULES = {
    "ccd_cli.api.clouds": ("PointCloud",),
    "ccd_cli.api.depth": ("DepthMap", "point_cloud"),
    "ccd_cli.api.model": ("Model", "load"),
    "ccd_cli.api.recipes": ("distill", "label"),
    "ccd_cli.api.scores": ("Evaluation", "analyze", "evaluate", "metrics"),
    "ccd_cli.api.video": ("VideoResult", "predict_video"),
    "ccd_cli.core.errors": ("CcdError", "CcdWarning"),
    "ccd_cli.geometry.depth_map": ("Camera",),
}
_CATALOG = "ccd_cli.api.catalog"
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def _public(name: str) -> Any:
    return getattr(importlib.import_module(_HOME[name]), name)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return _public(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Verb(ModuleType):
    def __call__(self, *args: Any, **values: Any) -> Any:
        return _public(self.__name__.rpartition(".")[2])(*args, **values)

    @property
    def __signature__(self) -> inspect.Signature:
        import inspect

        return inspect.signature(_public(self.__name__.rpartition(".")[2]))

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return str(_public(self.__name__.rpartition(".")[2]).__doc__)


class _Catalog(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in (catalog := importlib.import_module(_CATALOG)).__all__:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        return getattr(catalog, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *importlib.import_module(_CATALOG).__all__})


def _bind() -> None:
    """Give folders of this package that are called as a public function its call: Python binds them to the same name."""
    for name in ("analyze", "distill", "evaluate", "label", "metrics"):
        importlib.import_module(f"{__name__}.{name}").__class__ = _Verb
    importlib.import_module(f"{__name__}.teachers").__class__ = _Catalog


_bind()
