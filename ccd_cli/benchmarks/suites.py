"""Open a suite by name: which of its sets are here, and why the others are not."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ccd_cli.benchmarks import da2k
from ccd_cli.benchmarks.base import Benchmark
from ccd_cli.benchmarks.clip import open_clip
from ccd_cli.benchmarks.layouts import LAYOUTS, ZERO_SHOT
from ccd_cli.benchmarks.moge.bundle import BUNDLE, open_moge
from ccd_cli.benchmarks.own.schema import CustomClip, CustomSet, read_suite
from ccd_cli.benchmarks.own.sets import open_custom
from ccd_cli.benchmarks.zero_shot import open_layout
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.nearest import did_you_mean
from ccd_cli.core.paths import expand_home

BUILTIN = "builtin"
SUITES: dict[str, tuple[str, ...]] = {
    "zero-shot": ZERO_SHOT,
    "moge": tuple(BUNDLE),
    da2k.NAME: (da2k.NAME,),
    BUILTIN: (BUILTIN,),
}
SETS = (*LAYOUTS, *BUNDLE, da2k.NAME, BUILTIN)
"""Every published set, and the generated one."""


def open_suite(suite: str, data_root: Path) -> tuple[list[Benchmark], list[tuple[str, str]]]:
    """Return (sets found, [(name, why it is missing)]) of a suite, one set by its name, or a YAML file of one's own pairs.

    Raises UsageProblem for a suite that does not exist, RecipeError for a bad YAML file, and CcdError where no set is found.
    """
    found: list[Benchmark] = []
    missing: list[tuple[str, str]] = []
    path = expand_home(suite)
    own = {rule.name: rule for rule in read_suite(path)} if is_custom_suite(suite) else {}
    for name in own or _names(suite):
        try:
            found.append(_open_described(own[name], path.parent) if own else open_set(name, data_root))
        except CcdError as error:
            missing.append((name, str(error)))
    if not found and own:
        raise CcdError(f"{path}: " + "; ".join(f"{name}: {reason}" for name, reason in missing))
    if not found:
        reasons = "; ".join(f"{name}: {reason.rstrip('.')}" for name, reason in missing)
        raise CcdError(
            f"No set of the suite '{suite}' was found ({reasons}).",
            "`ccd data list` says where sets come from; --data-root DIR (or CCD_DATA) says where they are.",
        )
    return found, missing


def open_set(name: str, data_root: Path) -> Benchmark:
    """Open one set by its name; raises CcdError with the reason where it is missing."""
    if name in LAYOUTS:
        return open_layout(LAYOUTS[name], data_root)
    if name in BUNDLE:
        return open_moge(BUNDLE[name], data_root)
    if name == da2k.NAME:
        return da2k.open_da2k(data_root)
    if name == BUILTIN:
        from ccd_cli.benchmarks.generated import GeneratedSet  # imports torch

        return GeneratedSet()
    raise UsageProblem(f"There is no set '{name}'.", did_you_mean(name, SETS, f"Known: {', '.join(SETS)}."))


def open_described(path: Path) -> list[Benchmark]:
    """Return every set of a suite file. Raises RecipeError for bad keys, CcdError, naming the set, where one is missing."""
    found = []
    for rule in read_suite(path):
        try:
            found.append(_open_described(rule, path.parent))
        except CcdError as error:
            raise CcdError(f"{path}, {rule.name}: {error.message}", error.hint) from error
    return found


def open_pairs(path: Path) -> list[Benchmark]:
    """Return the sets of a suite file of photos, as `eval.pairs` wants them. Raises UsageProblem for a clip, else as above."""
    sets = open_described(path)
    if clips := [benchmark.spec.name for benchmark in sets if benchmark.spec.task == "clip"]:
        raise UsageProblem(
            f"{', '.join(clips)} of {path} is a clip, and runs take single images.",
            "Without the key `clip` its frames are images; ccd eval --suite scores clips.",
        )
    return sets


def _open_described(rule: CustomSet, base: Path) -> Benchmark:
    return open_clip(rule, base) if isinstance(rule, CustomClip) else open_custom(rule, base)


def is_custom_suite(suite: str) -> bool:
    """Return whether a suite is a file that describes one's own pairs and clips."""
    return Path(suite).suffix.lower() in (".yaml", ".yml")


def description_digest(suite: str) -> str:
    """Return the sha256 of the file that describes one's own sets, "" for a suite by name."""
    return hashlib.sha256(expand_home(suite).read_bytes()).hexdigest() if is_custom_suite(suite) else ""


def _names(suite: str) -> tuple[str, ...]:
    if suite in SUITES:
        return SUITES[suite]
    if suite in SETS:
        return (suite,)
    names = f"Use {', '.join(SUITES)}, one set ({', '.join(SETS)}), or a YAML file of your own pairs."
    raise UsageProblem(f"There is no suite '{suite}'.", f"{did_you_mean(suite, [*SUITES, *SETS])} {names}".strip())
