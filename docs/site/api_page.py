"""The reference of the Python API: the public names, which mkdocstrings describes from their docstrings."""

from __future__ import annotations

import ccd_cli

ORDER = (
    "load",
    "Model",
    "DepthMap",
    "Camera",
    "PointCloud",
    "point_cloud",
    "predict_video",
    "VideoResult",
    "evaluate",
    "Evaluation",
)
ORDER += ("metrics", "analyze", "distill", "label", "CcdError", "CcdWarning")


def api_page() -> str:
    """Return the page; a public name that is in neither list is an error."""
    homes = {name: module for module, names in ccd_cli._MODULES.items() for name in names}
    if missing := set(homes) ^ set(ORDER):
        raise ValueError(f"public names and this page differ: {sorted(missing)}")
    from ccd_cli.api import catalog

    lines = ["# Python API", "", "Made from the docstrings. [The guide](../python.md) shows how they go together.", ""]
    for name in ORDER:
        lines += [
            f"::: {homes[name]}.{name}",
            f"    options: {{heading: ccd.{name}, toc_label: ccd.{name}, heading_level: 2}}",
            "",
        ]
    lines += ["## `ccd.teachers`", ""]
    for name in catalog.__all__:
        lines += [f"::: ccd_cli.api.catalog.{name}", ""]
    return "\n".join(lines)
