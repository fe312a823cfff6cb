"""Words that options of `ccd eval` take. Free of numpy."""

from __future__ import annotations

from typing import Literal

from ccd_cli.metrics.methods import Method

AlignmentChoice = Literal["auto"] | Method
CameraChoice = Literal["set", "own"]
