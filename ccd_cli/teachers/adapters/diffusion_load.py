"""The door to the diffusion teachers: settings checked, then the family's own loader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ccd_cli.core.errors import TeacherError, UsageProblem
from ccd_cli.teachers.adapters.diffusion import DTYPES, DiffusionSettings
from ccd_cli.teachers.adapters.diffusion_parts import require_packages
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.registry import Card


def load(
    path: Path,
    card: Card,
    precision: str = "fp32",
    resolution: int | None = None,
    sha256: str = "",
    sampling: Mapping[str, int] | None = None,
) -> Teacher:
    """Return the Marigold or GenPercept teacher in the folder `path`, on the CPU; nothing is downloaded.

    `precision` is the type of the weights and of the computation; `resolution` the longer side in pixels at which it
    sees crops and photos (None: crops at their own size, photos as the authors do it). `sampling`
    holds `steps`, `ensemble` and `seed` where they shall not be the card's, see `DiffusionSettings`. Raises
    `TeacherError` where a package or
    a file is missing, `CheckpointError` for unusable or unsafe files, `UsageProblem` for senseless settings.
    """
    if precision not in DTYPES:
        raise UsageProblem(f"Unknown precision '{precision}': choose fp32, bf16 or fp16.")
    options = {key: card.options.get(key) for key in ("steps", "ensemble", "seed")} | dict(sampling or {})
    settings = DiffusionSettings(**{key: value for key, value in options.items() if value is not None})
    require_packages(card.name)
    if not path.is_dir():
        raise TeacherError(f"There is no folder {path} with the weights of {card.name}.")
    if card.family == "marigold":
        from ccd_cli.teachers.adapters.marigold import load_marigold

        return load_marigold(path, card, DTYPES[precision], resolution, sha256, settings)
    if card.family == "genpercept":
        from ccd_cli.teachers.adapters.genpercept import load_genpercept

        return load_genpercept(path, card, DTYPES[precision], resolution, sha256, settings)
    raise TeacherError(f"{card.name} is no diffusion teacher (its family is {card.family}).")
