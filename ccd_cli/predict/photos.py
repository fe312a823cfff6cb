"""Photos: read ahead, predict in batches, write behind, so that the network never waits for a disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.concurrency import BackgroundWork, chunks, prefetch
from ccd_cli.core.errors import CcdError, Unwritable
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import Runtime, Signals
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.media.find import Media
from ccd_cli.media.map_read import read_reference
from ccd_cli.media.map_write import SidecarExtras, with_suffix, write_maps
from ccd_cli.media.photos import read_photo
from ccd_cli.pointcloud.cloud import cloud_from_map
from ccd_cli.pointcloud.files import write_cloud
from ccd_cli.pointcloud.preview import write_preview
from ccd_cli.predict.job import (
    Fingerprints,
    Outcome,
    Settings,
    failed,
    fingerprints_of,
    finished,
    origin,
    photo_camera,
    reference_file,
)
from ccd_cli.teachers.model import Model, predict_each

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

    Raises Unwritable where nothing more can be written.
    """
    todo = _unfinished(items, model, settings, runtime, outcome, report)
    if not todo:
        return
    size = settings.batch or (GPU_BATCH if runtime.device.type == "cuda" else 1)
    said: set[str] = set()

    def written(result: Any) -> None:
        item, made = result
        if isinstance(made, CcdError):
            failed(item, made, outcome, report)
            return
        record, notes = made
        for note in (n for n in notes if n not in said):
            said.add(note)
            report.note(note)
        outcome.done.append(record)
        report.advance(len(outcome.done) - outcome.skipped)

    report.begin("Photos", len(todo))
    try:
        with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
            behind = BackgroundWork(writers, 2 * WRITERS + size, written)
            for chunk in chunks(prefetch(readers, lambda item: read_photo(item.path), todo, READERS + size), size):
                if signals.received is not None:
                    break
                read = _readable(chunk, outcome, report)
                for item, rgb, made in _predicted(read, model, settings, outcome, report):
                    behind.add(_written, item, rgb, made, model, settings, todo[item])
            behind.finish()
    finally:
        report.end()


def _unfinished(
    items: list[Media], model: Model, settings: Settings, runtime: Runtime, outcome: Outcome, report: Report
) -> dict[Media, Fingerprints]:
    """The items without complete results of these settings, and their marks; the others are counted and listed."""
    todo = {}
    for item in items:
        base = settings.out / item.stem
        try:
            fingerprints = fingerprints_of(item, model, settings, runtime)
        except CcdError as error:
            failed(item, error, outcome, report)
            continue
        if settings.overwrite or finished(base, fingerprints.all) is None:
            todo[item] = fingerprints
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
    """Predict some photos together; those without a map are named."""
    focals = [_focal(item, rgb, settings) for item, rgb in read]
    maps = predict_each(model.teacher, [rgb for _, rgb in read], model.asked, focals)
    made = []
    for (item, rgb), result in zip(read, maps, strict=True):
        if isinstance(result, CcdError):
            failed(item, result, outcome, report)
        else:
            made.append((item, rgb, result))
    return made


def _focal(item: Media, rgb: Photo, settings: Settings) -> float | None:
    """The focal length in pixels that is known before prediction; a guess is none."""
    camera, source = photo_camera(item, rgb.shape[:2], None, settings)
    return None if source == "guess" else camera.fx


def _written(item: Media, *rest: Any) -> tuple[Media, tuple[dict[str, Any], list[str]] | CcdError]:
    """Write one photo's results, or return why only this one could not be done."""
    try:
        return item, _write(item, *rest)
    except Unwritable:
        raise
    except CcdError as error:
        return item, error


def _write(
    item: Media, rgb: Photo, made: DepthMap, model: Model, settings: Settings, fingerprints: Fingerprints
) -> tuple[dict[str, Any], list[str]]:
    """Write all results of one photo, the sidecar last; return a record of them and what is worth saying."""
    if made.valid is not None and not made.valid.any():
        raise CcdError("The model gave no valid value for it.", "If it does so for every photo, try --precision fp32.")
    base = settings.out / item.stem
    shape = rgb.shape[:2]
    camera, source = photo_camera(item, shape, made, settings)
    about = origin(model, shape, source, fingerprints)
    files: dict[str, str] = {}
    notes: list[str] = []
    extra: dict[str, Any] = {}
    if settings.cloud is not None:
        cloud_settings = settings.cloud
        if (reference := reference_file(item, settings)) is not None:
            cloud_settings = replace(cloud_settings, reference=read_reference(reference, settings.ref_scale))
        cloud = cloud_from_map(made, rgb, camera, cloud_settings, camera_source=source, grain=model.grain(*shape))
        path = with_suffix(base, f".{settings.cloud_format}")
        write_cloud(path, cloud.points, cloud.colors, cloud.normals, settings.cloud_format, cloud.about)
        files["cloud"] = path.name
        if settings.preview:
            files["preview"] = write_preview(with_suffix(base, ".cloud.png"), cloud.points, cloud.colors).name
        notes += cloud.notes
        extra["cloud"] = {"points": len(cloud.points), "unit": cloud.unit, **vars(cloud.to_depth)}
    more = SidecarExtras(files, extra)
    content = write_maps(
        base, replace(made, camera=camera or made.camera), rgb, settings.save, about, cmap=settings.cmap, more=more
    )
    names = [str(base.parent / name) for name in content["files"].values()]
    return {
        "input": str(item.path),
        "sidecar": str(with_suffix(base, ".json")),
        "kind": made.kind,
        "files": names,
        "skipped": False,
    }, notes
