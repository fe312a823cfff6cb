"""Where the maps come from that `ccd eval` scores: networks that run here (files: `prediction_files`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Benchmark, Prediction, Sample, is_custom_suite
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.geometry.kinds import Kind
from ccd_cli.teachers.adapters.diffusion import DiffusionTeacher
from ccd_cli.teachers.model import Model, predict_each

GPU_BATCH = 4  # of the largest sets, photo, truth and map of one image take 300 MB
NATIVE_SUITE = "zero-shot"  # its protocol runs diffusion models at the photo's size where it names no other


class ModelSource:
    """A network that predicts here.

    It sees photos at `resolution`, else at what a suite of one's own says, each by its own rule; else at its own resolution.
    Only diffusion models (Marigold, GenPercept) see them as the protocol of a published set says, which was made for them:
    longer side `spec.resolution`, or in the zero-shot suite the photo as it is.
    Focal lengths go along where the set has cameras, unless `told` is False: some networks need them for meters.
    """

    def __init__(
        self, label: str, model: Model, resolution: int | None, suite: str, compute: Compute, told: bool = True
    ) -> None:
        self.label = label
        self.kind: Kind | None = model.teacher.kind
        self.batch = GPU_BATCH if compute.device.type == "cuda" else 1
        self.model = model
        self._resolution, self._suite, self._precision = resolution, suite, compute.precision
        self._told = told

    def facts(self) -> dict[str, Any]:
        """Return the checkpoint's hash, kind, license, resolution and number format."""
        teacher = self.model.teacher
        facts: dict[str, Any] = {
            "kind": teacher.kind,
            "sha256": teacher.checkpoint_sha256,
            "license": teacher.license,
            "resolution": "the protocol's" if self._by_protocol else self.model.resolution,
            "precision": self._precision,
        }
        if not self._told:
            facts["focal lengths"] = "not told"
        if settings := getattr(teacher, "settings", None):
            facts["sampling"] = str(settings)
        return facts

    def has(self, benchmark: Benchmark) -> bool:
        """True: it sees whatever there is."""
        return True

    def key(self, benchmark: Benchmark, index: int) -> str:
        """Nothing else: the photo belongs to the set."""
        return ""

    def prepare(self, benchmark: Benchmark, index: int) -> None:
        """Nothing to read."""

    def predict(
        self, benchmark: Benchmark, samples: Sequence[Sample], prepared: Sequence[NDArray[np.float32] | None]
    ) -> list[Prediction | CcdError]:
        """Predict samples together; where memory does not suffice, half as many at a time."""
        sides = [self._side(benchmark, sample) for sample in samples]
        made: list[Prediction | CcdError] = [CcdError("Not predicted.")] * len(samples)
        for side in dict.fromkeys(sides):
            group = [i for i, other in enumerate(sides) if other == side]
            for i, result in zip(group, self._together([samples[i] for i in group], side), strict=True):
                made[i] = result
        return made

    @property
    def _by_protocol(self) -> bool:
        return self._resolution is None and isinstance(self.model.teacher, DiffusionTeacher)

    def _side(self, benchmark: Benchmark, sample: Sample) -> int | None:
        wanted = benchmark.spec.resolution
        if self._resolution is None and is_custom_suite(self._suite) and wanted:
            return wanted
        if not self._by_protocol:
            return self.model.asked
        native = max(sample.rgb.shape[:2]) if self._suite == NATIVE_SUITE else None
        return wanted or native or self.model.asked

    def _together(self, samples: list[Sample], side: int | None) -> list[Prediction | CcdError]:
        focals = [sample.camera.fx if sample.camera and self._told else None for sample in samples]
        maps = predict_each(self.model.teacher, [sample.rgb for sample in samples], side, focals)
        return [made if isinstance(made, CcdError) else from_map(made) for made in maps]


def from_map(made: DepthMap) -> Prediction:
    """Return a model's map as a prediction to be scored."""
    known = np.isfinite(made.values)
    return Prediction(made.values, made.kind, known if made.valid is None else known & made.valid, made.camera)
