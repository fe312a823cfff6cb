"""Images: prefetched, predicted in batches and written in the background, so that the network does not wait for a disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.concurrency import BackgroundWork, chunks, prefetch
from ccd_cli.core.errors import CcdError, Unwritable
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
    Job,
    existing_results,
    fingerprints_of,
    image_camera,
    origin,
    reference_file,
)
from ccd_cli.predict.settings import Settings
from ccd_cli.teachers.model import Model, predict_each

READERS = WRITERS = 2
GPU_BATCH = 8

Image = NDArray[np.uint8]


def predict_images(items: list[Media], job: Job) -> None:
    """Predict `items` and write their results; records and reasons of failure go to `job.outcome`.

    Raises Unwritable where the output cannot be written.
    """
    pending = _pending(items, job)
    if not pending:
        return
    report, outcome = job.report, job.outcome
    batch = job.batch(GPU_BATCH)
    reported: set[str] = set()

    def written(result: Any) -> None:
        item, made = result
        if isinstance(made, CcdError):
            job.fail(item, made)
            return
        record, notes = made
        for note in (n for n in notes if n not in reported):
            reported.add(note)
            report.note(note)
        outcome.done.append(record)
        report.advance(len(outcome.done) - outcome.skipped)

    report.begin("Images", len(pending))
    try:
        with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
            writing = BackgroundWork(writers, 2 * WRITERS + batch, written)
            images = prefetch(readers, lambda item: read_photo(item.path), pending, READERS + batch)
            for chunk in chunks(images, batch):
                if job.signals.received is not None:
                    break
                for item, rgb, depth_map in _predict_batch(_readable(chunk, job), job):
                    writing.add(_try_write, item, rgb, depth_map, job.model, job.settings, pending[item])
            writing.finish()
    finally:
        report.end()


def _pending(items: list[Media], job: Job) -> dict[Media, Fingerprints]:
    """The items without existing results of the same fingerprint, and their fingerprints; the others are skipped."""
    pending = {}
    for item in items:
        try:
            fingerprints = fingerprints_of(item, job)
        except CcdError as error:
            job.fail(item, error)
            continue
        if job.settings.overwrite or existing_results(job.settings.out / item.stem, fingerprints.all, job) is None:
            pending[item] = fingerprints
        else:
            job.skip(item)
    if job.outcome.skipped:
        job.report.note(
            f"{job.outcome.skipped} of {len(items)} images have results with the same settings and are skipped "
            "(--overwrite redoes them)"
        )
    return pending


def _readable(chunk: list[tuple[Media, Future[Image]]], job: Job) -> list[tuple[Media, Image]]:
    """The images of a batch that could be read; the others fail."""
    read = []
    for item, future in chunk:
        try:
            read.append((item, future.result()))
        except CcdError as error:
            job.fail(item, error)
        except MemoryError:
            job.fail(item, CcdError(f"{item.path}: does not fit into memory."))
    return read


def _predict_batch(images: list[tuple[Media, Image]], job: Job) -> list[tuple[Media, Image, DepthMap]]:
    """Predict a batch; images for which the model fails are recorded as failed."""
    focals = [_focal(item, rgb, job.settings) for item, rgb in images]
    results = predict_each(job.model.teacher, [rgb for _, rgb in images], job.model.asked, focals)
    predicted = []
    for (item, rgb), result in zip(images, results, strict=True):
        if isinstance(result, CcdError):
            job.fail(item, result)
        else:
            predicted.append((item, rgb, result))
    return predicted


def _focal(item: Media, rgb: Image, settings: Settings) -> float | None:
    """The focal length in pixels from flags or EXIF, an input of some models; None where it would be assumed."""
    camera, source = image_camera(item, rgb.shape[:2], None, settings)
    return None if source == "guess" else camera.fx


def _try_write(item: Media, *rest: Any) -> tuple[Media, tuple[dict[str, Any], list[str]] | CcdError]:
    """Write one image's results; return the record and notes, or the error where it concerns this image alone."""
    try:
        return item, _write(item, *rest)
    except Unwritable:
        raise
    except CcdError as error:
        return item, error


def _write(
    item: Media, rgb: Image, depth_map: DepthMap, model: Model, settings: Settings, fingerprints: Fingerprints
) -> tuple[dict[str, Any], list[str]]:
    """Write all results of one image, the sidecar last; return its record and notes for the user."""
    if depth_map.valid is not None and not depth_map.valid.any():
        raise CcdError("The model's map has no valid value.", "If that is so for every image, try --precision fp32.")
    base = settings.out / item.stem
    shape = rgb.shape[:2]
    camera, source = image_camera(item, shape, depth_map, settings)
    about = origin(model, shape, source, fingerprints)
    files: dict[str, str] = {}
    notes: list[str] = []
    extra: dict[str, Any] = {}
    if settings.pointcloud:
        cloud_settings = settings.cloud
        if (reference := reference_file(item, settings)) is not None:
            cloud_settings = replace(cloud_settings, reference=read_reference(reference, settings.ref_scale))
        cloud = cloud_from_map(
            depth_map, rgb, camera, cloud_settings, camera_source=source, upsampling=model.upsampling(*shape)
        )
        path = with_suffix(base, f".{settings.cloud_format}")
        write_cloud(path, cloud.points, cloud.colors, cloud.normals, settings.cloud_format, cloud.about)
        files["cloud"] = path.name
        if settings.preview:
            files["preview"] = write_preview(with_suffix(base, ".cloud.png"), cloud.points, cloud.colors).name
        notes += cloud.notes
        extra["cloud"] = {"points": len(cloud.points), "unit": cloud.unit, **vars(cloud.to_depth)}
    more = SidecarExtras(files, extra)
    content = write_maps(
        base,
        replace(depth_map, camera=camera or depth_map.camera),
        rgb,
        settings.save,
        about,
        cmap=settings.cmap,
        more=more,
    )
    names = [str(base.parent / name) for name in content["files"].values()]
    return {
        "input": str(item.path),
        "sidecar": str(with_suffix(base, ".json")),
        "kind": depth_map.kind,
        "files": names,
        "skipped": False,
    }, notes
