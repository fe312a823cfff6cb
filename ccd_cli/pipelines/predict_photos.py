"""Photos: read ahead, predict in batches, write behind, so that the network never waits for a disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.depth import DepthMap
from ccd_cli.core.errors import CcdError
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import Runtime, Signals, memory_error
from ccd_cli.data.inputs import Media
from ccd_cli.data.map_files import with_suffix, write_maps
from ccd_cli.data.maps import find_map, read_reference
from ccd_cli.data.photos import read_photo
from ccd_cli.pipelines.cloud_files import write_cloud
from ccd_cli.pipelines.cloud_preview import write_preview
from ccd_cli.pipelines.clouds import cloud_from_map
from ccd_cli.pipelines.overlap import Behind, ahead, chunks
from ccd_cli.pipelines.predict import Outcome, Settings, failed, fingerprint, finished, origin, photo_camera
from ccd_cli.pipelines.predict_model import Model

READERS = WRITERS = 2
GPU_BATCH = 8

Photo = NDArray[np.uint8]


def predict_photos(
    items: list[Media],
    model: Model,
    settings: Settings,
    runtime: Runtime,
    report: Report,
    signals: Signals,
    outcome: Outcome,
) -> None:
    """Predict `items` and write their results; records and reasons go to `outcome`.

    Raises CcdError where writing fails: a full disk would fail the rest as well.
    """
    todo = _unfinished(items, model, settings, outcome, report)
    if not todo:
        return
    size = settings.batch or (GPU_BATCH if runtime.device.type == "cuda" else 1)
    said: set[str] = set()
    report.begin("Photos", len(todo))
    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:

        def written(result: Any) -> None:
            record, notes = result
            for note in (n for n in notes if n not in said):
                said.add(note)
                report.note(note)
            outcome.done.append(record)
            report.advance(len(outcome.done) - outcome.skipped)

        behind = Behind(writers, 2 * WRITERS + size, written)
        for chunk in chunks(ahead(readers, lambda item: read_photo(item.path), todo, READERS + size), size):
            if signals.received is not None:
                break
            read = _readable(chunk, outcome, report)
            for item, rgb, made in _predicted(read, model, settings, outcome, report):
                behind.add(partial(_write, item, rgb, made, model, settings))
        behind.finish()
    report.end()


def _unfinished(items: list[Media], model: Model, settings: Settings, outcome: Outcome, report: Report) -> list[Media]:
    """The items without complete results of these settings; the others are counted and listed."""
    todo = []
    for item in items:
        base = settings.out / item.stem
        found = None if settings.overwrite else finished(base, fingerprint(item, model, settings))
        if found is None:
            todo.append(item)
        else:
            outcome.done.append({"input": str(item.path), "sidecar": str(with_suffix(base, ".json")), "skipped": True})
            outcome.skipped += 1
    if outcome.skipped:
        report.note(
            f"{outcome.skipped} of {len(items)} photos are already done with these settings (--overwrite redoes them)"
        )
    return todo


def _readable(chunk: list[tuple[Media, Future[Photo]]], outcome: Outcome, report: Report) -> list[tuple[Media, Photo]]:
    read = []
    for item, future in chunk:
        try:
            read.append((item, future.result()))
        except CcdError as error:
            failed(item, error, outcome, report)
        except MemoryError:
            failed(item, CcdError(f"{item.path}: does not fit into memory."), outcome, report)
    return read


def _predicted(
    read: list[tuple[Media, Photo]], model: Model, settings: Settings, outcome: Outcome, report: Report
) -> list[tuple[Media, Photo, DepthMap]]:
    """Predict some photos together; where memory does not suffice, half as many at a time."""
    if not read:
        return []
    focals = [_focal(item, rgb, settings) for item, rgb in read]
    try:
        maps = model.teacher.predict_photos([rgb for _, rgb in read], model.resolution, focals)
    except CcdError as error:
        problem = error
    except (RuntimeError, MemoryError) as error:
        if memory_error(error) is None:
            raise
        problem = CcdError("Out of memory.", "Lower --resolution, or use --device cpu.")
    else:
        return [(item, rgb, made) for (item, rgb), made in zip(read, maps, strict=True)]
    if len(read) == 1:
        failed(read[0][0], problem, outcome, report)
        return []
    middle = len(read) // 2
    return [
        *_predicted(read[:middle], model, settings, outcome, report),
        *_predicted(read[middle:], model, settings, outcome, report),
    ]


def _focal(item: Media, rgb: Photo, settings: Settings) -> float | None:
    """The focal length in pixels that is known before prediction; a guess is none."""
    camera, source = photo_camera(item, rgb.shape[:2], None, settings)
    return None if source == "guess" else camera.fx


def _write(
    item: Media, rgb: Photo, made: DepthMap, model: Model, settings: Settings
) -> tuple[dict[str, Any], list[str]]:
    """Write all results of one photo, the sidecar last; return a record of them and what is worth saying."""
    base = settings.out / item.stem
    shape = rgb.shape[:2]
    camera, source = photo_camera(item, shape, made, settings)
    about = origin(model, shape, source, fingerprint(item, model, settings))
    files: dict[str, str] = {}
    notes: list[str] = []
    extra: dict[str, Any] = {}
    if settings.cloud is not None:
        cloud_settings = settings.cloud
        if settings.align_to is not None:
            cloud_settings = replace(cloud_settings, reference=_reference(settings.align_to, item, settings.ref_scale))
        cloud = cloud_from_map(made, rgb, camera, cloud_settings, camera_source=source, grain=model.grain(*shape))
        path = with_suffix(base, f".{settings.cloud_format}")
        write_cloud(path, cloud.points, cloud.colors, cloud.normals, settings.cloud_format, cloud.about)
        files["cloud"] = path.name
        if settings.preview:
            files["preview"] = write_preview(with_suffix(base, ".cloud.png"), cloud.points, cloud.colors).name
        notes += cloud.notes
        extra["cloud"] = {"points": len(cloud.points), "unit": cloud.unit, **vars(cloud.to_depth)}
    content = write_maps(
        base, made, rgb, settings.save, about, camera=camera, cmap=settings.cmap, files=files, extra=extra
    )
    names = [str(base.parent / name) for name in content["files"].values()]
    return {
        "input": str(item.path),
        "sidecar": str(with_suffix(base, ".json")),
        "kind": made.kind,
        "files": names,
        "skipped": False,
    }, notes


def _reference(align_to: Path, item: Media, scale: float | None) -> NDArray[np.float32]:
    file = align_to
    if file.is_dir():
        file = find_map(file, (item.stem, item.stem.with_name(item.path.name)), (".png", ".npy"))
    return read_reference(file, scale)
