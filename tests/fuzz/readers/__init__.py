"""Every reader with valid files to start from."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.archives import archive_readers
from tests.fuzz.readers.benchmarks import benchmark_readers
from tests.fuzz.readers.cameras import camera_readers
from tests.fuzz.readers.commands import command_readers
from tests.fuzz.readers.label_runs import label_run_readers
from tests.fuzz.readers.labels import label_readers
from tests.fuzz.readers.maps import map_readers
from tests.fuzz.readers.photos import photo_readers
from tests.fuzz.readers.predictions import prediction_readers
from tests.fuzz.readers.recipes import recipe_readers
from tests.fuzz.readers.runs import run_readers
from tests.fuzz.readers.suites import suite_readers
from tests.fuzz.readers.teachers import teacher_readers
from tests.fuzz.readers.videos import video_readers


def all_readers(folder: Path) -> list[Reader]:
    """Return the readers; their seed files are made in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        *recipe_readers(),
        *teacher_readers(folder),
        *map_readers(folder),
        *photo_readers(),
        *video_readers(),
        *camera_readers(),
        *suite_readers(),
        *benchmark_readers(folder),
        *label_readers(folder),
        *label_run_readers(folder),
        *run_readers(folder),
        *prediction_readers(folder),
        *archive_readers(),
        *command_readers(folder),
    ]
