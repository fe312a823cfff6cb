"""What models say about one image: Figure 2 and three questions before a training run. Finished images are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import torch

from ccd_cli.analyze import closeups, landing, second
from ccd_cli.analyze.figure2 import crop_scores
from ccd_cli.analyze.labels import Label, make_label
from ccd_cli.analyze.results import QUESTIONS
from ccd_cli.benchmarks import Benchmark, Prediction, Sample
from ccd_cli.benchmarks.predictors import ModelSource
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.files import atomic_write, disk_error, json_line, read_json_lines

MEASURED = 3
"""Raise it where other numbers come out of the same image: kept measurements are made again."""
Row = dict[str, Any]


def measure(
    sources: Sequence[ModelSource],
    benchmark: Benchmark,
    sample: Sample,
    asked: tuple[int, int],
    device: torch.device,
    stopped: Callable[[], bool],
) -> Row | None:
    """Return the rows of one image by question, and those that could not be measured under `skipped`; None where it was `stopped`.

    `asked`: (patches, seed).
    """
    made: Row = {question: [] for question in (*QUESTIONS, "skipped")}
    where = {"dataset": benchmark.spec.name, "image": sample.name}
    labels: dict[str, Label] = {}
    for source in sources:
        if stopped():
            return None
        whole = source.predict(benchmark, [sample], [None])[0]
        if isinstance(whole, CcdError):
            _skip(made, where, source.label, whole)
            continue
        about = {**where, "model": source.label}
        with _Attempt(made, where, "figure 2", source.label):
            made["figure 2"].append({**about, **crop_scores(whole, sample, benchmark.spec)})
        with _Attempt(made, where, "landing", source.label):
            labels[source.label] = label = make_label(whole, sample, benchmark.spec)
            made["landing"] += [{**about, **row} for row in landing.measure(label, sample, device)]
        if asked[0] and not stopped():
            with _Attempt(made, where, "closeups", source.label):
                made["closeups"].append({**about, **_closeups(source, benchmark, sample, whole, asked)})
    for pair in combinations(labels, 2):
        with _Attempt(made, where, "second", " and ".join(pair)):
            both = {name: labels[name] for name in pair}
            made["second"] += [{**where, **row} for row in second.measure(both, sample, benchmark.spec)]
    return None if stopped() else made


def _closeups(
    source: ModelSource, benchmark: Benchmark, sample: Sample, whole: Prediction, asked: tuple[int, int]
) -> Row:
    boxes = closeups.draw(sample, benchmark.spec.name, *asked)
    return closeups.measure(source, benchmark, sample, whole, boxes)


def _skip(made: Row, where: Row, model: str, error: CcdError, stage: str = "all") -> None:
    made["skipped"].append({**where, "stage": stage, "reason": f"{model}: {error}"})


class _Attempt:
    """Lists a CcdError of one stage and one model as skipped."""

    def __init__(self, made: Row, where: Row, stage: str, model: str) -> None:
        self._made, self._where, self._stage, self._model = made, where, stage, model

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        if not isinstance(error, CcdError):
            return False
        _skip(self._made, self._where, self._model, error, self._stage)
        return True


class Kept:
    """What was measured of each image, in a file of JSON lines that a kill does not take: a later run measures only what is new.

    `facts`: all that decides the numbers but for the image. Raises CcdError on a full disk, UsageProblem for somebody else's file.
    """

    def __init__(self, path: Path, facts: Any) -> None:
        self.path = path
        self._facts = json.dumps([MEASURED, facts], sort_keys=True, default=repr)
        lines = read_json_lines(path)
        foreign = any(not isinstance(line, dict) or line.keys() != {"mark", "found"} for line in lines)
        if foreign or (not lines and path.exists() and b"\n" in path.read_bytes()):
            raise UsageProblem(f"{path} is not from ccd analyze and would be written over.", "Choose another --out.")
        self._lines = {line["mark"]: line["found"] for line in lines}
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        with atomic_write(self.path) as temporary:  # without a line that was cut off
            lines = (json_line({"mark": mark, "found": found}) for mark, found in self._lines.items())
            temporary.write_text("".join(lines), encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def mark(self, benchmark: Benchmark, index: int) -> str:
        """Return what tells an image measured under these facts from all others."""
        about = (self._facts, benchmark.spec, benchmark.names()[index], benchmark.fingerprint(index))
        return hashlib.sha256(repr(about).encode()).hexdigest()[:24]

    def get(self, mark: str) -> Row | None:
        """Return what was measured, if it was."""
        return self._lines.get(mark)

    def add(self, mark: str, found: Row) -> Row:
        """Keep what was measured, in the file when this returns, unless a model failed. Returns it as it will be read again."""
        assert self._file is not None
        line = json_line({"mark": mark, "found": found})
        try:
            if all(entry["stage"] != "all" for entry in found["skipped"]):
                self._file.write(line)
                self._file.flush()
        except OSError as error:
            raise disk_error(error, self.path) from error
        kept: Row = json.loads(line)["found"]
        return kept
