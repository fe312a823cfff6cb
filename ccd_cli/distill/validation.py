"""What a student is scored on while it trains: a user's own pairs or held-out generated scenes, by the rules of `ccd eval`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from ccd_cli.benchmarks import Benchmark, Prediction, Sample, Spec, spread
from ccd_cli.benchmarks.generated import HeldOutScenes
from ccd_cli.benchmarks.own.sets import CustomBenchmark
from ccd_cli.benchmarks.own.training import OpenPairs, check_apart, contents_of
from ccd_cli.benchmarks.predictors import from_map
from ccd_cli.benchmarks.suites import open_pairs
from ccd_cli.config.common import HELD_OUT, Scenes
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.paths import expand_home
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.precomputed import PrecomputedLabels
from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.alignment import AUTO, Method
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.scenes.source import SceneSource
from ccd_cli.scoring import baselines
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.image import ScoringOptions, score
from ccd_cli.scoring.protocol import HELD_OUT_SCENES, in_words, protocol
from ccd_cli.scoring.rows import NOT_SCORES, summary_row
from ccd_cli.teachers.adapters.native import NativeTeacher, predict_photos
from ccd_cli.teachers.base import Teacher

COMPARED = ("abs_rel", "rmse", "delta1", "delta2", "delta3")
"""Scores in the rows of a comparison."""

Predict = Callable[[Spec, Sample], Prediction]


class Validation:
    """Samples with ground truth, of one set or several, and how predictions are scored on them.

    At most `max_images` samples are used, spread evenly over all. Every mean is over the same samples: what cannot be read at
    first is left out for good. `resolution` is what networks see the photos at, for the protocol; `source` says where the sets
    come from. Maps are fitted as `--alignment auto` of `ccd eval` does for the student's `kind`: of metric students not at all.
    """

    def __init__(
        self,
        name: str,
        sets: Sequence[Benchmark],
        max_images: int | None = None,
        resolution: int | None = None,
        source: str = "",
        kind: Kind = "disparity",
    ) -> None:
        self.name, self.kind = name, kind
        self.own = [benchmark for benchmark in sets if isinstance(benchmark, CustomBenchmark)]
        every = [(benchmark, index) for benchmark in sets for index in range(len(benchmark))]
        self._samples = [every[i] for i in spread(len(every), max_images)]
        self.unreadable: dict[int, CcdError] = {}
        """Samples that cannot be read or scored, by number, with the reason: left out of every mean."""
        self._known = False  # which samples those are
        self.alignment = AUTO[kind]
        asked = {
            "suite": source,
            "alignment": self.alignment,
            "alignment_max_res": None,
            "resolution": resolution,
            "camera": "set",
            "limit": len(self) if len(self) < len(every) else None,
        }
        if len(sets) > 1:
            asked["limit_of"] = "all sets together"
        self.protocol: dict[str, Any] = protocol(asked, sets, [])
        self.protocol["models"]["student"] = {"kind": kind, "alignment": self.alignment}
        self.protocol["in_words"] = in_words(self.protocol)

    def __len__(self) -> int:
        return len(self._samples)

    @cached_property
    def digest(self) -> str:
        """Return a sha256 over the samples, their ground truth and its rules: scores before and after a stop are of the same."""
        rules = [repr(each.rule if isinstance(each, CustomBenchmark) else each.spec) for each, _ in self._samples]
        own = [(benchmark, index) for benchmark, index in self._samples if isinstance(benchmark, CustomBenchmark)]
        text = "\n".join([*dict.fromkeys(rules), *self.names(), *contents_of(own)])
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def names(self) -> list[str]:
        """Return the names of the samples that are scored."""
        names = {id(benchmark): benchmark.names() for benchmark, _ in self._samples}
        return [names[id(benchmark)][index] for benchmark, index in self._samples]

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
        mean = baselines.MeanMap("affine-depth" if self.kind == "depth" else "disparity")
        for _, _, sample in self._readable():
            mean.add(sample)
        names = [name for name in baselines.ABOUT if name != "mean map" or mean.count > 1]
        fitted = self.fitted(mean.kind)
        return [_row(name + fitted, self._means(partial(_baseline, name, mean))) for name in names]

    def fitted(self, kind: Kind) -> str:
        """Return what a row says of a map of a kind that is fitted in another way than the student's: nothing where it is not."""
        return "" if self._method(kind) == self.alignment else f" ({kind}, fitted)"

    def _method(self, kind: Kind) -> Method:
        """Beside a student of disparity all are fitted in disparity, so that scores can be compared; else each in its own."""
        return self.alignment if self.kind == "disparity" else AUTO[kind]

    def _score(self, spec: Spec, sample: Sample, prediction: Prediction) -> dict[str, Any]:
        options = ScoringOptions(Alignment(self._method(prediction.kind or self.kind), "", None))
        return score(spec, sample, prediction, options)[0]

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
                records.append(self._score(spec, sample, predict(spec, sample)))
            except CcdError as error:
                if not self._known and not self._can_be_scored(spec, sample):
                    self.unreadable[number] = CcdError(f"{sample.name}: {error.message}", error.hint)
                    continue
                failed, problem = True, error
        self._known = True
        if not failed:
            problem = next(reversed(self.unreadable.values()), problem)
        if not records:
            raise problem
        row = summary_row("", self.name, records, self.alignment)
        scores = {key: float("nan") if failed else value for key, value in row.items() if key not in NOT_SCORES}
        return scores | {"images": float(len(self) - len(self.unreadable))}

    def _can_be_scored(self, spec: Spec, sample: Sample) -> bool:
        """Whether a sample's own ground truth, as a network would predict it, can be scored."""
        depth = np.where(sample.mask, sample.depth, 1.0)
        values = np.where(sample.mask, 1.0 / depth if self.kind == "disparity" else depth, 0.0).astype(np.float32)
        try:
            self._score(spec, sample, Prediction(values, self.kind, np.asarray(sample.mask)))
        except CcdError:
            return False
        return True


