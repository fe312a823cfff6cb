"""How sharp models are: boundary F1 and contrast at true edges, on held-out generated scenes.

python tests/benchmarks/score_edges.py builtin:global builtin:sharp builtin:tiny [--family varied] [--scenes 30]

Scenes of 192x256 pixels, every model at its own default side, maps aligned and scored as `ccd eval` does on a user's own sets
(least squares in disparity). Boundary F1 is Depth Pro's scale-invariant one. Contrast is the summed step of the fitted map
across the strongest 2 % of true horizontal steps of 1/depth, as a share of the true one. The vertical gradient, a trivial
baseline without edges of its own, is scored beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from ccd_cli.benchmarks import Benchmark, Prediction, Sample
from ccd_cli.benchmarks.generated import HeldOutScenes
from ccd_cli.benchmarks.predictors import from_map
from ccd_cli.config.common import HELD_OUT
from ccd_cli.core.errors import ImageError
from ccd_cli.metrics.alignment import AUTO
from ccd_cli.metrics.boundary import depth_pro_f1
from ccd_cli.scenes.source import SceneSource
from ccd_cli.scenes.world.compose import FAMILIES
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.baselines import MeanMap, baseline
from ccd_cli.scoring.image import ScoringOptions
from ccd_cli.scoring.image import score as score_image
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.load import load_teacher

FAR = 1e3  # meters that stand for sky
OPTIONS = ScoringOptions(Alignment(AUTO["disparity"], "", None))


def score(predict: Callable[[Sample], Prediction], scenes: Benchmark) -> tuple[float, float, float, float]:
    """Return mean (AbsRel, boundary F1, contrast, delta1) of what gives a disparity of a sample."""
    rows = []
    for index in range(len(scenes)):
        with suppress(ImageError):
            sample = scenes.read(index)
            if sample.mask.mean() >= 0.3:
                rows.append(_score(predict(sample), sample, scenes))
    error, f1, contrast, delta1 = map(float, np.mean(rows, axis=0))
    return error, f1, contrast, delta1


def _score(made: Prediction, sample: Sample, scenes: Benchmark) -> tuple[float, float, float, float]:
    valid = sample.mask
    true = np.where(valid, 1 / np.where(valid, sample.depth, 1), 0)
    step, both = np.abs(np.diff(true, axis=1)), valid[:, 1:] & valid[:, :-1]
    edge = both & (step > np.quantile(step[both], 0.98))
    record, meters = score_image(scenes.spec, sample, made, OPTIONS)
    fitted = record["scale"] * made.values + record["shift"]
    f1 = depth_pro_f1(meters, np.where(valid, sample.depth, FAR), valid)
    contrast = np.abs(np.diff(fitted, axis=1))[edge].sum() / step[edge].sum()
    return record["scores"]["abs_rel"], f1, contrast, record["scores"]["delta1"]


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--scenes", type=int, default=30)
    parser.add_argument("--family", choices=FAMILIES, default="mixed")
    args = parser.parse_args()
    scenes = HeldOutScenes(SceneSource(count=args.scenes, height=192, width=256, family=args.family, first=HELD_OUT))
    for model in args.models:
        _show(model, score(predictor(load_teacher(model)), scenes))
    _show("vertical gradient", score(lambda sample: baseline("vertical gradient", sample, MeanMap()), scenes))


def predictor(teacher: Teacher) -> Callable[[Sample], Prediction]:
    """Return what gives a teacher's map of one sample, seen at its own side."""
    return lambda sample: from_map(teacher.predict_photos([sample.rgb])[0])


def _show(name: str, scores: tuple[float, float, float, float]) -> None:
    print(
        f"{name:<24} AbsRel {scores[0]:.4f}  boundary F1 {scores[1]:.4f}  contrast {scores[2]:.1%}  delta1 {scores[3]:.4f}"
    )


if __name__ == "__main__":
    main()
