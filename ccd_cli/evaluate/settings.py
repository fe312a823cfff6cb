"""What `ccd eval` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.kinds import Kind
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.points import CAMERA_CHOICES, CameraChoice


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to score, on what, and how. Raises UsageProblem for contradictions.

    Without `models` and `predictions` the default model is scored. `limit`: so many images of each set, spread evenly.
    `camera`: what points are unprojected with, the set's or the model's own. `command` only goes into the report.
    """

    suite: str = "zero-shot"
    models: tuple[str, ...] = ()
    arch: str | None = None
    data_root: Path = Path("data")
    predictions: Path | None = None
    prediction_kind: Kind | None = None
    alignment: str = "auto"
    alignment_max_res: int | None = None
    resolution: int | None = None
    camera: CameraChoice = "set"
    out: Path = Path("eval-out")
    overwrite: bool = False
    limit: int | None = None
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    command: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        alignment = Alignment(self.alignment, self.suite, self.alignment_max_res)
        if self.predictions is not None:
            alignment.check(self.prediction_kind)
        elif self.prediction_kind is not None:
            raise UsageProblem("--prediction-kind says what --predictions are, and there are none.")
        if self.camera not in CAMERA_CHOICES:
            raise UsageProblem(
                f"--camera {self.camera}: there is no such camera.", f"Choose from {', '.join(CAMERA_CHOICES)}."
            )
        if self.camera == "own" and self.predictions is not None:
            raise UsageProblem("--camera own is what a model predicts, and --predictions are maps without one.")
        if self.arch is not None and len(self.models) != 1:
            raise UsageProblem("--arch is about one checkpoint file.", "Give it together with one --model.")
        if (self.limit or 1) < 1:
            raise UsageProblem("--limit is 1 or more.")