def open_validation(recipe: DistillRecipe, pairs: OpenPairs | None = None) -> Validation | None:
    """Return what the recipe scores its student on: `eval.pairs`, else what `images.pairs` hold out, else `eval.scenes`, else None.

    `pairs` are those of the recipe or of its labels, opened. Raises RecipeError for bad keys of the pairs file, UsageProblem for a
    clip, for images that are trained on too, and for sets that do not tell what the student's kind is scored on; CcdError where
    files are missing.
    """
    rule, size, kind = recipe.eval, recipe.crops.size, recipe.student.kind
    if rule.pairs:
        path = expand_home(rule.pairs)
        sets = open_pairs(path)
        name = sets[0].spec.name if len(sets) == 1 else path.stem
        if pairs is not None:
            held = [one for one in sets if isinstance(one, CustomBenchmark)]
            check_apart(pairs.train.paths, [one.root / files[0] for one in held for files in one.files])
        _check_kind(recipe, sets)
        return Validation(name, sets, rule.max_images, size, str(path), kind)
    if pairs is not None and pairs.validation:
        held = pairs.validation
        name = held[0].spec.name if len(held) == 1 else "held-out pairs"
        return Validation(f"{name} (held out)", held, rule.max_images, size, "images.pairs", kind)
    if not rule.scenes:
        return None
    shape = recipe.images.scenes or Scenes()
    scenes = SceneSource(min(rule.scenes, rule.max_images), shape.height, shape.width, shape.family, HELD_OUT)
    return Validation("generated scenes", [HeldOutScenes(scenes)], None, size, HELD_OUT_SCENES, kind)


def _check_kind(recipe: DistillRecipe, sets: Sequence[Benchmark]) -> None:
    """Raise UsageProblem where a metric student cannot be scored in meters."""
    if recipe.student.kind != "metric":
        return
    for one in sets:
        if isinstance(one, CustomBenchmark) and not one.rule.metric:
            raise UsageProblem(
                f"eval.pairs: the depth of {one.rule.name} has no unit, and a metric student is scored in meters.",
                "Give `baseline` and `focal` in its file, or other pairs.",
            )
        if isinstance(one, CustomBenchmark) and recipe.student.canonical_focal and one.rule.intrinsics is None:
            raise UsageProblem(
                f"eval.pairs: {one.rule.name} has no `intrinsics`, and a student with canonical_focal needs focal lengths.",
                "Give them in its file, or remove canonical_focal.",
            )


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
            name = f"teacher {teacher.name}{validation.fitted(teacher.kind)}"
            rows.append(_row(name, validation.score(teacher, side)))
    rows.append(_row("student, untrained", validation.score(untrained, resolution)))
    if best is not None:
        rows.append(_row("student, best checkpoint", best))
    return rows + validation.baselines()


def _row(model: str, scores: dict[str, float]) -> dict[str, Any]:
    return {"model": model, **{key: scores[key] for key in COMPARED}}


def _side(teacher: NativeTeacher, size: int) -> int:
    """The side at which a teacher sees photos: its own setting, else the student's, rounded to its multiple."""
    multiple = teacher.model.arch.multiple
    return teacher.resolution or max(1, round(size / multiple)) * multiple


def _baseline(name: baselines.Baseline, mean: baselines.MeanMap, _: Spec, sample: Sample) -> Prediction:
    return baselines.baseline(name, sample, mean)


def _predict(network: DepthNet | Teacher, sample: Sample, side: int | None) -> Prediction:
    focal = sample.camera.fx if sample.camera else None
    if isinstance(network, DepthNet):
        return from_map(predict_photos(network, [sample.rgb], side, focals=[focal])[0])
    return from_map(network.predict_photos([sample.rgb], side, [focal])[0])
