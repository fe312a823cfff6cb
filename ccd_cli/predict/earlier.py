"""Results of earlier runs in the way of new ones: what another model or other settings made is kept, never lost in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ccd_cli
from ccd_cli.media.find import Media
from ccd_cli.media.outputs import read_sidecar
from ccd_cli.predict.job import Fingerprints, Job

HINT = "Replace them by --overwrite, or give another --out."
_SOURCE = ("input", "input_bytes", "input_time_ns")


@dataclass(frozen=True)
class Earlier:
    """What lies under an input's names: `made` by what, and whether it is `kept` (the new results are refused) or replaced.

    An empty `made`: nothing is there, or the same map, of which more files are made.
    """

    made: str = ""
    kept: bool = False

    @property
    def replaced(self) -> str:
        """Return the note on results that the new ones replace; empty where none are."""
        return f"results {self.made} are replaced" if self.made and not self.kept else ""

    def refusal(self) -> tuple[str, str]:
        """Return the message and the hint of the error for results that are kept."""
        return f"has results {self.made}, which are kept.", HINT


def earlier_results(item: Media, fingerprints: Fingerprints, job: Job) -> Earlier:
    """Return what results of `item` exist whose map is not the one that `fingerprints` stand for.

    They are replaced with --overwrite, and where the input itself has changed since; otherwise kept.
    """
    base = job.settings.out / item.stem
    old = read_sidecar(base)
    if old is None or old.get("map") == fingerprints.map:
        return Earlier()
    files = [base.parent / str(name) for name in old["files"].values()]
    if not any(path.exists() and path.parent == base.parent for path in files):
        return Earlier()
    teacher = job.model.about
    if (old.get("model"), old.get("checkpoint_sha256")) != (teacher.name, teacher.checkpoint_sha256):
        other = "" if old.get("model") != teacher.name else " with other weights"
        return Earlier(f"made by {old.get('model')}{other}", not job.settings.overwrite)
    if old.get("version") != ccd_cli.__version__:
        return Earlier(f"made by ccd {old.get('version')}", not job.settings.overwrite)
    before, now = old.get("made_with"), fingerprints.made_with
    if not isinstance(before, dict):
        return Earlier("made with other settings", not job.settings.overwrite)
    if before.get("input") != now["input"]:
        return Earlier(f"of another input ({before.get('input')})", not job.settings.overwrite)
    changed = [key for key in now if key not in _SOURCE and before.get(key) != now[key]]
    if changed:
        words = ", ".join(f"{key} {_word(before.get(key))} (now {_word(now[key])})" for key in changed)
        return Earlier(f"made with {words}", not job.settings.overwrite)
    return Earlier("of an earlier version of the file")


def replaced_notes(found: Iterable[Earlier]) -> list[str]:
    """Return one line for each kind of results that are replaced."""
    counts = Counter(each.made for each in found if each.replaced)
    return [f"{count} results {made} are replaced" for made, count in counts.items()]


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_word, value))
    return "default" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
