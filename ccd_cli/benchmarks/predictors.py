"""Where the maps come from that `ccd eval` scores: networks that run here (files: `prediction_files`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Benchmark, Prediction, Sample, Source, is_custom_suite
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.geometry.kinds import Kind
from ccd_cli.runtimes.choose import Work
from ccd_cli.teachers.adapters.diffusion import DiffusionTeacher
from ccd_cli.teachers.model import Model, predict_each

GPU_BATCH = 4  # of the largest sets, photo, truth and map of one image take 300 MB
NATIVE_SUITE = "zero-shot"  # its protocol runs diffusion models at the photo's size where it names no other


class ModelSource(Source):
    """A network that predicts here.

    It sees photos at `resolution`, else at what a suite of one's own says, each by its own rule; else at its own resolution.
    Only diffusion models (Marigold, GenPercept) see them as the protocol of a published set says, which was made for them:
    longer side `spec.resolution`, or in the zero-shot suite the photo as it is.
    Focal lengths go along where the set has cameras, unless `told` is False: some networks need them for meters. The network is
    loaded when the first photo comes, for `passes` of them.
    """

    def __init__(
        self,
        label: str,
        model: Model,
        resolution: int | None,
        suite: str,
        compute: Compute,
        told: bool = True,
        passes: int = 1,
    ) -> None:
        self.label = label
        self.kind: Kind | None = model.about.kind
        self._passes = passes
        self.batch = GPU_BATCH if compute.type == "cuda" else 1
        self.model = model
        self._resolution, self._suite, self._precision = resolution, suite, model.computed or compute.precision
        self._told = told

    def facts(self) -> dict[str, Any]:
        """Return the checkpoint's hash, its network, kind, license, resolution and number format."""
        about = self.model.about
        facts: dict[str, Any] = {
            "kind": about.kind,
            "sha256": about.checkpoint_sha256,
            "network": about.network,
            "license": about.license,
            "resolution": "the protocol's" if self._by_protocol else self.model.resolution,
            "precision": self._precision,
        }
        if not self._told:
            facts["focal lengths"] = "not told"
        if about.arch is None and (settings := getattr(self.model.teacher, "settings", None)):
            facts["sampling"] = str(settings)
        return facts

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

    def predict_parts(
        self, benchmark: Benchmark, sample: Sample, parts: Sequence[NDArray[np.uint8]]
    ) -> list[Prediction | CcdError]:
        """Predict parts [h, w, 3] of a sample's photo, each enlarged to the side at which the whole photo is seen."""
        side = self._side(benchmark, sample)
        return self._together([replace(sample, rgb=part) for part in parts], side)

    @property
    def _by_protocol(self) -> bool:
        foreign = self._resolution is None and self.model.about.arch is None
        return foreign and isinstance(self.model.teacher, DiffusionTeacher)

    @property
    def runtime(self) -> str:
        """What runs the network; torch before it is loaded."""
        return self.model.runtime if self.model.loaded else "torch"

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
        size = self.model.input_size(3, 4)
        teacher = self.model.begin(Work(self._passes, size and size[0] * size[1]))
        maps = predict_each(teacher, [sample.rgb for sample in samples], side, focals)
        return [made if isinstance(made, CcdError) else from_map(made) for made in maps]


def from_map(made: DepthMap) -> Prediction:
    """Return a model's map as a prediction to be scored."""
    known = np.isfinite(made.values)
    return Prediction(
        made.values, made.kind, known if made.valid is None else known & made.valid, made.camera, made.infinite
    )
