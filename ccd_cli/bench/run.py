"""`ccd bench predict`: every installed runtime and precision on the same photos.

They take turns, so that a busy machine is busy for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.bench.fresh import first_result
from ccd_cli.bench.photos import photos
from ccd_cli.bench.pipeline import transformers_pipeline
from ccd_cli.bench.results import BARE, DEFAULT, PIPELINE, RAW, Row, document, markdown
from ccd_cli.bench.settings import Settings
from ccd_cli.bench.subjects import Subject, Way, export, load, machine, ways
from ccd_cli.core.compute import Compute, choose_compute
from ccd_cli.core.errors import CcdError, Interrupted
from ccd_cli.core.files import write_json, write_text
from ccd_cli.core.report import Report, Silent
from ccd_cli.core.signals import Signals
from ccd_cli.media.photos import read_photo
from ccd_cli.models.arch import Arch
from ccd_cli.predict.run import run as predict
from ccd_cli.predict.settings import Settings as PredictSettings
from ccd_cli.teachers.adapters.native import NativeTeacher
from ccd_cli.teachers.adapters.preprocess import resize_for

SAVED = {RAW: ("npy",), DEFAULT: PredictSettings().save}
COMPARED = 4
"""Photos on which maps are compared with those of float32 torch."""

Images = list[NDArray[np.float32]]


def run(settings: Settings, report: Report) -> dict[str, Any]:
    """Measure and return the results as JSON values; after Ctrl-C what there is, with `interrupted` true.

    A way that fails is left out, with a warning. Writes bench.json and bench.md where `settings.out` says. Raises CcdError for a
    runtime that is not installed, a model of another library, and a folder without photos.
    """
    chosen = ways(settings)
    compute = choose_compute("cpu", "fp32", settings.threads)
    rows = {way.name: Row(way.name, way.runtime, way.precision) for way in chosen}
    about: dict[str, Any] = {"model": settings.model, "resolution": settings.resolution, "photos": settings.photos}
    about |= {"machine": machine(), "rounds_done": 0, "network_sizes": [], "interrupted": False}
    with TemporaryDirectory() as place, Signals() as signals:

        def go_on() -> None:
            if signals.received is not None:
                raise signals.interruption("Interrupted.", "")

        folder = Path(place)
        try:
            paths = photos(settings.images, settings.photos, folder)
            exported = _exported(chosen, rows, settings, folder, report)
            go_on()
            subjects = _loaded(chosen, rows, settings, exported, report)
            arch = subjects[0].arch
            inputs = _inputs(arch, paths, settings.resolution)
            about["network_sizes"] = sorted({each.shape[2:] for each in inputs})
            _compare(subjects, rows, inputs, go_on)
            tasks = _tasks(subjects, inputs, paths, folder, compute)
            if (pipe := _pipeline(subjects[0], settings, folder)) is not None:
                rows[PIPELINE] = Row(PIPELINE, "transformers", "fp32")
                tasks.append((PIPELINE, RAW, lambda: pipe(paths, folder / "pipeline")))
            _rounds(tasks, rows, settings, report, about, go_on)
            _fresh(subjects, rows, settings, exported, paths[0], report, go_on)
        except Interrupted:
            about["interrupted"] = True
        finally:
            report.end()
    found = document([row for row in rows.values() if row.seconds], about)
    if settings.out is not None:
        write_json(settings.out / "bench.json", found)
        write_text(settings.out / "bench.md", markdown(found))
    return found


def _pipeline(base: Subject, settings: Settings, folder: Path) -> Callable[[list[Path], Path], None] | None:
    teacher = base.model.teacher
    assert isinstance(teacher, NativeTeacher)
    return transformers_pipeline(teacher.model, teacher.name, settings.resolution, folder / "transformers")


def _exported(chosen: list[Way], rows: dict[str, Row], settings: Settings, folder: Path, report: Report) -> Path | None:
    """The network as an ONNX file; None where torch alone runs."""
    others = [way for way in chosen if way.runtime != "torch"]
    if not others:
        return None
    report.note("Exporting the network for other runtimes, which takes up to a minute")
    path = folder / "network" / "network.onnx"
    path.parent.mkdir()
    seconds = export(settings.model, settings.arch, path)
    for way in others:
        rows[way.name].export_s = seconds
    return path


def _loaded(
    chosen: list[Way], rows: dict[str, Row], settings: Settings, exported: Path | None, report: Report
) -> list[Subject]:
    """All ways that load; the first one, which all are compared with, must."""
    subjects = []
    for way in chosen:
        try:
            subjects.append(load(way, settings, exported))
        except CcdError as error:
            if not subjects:
                raise
            report.warn(f"{way.name}: {error.message}")
            continue
        rows[way.name].load_s = subjects[-1].load_s
    return subjects


def _inputs(arch: Arch, paths: list[Path], side: int | None) -> Images:
    """What the network sees of each photo: float32 [1, 3, h, w]."""
    return [np.ascontiguousarray(resize_for(arch, read_photo(path), side).transpose(2, 0, 1)[None]) for path in paths]


def _compare(subjects: list[Subject], rows: dict[str, Row], inputs: Images, go_on: Callable[[], None]) -> None:
    """Note how far each map is from float32 torch's; the pass also warms the network up."""
    first = [subjects[0].network(images) for images in inputs[:COMPARED]]
    for subject in subjects[1:]:
        go_on()
        made = [subject.network(images) for images in inputs[:COMPARED]]
        shares = [np.abs(a - b) / max(float(np.ptp(b)), 1e-12) for a, b in zip(made, first, strict=True)]
        row = rows[subject.way.name]
        row.error_max = float(max(share.max() for share in shares))
        row.error_mean = float(np.mean([share.mean() for share in shares]))


