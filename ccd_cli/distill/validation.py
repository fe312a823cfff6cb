"""What a student is scored on while it trains: a user's own pairs or held-out generated scenes, by the rules of `ccd eval`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ccd_cli.benchmarks import Benchmark, Prediction, Sample, Spec, spread
from ccd_cli.benchmarks.generated import HeldOutScenes
from ccd_cli.benchmarks.predictors import from_map
from ccd_cli.benchmarks.suites import open_pairs
from ccd_cli.config.common import HELD_OUT, Scenes
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.errors import CcdError
from ccd_cli.core.paths import expand_home
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.precomputed import PrecomputedLabels
from ccd_cli.geometry.depth_map import checked
from ccd_cli.metrics.alignment import Method
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.scenes.source import SceneSource
from ccd_cli.scoring import baselines
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.image import ScoringOptions, score
from ccd_cli.scoring.protocol import HELD_OUT_SCENES, in_words, protocol
from ccd_cli.scoring.rows import NOT_SCORES, summary_row
from ccd_cli.teachers.adapters.native import NativeTeacher, predict_photos
from ccd_cli.teachers.base import Teacher

ALIGNMENT: Method = "least-squares-disparity"
"""What `--alignment auto` of `ccd eval` is for a student, which predicts disparity. Teachers of other kinds are fitted in
disparity as well, so that all scores can be compared."""
COMPARED = ("abs_rel", "rmse", "delta1", "delta2", "delta3")
"""Scores in the rows of a comparison."""

Predict = Callable[[Spec, Sample], Prediction]


class Validation:
    """Samples with ground truth, of one set or several, and how predictions are scored on them.

    At most `max_images` samples are used, spread evenly over all. Every mean is over the same samples: what cannot be read at
    first is left out for good. `resolution` is what networks see the photos at, for the
    protocol; `source` says where the sets come from.
    """

    def __init__(
        self,
        name: str,
        sets: Sequence[Benchmark],
        max_images: int | None = None,
        resolution: int | None = None,
        source: str = "",
    ) -> None:
        self.name = name
        every = [(benchmark, index) for benchmark in sets for index in range(len(benchmark))]
        self._samples = [every[i] for i in spread(len(every), max_images)]
        self.unreadable: dict[int, CcdError] = {}
        """Samples that cannot be read or scored, by number, with the reason: left out of every mean."""
        self._known = False  # which samples those are
        self._options = ScoringOptions(Alignment(ALIGNMENT, "", None))
        asked = {
            "suite": source,
            "alignment": ALIGNMENT,
            "alignment_max_res": None,
            "resolution": resolution,
            "camera": "set",
            "limit": len(self) if len(self) < len(every) else None,
        }
        if len(sets) > 1:
            asked["limit_of"] = "all sets together"
        self.protocol: dict[str, Any] = protocol(asked, sets, [])
        self.protocol["models"]["student"] = {"kind": "disparity", "alignment": ALIGNMENT}
        self.protocol["in_words"] = in_words(self.protocol)

    def __len__(self) -> int:
        return len(self._samples)

    def score(self, network: DepthNet | Teacher, resolution: int | None) -> dict[str, float]:
        """Return the mean scores of a network whose maps have a disparity, and `images`, how many it was scored on.

        `resolution` is the side at which it sees photos, unless the suite file says another. The scores are NaN where its map
        of one of the samples cannot be scored. Raises the last CcdError where no sample can be read, and CcdError where one
        that could be read before no longer can.
        """
        return self._means(lambda spec, sample: _predict(network, sample, spec.resolution or resolution))

    def baselines(self) -> list[dict[str, Any]]:
        """Return rows of `model` and scores for the trivial baselines: mean map, vertical gradient, constant.

        The mean map of an image is the mean of the others; of a single image there is none.
        """
        mean = baselines.MeanMap()
        for _, _, sample in self._readable():
            mean.add(sample)
        names = [name for name in baselines.ABOUT if name != "mean map" or mean.count > 1]
        return [_row(name, self._means(partial(_baseline, name, mean))) for name in names]

    def _readable(self) -> Iterator[tuple[int, Spec, Sample]]:
        """Yield (number, rules, sample) of what can be read; the same every time, else CcdError."""
        for number, (benchmark, index) in enumerate(self._samples):
            if number in self.unreadable:
                continue
            try:
                sample = benchmark.read(index)
            except CcdError as error:
                if self._known:
                    raise CcdError(
                        f"{error.message}; it could be read when the student was scored before, and a mean over other images "
                        "cannot be compared.",
                        "Restore it and resume.",
                    ) from error
                self.unreadable[number] = error
                continue
            yield number, benchmark.spec, sample

    def _means(self, predict: Predict) -> dict[str, float]:
        """Each image by itself, then the plain mean over images."""
        records: list[dict[str, Any]] = []
        failed, problem = False, CcdError(f"{self.name} holds no image.")
        for number, spec, sample in self._readable():
            try:
                records.append(score(spec, sample, predict(spec, sample), self._options)[0])
            except CcdError as error:
                if not self._known and not _can_be_scored(spec, sample, self._options):
                    self.unreadable[number] = CcdError(f"{sample.name}: {error.message}", error.hint)
                    continue
                failed, problem = True, error
        self._known = True
        if not failed:
            problem = next(reversed(self.unreadable.values()), problem)
        if not records:
            raise problem
        row = summary_row("", self.name, records, ALIGNMENT)
        scores = {key: float("nan") if failed else value for key, value in row.items() if key not in NOT_SCORES}
        return scores | {"images": float(len(self) - len(self.unreadable))}


def open_validation(recipe: DistillRecipe) -> Validation | None:
    """Return what the recipe scores its student on: `eval.pairs`, else `eval.scenes`, else None.

    Raises RecipeError for bad keys of the pairs file, UsageProblem for a clip, CcdError where files are missing.
    """
    rule, size = recipe.eval, recipe.crops.size
    if rule.pairs:
        path = expand_home(rule.pairs)
        sets = open_pairs(path)
        name = sets[0].spec.name if len(sets) == 1 else path.stem
        return Validation(name, sets, rule.max_images, size, str(path))
    if not rule.scenes:
        return None
    shape = recipe.images.scenes or Scenes()
    scenes = SceneSource(min(rule.scenes, rule.max_images), shape.height, shape.width, shape.family, HELD_OUT)
    return Validation("generated scenes", [HeldOutScenes(scenes)], None, size, HELD_OUT_SCENES)


def compare(
    validation: Validation,
    ensemble: TeacherEnsemble,
    untrained: DepthNet,
    best: dict[str, float] | None,
    resolution: int,
) -> list[dict[str, Any]]:
    """Return rows of `model` and scores: teachers, the student untrained and its best checkpoint, and trivial baselines.

    Teachers see a photo at the student's resolution (those of other libraries at their own); affine depth has no disparity of
    its own and is left out.
    """
    rows = []
    for member in ensemble.members:
        teacher = member.teacher
        if not isinstance(teacher, PrecomputedLabels) and teacher.kind != "affine-depth":
            side = _side(teacher, resolution) if isinstance(teacher, NativeTeacher) else None
            rows.append(_row(f"teacher {teacher.name}", validation.score(teacher, side)))
    rows.append(_row("student, untrained", validation.score(untrained, resolution)))
    if best is not None:
        rows.append(_row("student, best checkpoint", best))
    return rows + validation.baselines()


def _can_be_scored(spec: Spec, sample: Sample, options: ScoringOptions) -> bool:
    """Return whether a sample's own ground truth, as the disparity that a network would predict, can be scored."""
    values = np.where(sample.mask, 1.0 / np.where(sample.mask, sample.depth, 1.0), 0.0).astype(np.float32)
    try:
        score(spec, sample, Prediction(values, "disparity", np.asarray(sample.mask)), options)
    except CcdError:
        return False
    return True


def _row(model: str, scores: dict[str, float]) -> dict[str, Any]:
    return {"model": model, **{key: scores[key] for key in COMPARED}}


def _side(teacher: NativeTeacher, size: int) -> int:
    """The side at which a teacher sees photos: its own setting, else the student's, rounded to its multiple."""
    multiple = teacher.model.arch.multiple
    return teacher.resolution or max(1, round(size / multiple)) * multiple


def _baseline(name: baselines.Baseline, mean: baselines.MeanMap, _: Spec, sample: Sample) -> Prediction:
    return baselines.baseline(name, sample, mean)


def _predict(network: DepthNet | Teacher, sample: Sample, side: int | None) -> Prediction:
    if isinstance(network, DepthNet):
        return from_map(checked(predict_photos(network, [sample.rgb], side)[0], network.arch.kind))
    focal = sample.camera.fx if sample.camera else None
    return from_map(network.predict_photos([sample.rgb], side, [focal])[0])
