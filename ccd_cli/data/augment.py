"""Photometric changes of the student's input, after which the label stays where it is, and which images are flipped with it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ccd_cli.core.seeding import Draw, step_seed


@dataclass(frozen=True)
class Augmentation:
    """Strengths and probabilities, each in [0, 1]; see the recipe's `augment` section."""

    jitter: float = 0.4
    jitter_probability: float = 0.8
    gray_probability: float = 0.05
    blur_probability: float = 0.2
    flip_probability: float = 0.0

    def flips(self, seed: int, position: int) -> bool:
        """Return whether a run of this seed flips the views of a position; no other draw depends on it."""
        return bool(np.random.default_rng(step_seed(seed, Draw.FLIP, position)).random() < self.flip_probability)


def augment(image: np.ndarray, rng: np.random.Generator, augmentation: Augmentation) -> np.ndarray:
    """Return uint8 (H, W, 3) with color jitter, gray and blur drawn from `rng`.

    The same number of draws is made whatever is applied, so that one setting does not shift the others' randomness.
    """
    use_jitter, use_gray, use_blur = rng.uniform(size=3) < (
        augmentation.jitter_probability,
        augmentation.gray_probability,
        augmentation.blur_probability,
    )
    factors = 1 + augmentation.jitter * rng.uniform(-1, 1, size=3)
    hue = augmentation.jitter / 4 * float(rng.uniform(-1, 1))
    order = rng.permutation(4)
    sigma = float(rng.uniform(0.1, 2.0))
    if use_jitter and augmentation.jitter > 0:
        from torchvision.transforms.v2 import functional as photometric  # seconds, which a run without jitter saves

        pixels = torch.from_numpy(np.require(image, requirements=("C", "W"))).permute(2, 0, 1)
        for which in order:
            if which == 0:
                pixels = photometric.adjust_brightness(pixels, float(factors[0]))
            elif which == 1:
                pixels = photometric.adjust_contrast(pixels, float(factors[1]))
            elif which == 2:
                pixels = photometric.adjust_saturation(pixels, float(factors[2]))
            elif abs(hue) > 1e-3:
                pixels = photometric.adjust_hue(pixels, max(-0.5, min(0.5, hue)))
        image = pixels.permute(1, 2, 0).contiguous().numpy()
    if use_gray:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if use_blur:
        image = cv2.GaussianBlur(image, ksize=(0, 0), sigmaX=sigma)
    return np.ascontiguousarray(image)