def _tasks(
    subjects: list[Subject], inputs: Images, paths: list[Path], folder: Path, compute: Compute
) -> list[tuple[str, str, Callable[[], None]]]:
    """(row, what is timed, the work on all photos) of everything that a round measures."""

    def bare(subject: Subject) -> None:
        for images in inputs:
            subject.network(images)

    def whole(subject: Subject, what: str) -> None:
        settings = PredictSettings(out=folder / "out" / what, save=SAVED[what], overwrite=True)
        outcome = predict([str(path) for path in paths], subject.model, settings, compute, Silent())
        if outcome.failed:
            raise CcdError(f"{subject.way.name}: {outcome.failed[0][1]}")

    tasks: list[tuple[str, str, Callable[[], None]]] = []
    for subject in subjects:
        tasks.append((subject.way.name, BARE, partial(bare, subject)))
        for what in SAVED:
            tasks.append((subject.way.name, what, partial(whole, subject, what)))
    return tasks


def _rounds(
    tasks: list[tuple[str, str, Callable[[], None]]],
    rows: dict[str, Row],
    settings: Settings,
    report: Report,
    about: dict[str, Any],
    go_on: Callable[[], None],
) -> None:
    """Run all tasks once a round, and keep their seconds a photo."""
    report.begin("Measuring", settings.rounds * len(tasks))
    for number in range(settings.rounds):
        for place, (name, what, work) in enumerate(tasks):
            go_on()
            start, cpu = time.perf_counter(), time.process_time()
            work()
            count = settings.photos
            rows[name].add(what, (time.perf_counter() - start) / count, (time.process_time() - cpu) / count)
            report.advance(number * len(tasks) + place + 1)
        about["rounds_done"] = number + 1
    report.end()


def _fresh(
    subjects: list[Subject],
    rows: dict[str, Row],
    settings: Settings,
    exported: Path | None,
    photo: Path,
    report: Report,
    go_on: Callable[[], None],
) -> None:
    """Start a process for each way, one after the other."""
    report.begin("Fresh processes", len(subjects))
    for number, subject in enumerate(subjects):
        go_on()
        way, row = subject.way, rows[subject.way.name]
        try:
            row.start_s, row.peak_bytes = first_result((way.runtime, way.precision), settings, exported, photo)
        except CcdError as error:
            go_on()  # Ctrl-C reaches that process too
            report.warn(error.message)
        report.advance(number + 1)
    report.end()
