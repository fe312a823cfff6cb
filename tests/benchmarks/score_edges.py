"""How sharp models are: boundary F1 and contrast at true edges, on held-out generated scenes.

python tests/benchmarks/score_edges.py builtin:global builtin:sharp builtin:tiny [--family varied] [--scenes 30]

Scenes of 192x256 pixels, every model at its own default side, maps fitted in disparity by least squares. Boundary F1 is Depth
Pro's scale-invariant one. Contrast is the summed step of the fitted map across the strongest 2 % of true horizontal steps of
1/depth, as a share of the true one. A vertical gradient, which has no edges of its own, is scored beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from ccd_cli.distill.eval_set import SceneSet

from ccd_cli.config.common import HELD_OUT
from ccd_cli.metrics.alignment import least_squares
from ccd_cli.metrics.boundary import depth_pro_f1
from ccd_cli.scenes.rule import SceneSource
from ccd_cli.scenes.world.compose import FAMILIES
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.load import load_teacher

FAR = 1e3  # meters that stand for sky


def score(predict: Callable[[np.ndarray], np.ndarray], scenes: SceneSet) -> tuple[float, float, float]:
    """Return mean (AbsRel, boundary F1, contrast) of what gives a disparity [H, W] of a photo [H, W, 3]."""
    rows = []
    for index in range(len(scenes)):
        rgb, depth, valid = scenes.read(index)
        if valid.mean() < 0.3:
            continue
        true = np.where(valid, 1 / np.where(valid, depth, 1), 0)
        step, both = np.abs(np.diff(true, axis=1)), valid[:, 1:] & valid[:, :-1]
        edge = both & (step > np.quantile(step[both], 0.98))
        made = predict(rgb)
        scale, shift = least_squares(made[valid], true[valid])
        fitted = scale * made + shift
        meters = 1 / np.maximum(fitted, 1 / depth[valid].max())
        error = (np.abs(meters - depth)[valid] / depth[valid]).mean()
        f1 = depth_pro_f1(meters, np.where(valid, depth, FAR), valid)
        rows.append((error, f1, np.abs(np.diff(fitted, axis=1))[edge].sum() / step[edge].sum()))
    error, f1, contrast = np.mean(rows, axis=0)
    return float(error), float(f1), float(contrast)


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--scenes", type=int, default=30)
    parser.add_argument("--family", choices=FAMILIES, default="mixed")
    args = parser.parse_args()
    scenes = SceneSet(SceneSource(count=args.scenes, height=192, width=256, family=args.family, first=HELD_OUT))
    for model in args.models:
        _show(model, score(predictor(load_teacher(model)), scenes))
    _show("vertical gradient", score(_gradient, scenes))


def predictor(teacher: Teacher) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives a teacher's map of one photo, seen at its own side."""
    return lambda photo: np.asarray(teacher.predict_photos([photo])[0].values)


def _gradient(photo: np.ndarray) -> np.ndarray:
    return np.linspace(0, 1, photo.shape[0], dtype=np.float32)[:, None].repeat(photo.shape[1], 1)


def _show(name: str, scores: tuple[float, float, float]) -> None:
    print(f"{name:<24} AbsRel {scores[0]:.4f}  boundary F1 {scores[1]:.4f}  contrast {scores[2]:.1%}")


if __name__ == "__main__":
    main()
