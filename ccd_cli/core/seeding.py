"""Seeds of steps, epochs and images from a run's seed."""

from __future__ import annotations


def step_seed(seed: int, *parts: int) -> int:
    """Mix a run's seed with counters into one 63-bit seed; the same on every machine."""
    value = seed & 0xFFFFFFFFFFFFFFFF
    for part in parts:
        value = (
            value ^ (part + 0x9E3779B97F4A7C15 + ((value << 6) & 0xFFFFFFFFFFFFFFFF) + (value >> 2))
        ) & 0xFFFFFFFFFFFFFFFF
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value >> 1
