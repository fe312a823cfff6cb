"""What `ccd analyze` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccd_cli.core.errors import UsageProblem


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to look at. Raises UsageProblem for contradictions.

    `images` of each set, spread evenly. `draws` of each random corruption on each image. `command` only goes into the page.
    """

    suite: str = "builtin"
    model: str | None = None
    arch: str | None = None
    data_root: Path = Path("data")
    resolution: int | None = None
    out: Path = Path("analyze-out")
    images: int = 12
    draws: int = 3
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    command: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        if min(self.images, self.draws) < 1 or self.seed < 0:
            raise UsageProblem("--images and --draws are 1 or more, --seed 0 or more.")
        if self.model is None and (self.arch is not None or self.resolution is not None):
            raise UsageProblem("--arch and --resolution are about a model.", "Give --model.")
