"""Seeds of steps, epochs and images from a run's seed."""

from __future__ import annotations

from enum import IntEnum


class Draw(IntEnum):
    """What a seed is for: two draws of one run with the same counters differ by it. The numbers never change."""

    INITIAL_WEIGHTS = 0
    ORDER = 1  # of images in an epoch
    VIEWS = 2  # crops and augmentation of a position
    STEP = 3  # torch's generators in a training step
    TEACHER = 4  # of a step
    HEADERS = 5  # which images are checked before a run
    LABEL_NOISE = 6
    SHARD_ORDER = 7
    TEACHER_NOISE = 8  # of teachers that sample, in a shard
    PROJECTION = 9  # first weights of the feature term's map
    FLIP = 10  # of the views of a position


def step_seed(seed: int, *parts: int) -> int:
    """Mix a run's seed with a `Draw` and counters into one 63-bit seed; the same on every machine."""
    value = seed & 0xFFFFFFFFFFFFFFFF
    for part in parts:
        value = (
            value ^ (part + 0x9E3779B97F4A7C15 + ((value << 6) & 0xFFFFFFFFFFFFFFFF) + (value >> 2))
        ) & 0xFFFFFFFFFFFFFFFF
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value >> 1
