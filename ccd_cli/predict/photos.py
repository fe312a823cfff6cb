"""Images: prefetched, predicted in batches and written in the background, so that the network does not wait for a disk.

How many are under way is bounded, and so is the memory that they need together: large ones go one by one if need be.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ccd_cli.core.concurrency import BackgroundWork
from ccd_cli.core.errors import CcdError, Unwritable
from ccd_cli.core.memory import MemoryBudget
from ccd_cli.geometry.camera import Source, camera_doubts
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.media.exif import panorama_note
from ccd_cli.media.find import Media
from ccd_cli.media.map_read import read_reference
from ccd_cli.media.map_write import SidecarExtras, map_files, with_suffix, write_maps
from ccd_cli.media.outputs import CLOUD_PICTURE, writing
from ccd_cli.media.photos import SMALL, Limits, Photo, load_photo, photo_memory
from ccd_cli.pointcloud.cloud import cloud_from_map
from ccd_cli.pointcloud.files import write_cloud
from ccd_cli.pointcloud.preview import write_preview
from ccd_cli.predict.camera import known_focal, photo_camera, unit_note
from ccd_cli.predict.cost import warn_of_cost
from ccd_cli.predict.earlier import Earlier, earlier_results, replaced_notes
from ccd_cli.predict.job import (
    Fingerprints,
    Job,
    existing_results,
    fingerprints_of,
    origin,
    reference_file,
)
from ccd_cli.predict.settings import Settings
from ccd_cli.teachers.model import Model, predict_each

READERS = WRITERS = 2
GPU_BATCH = 8
WORKING_PIXELS = 64_000_000
"""Larger images are reduced before prediction, unless --full-size asks for maps of their size."""
WORKING_BYTES = 36
"""Bytes a pixel at the peak of predicting and writing one image (measured: 7.9 GB for 225 megapixels)."""


Taken = dict[str, Any] | CcdError
"""What comes of an image: its record, or why there is none."""


class Tally:
    """Records what comes of images in the job's outcome and tells the notes on them, each once and at the end how often."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._reported: set[str] = set()
        self._counted: Counter[str] = Counter()

    def take(self, item: Media, made: Taken, notes: Sequence[str] = ()) -> None:
        """Record one image, with notes that do not name it; re-raises an error that is not specific to it."""
        if isinstance(made, CcdError):
            self._job.fail(item, made)
            return
        for note in notes:
            self.note(note)
        for note in made["notes"]:
            self._counted[note] += 1
            if self._counted[note] == 1:
                self._job.report.note(f"{item.path}: {note}")
        self._job.outcome.done.append(made)

    def note(self, text: str) -> None:
        """Say something, once."""
        if text not in self._reported:
            self._reported.add(text)
            self._job.report.note(text)

    def close(self) -> None:
        """Say how often notes came."""
        for note, count in self._counted.items():
            if count > 1:
                self._job.report.note(f"{count} images: {note}")


def predict_images(items: list[Media], job: Job, frames: Callable[[], int] = lambda: 0) -> None:
    """Predict `items` and write their results; records and reasons of failure go to `job.outcome`.

    `frames()` tells how many frames of videos follow, from which the model's runtime is chosen too. Raises Unwritable where the
    output cannot be written, and what loading the model raises.
    """
    pending = pending_images(items, job)
    if not pending:
        return
    job.begin(len(pending), frames)
    tally, report = Tally(job), job.report

    def take(item: Media, made: Taken, notes: Sequence[str] = ()) -> None:
        tally.take(item, made, notes)
        report.advance(len(job.outcome.done) - job.outcome.skipped)

    report.begin("Images", len(pending))
    try:
        predict_pending(pending, job, take)
    finally:
        report.end()
    tally.close()


def predict_pending(
    pending: dict[Media, Fingerprints], job: Job, take: Callable[..., None], warned: bool = False
) -> None:
    """Predict images and write their results, each as `pending` says; the model is loaded. `take(item, made, notes)` gets what
    comes of each. `warned`: what the first pass will cost is known. Raises Unwritable where the output cannot be written.
    """
    report = job.report
    batch = job.batch(GPU_BATCH)
    limits = Limits(None if job.settings.full_size else WORKING_PIXELS, WORKING_BYTES)
    memory, held = MemoryBudget(SMALL), dict[Media, int]()

    def written(result: Any) -> None:
        item, made, notes = result
        memory.remove(held.pop(item))
        take(item, made, notes)

    reading: deque[tuple[Media, Future[Photo]]] = deque()
    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
        writing = BackgroundWork(writers, 2 * WRITERS + batch, written)
        ready: list[tuple[Any, ...]] = []

        def write() -> None:
            """Have what is ready written; where the network needs every core, before its next pass."""
            for arguments in ready:
                writing.add(_try_write, *arguments)
            ready.clear()
            if job.compute.takes_all_cores:
                writing.finish()

        def predict() -> None:
            """Predict the oldest batch, and have it written."""
            nonlocal warned
            chunk = [reading.popleft() for _ in range(min(batch, len(reading)))]
            readable = _readable(chunk, take)
            if readable and not warned:
                warned = True
                rgb = readable[0][1].rgb
                warn_of_cost(job.model, job.compute, (rgb.shape[0], rgb.shape[1]), len(readable), report)
            predicted = _predict_batch(readable, job, take)
            for item in {item for item, _ in chunk} - {item for item, *_ in predicted}:
                memory.remove(held.pop(item))
            for item, photo, depth_map in predicted:
                ready.append((item, photo, depth_map, job.model, job.settings, pending[item]))
            if len(ready) >= WRITERS or not job.compute.takes_all_cores:
                write()

        for item in pending:
            needed = photo_memory(item.path, limits)
            while not memory.fits(needed) and (reading or ready or writing.wait()):
                if reading:
                    predict()
                else:
                    write()
            if job.signals.received is not None:
                break
            held[item] = needed
            memory.add(needed)
            reading.append((item, readers.submit(load_photo, item.path, limits)))
            if len(reading) >= READERS + batch:
                predict()
        while reading and job.signals.received is None:
            predict()
        write()
        writing.finish()


def pending_images(items: list[Media], job: Job) -> dict[Media, Fingerprints]:
    """The items to predict and their fingerprints. Those with results of the same fingerprint are skipped, those with results
    of another model or other settings fail.
    """
    pending = {}
    in_the_way: list[Earlier] = []
    for item in items:
        try:
            fingerprints = fingerprints_of(item, job)
        except CcdError as error:
            job.fail(item, error)
            continue
        existing = (
            None if job.settings.overwrite else existing_results(job.settings.out / item.stem, fingerprints.all, job)
        )
        if existing is not None:
            job.skip(item)
            continue
        earlier = earlier_results(item, fingerprints, job)
        if earlier.kept:
            job.fail(item, CcdError(*earlier.refusal()))
            continue
        in_the_way.append(earlier)
        pending[item] = fingerprints
    for note in replaced_notes(in_the_way):
        job.report.note(note)
    if job.outcome.skipped:
        job.report.note(
            f"{job.outcome.skipped} of {len(items)} images have results with the same settings and are skipped "
            "(--overwrite redoes them)"
        )
    return pending


def _readable(chunk: list[tuple[Media, Future[Photo]]], take: Callable[..., None]) -> list[tuple[Media, Photo]]:
    """The images of a batch that could be read; the others fail."""
    read = []
    for item, future in chunk:
        try:
            read.append((item, future.result()))
        except CcdError as error:
            take(item, error)
        except MemoryError:
            take(item, CcdError(f"{item.path}: does not fit into memory."))
    return read


def _predict_batch(
    images: list[tuple[Media, Photo]], job: Job, take: Callable[..., None]
) -> list[tuple[Media, Photo, DepthMap]]:
    """Predict a batch; images for which the model fails, or whose camera contradicts them, are recorded as failed."""
    ready: list[tuple[Media, Photo]] = []
    focals = []
    for item, photo in images:
        try:
            focals.append(known_focal(*_camera(item, photo, None, job.settings)))
            ready.append((item, photo))
        except CcdError as error:
            take(item, error)
    rgbs = [photo.rgb for _, photo in ready]
    results = predict_each(job.model.teacher, rgbs, job.model.asked, focals) if ready else []
    predicted = []
    for (item, photo), result in zip(ready, results, strict=True):
        if isinstance(result, CcdError):
            take(item, result)
        else:
            predicted.append((item, photo, result))
    return predicted


def _camera(item: Media, photo: Photo, depth_map: DepthMap | None, settings: Settings) -> tuple[Camera, Source]:
    return photo_camera(photo, item.path, depth_map, settings.intrinsics, settings.fov)


def _try_write(item: Media, *rest: Any) -> tuple[Media, Taken, list[str]]:
    """Write one image's results; return the record, or the error where it concerns this image alone, and notes."""
    try:
        return item, *_write(item, *rest)
    except Unwritable:
        raise
    except CcdError as error:
        return item, error, []


def _write(
    item: Media, photo: Photo, depth_map: DepthMap, model: Model, settings: Settings, fingerprints: Fingerprints
) -> tuple[dict[str, Any], list[str]]:
    """Write all results of one image, the sidecar last; return its record and notes for the user."""
    if depth_map.valid is not None and not depth_map.valid.any() and depth_map.infinite is None:
        raise CcdError("The model's map has no valid value.", "If that is so for every image, try --precision fp32.")
    base = settings.out / item.stem
    with writing(base, _targets(base, depth_map, settings), settings.overwrite):
        return _write_files(item, photo, depth_map, model, settings, fingerprints)


def _targets(base: Path, depth_map: DepthMap, settings: Settings) -> list[Path]:
    """The files of an image's results beside the sidecar. Raises CcdError where there are none."""
    files = [*map_files(base, settings.save, depth_map.sky is not None).values()]
    if settings.pointcloud:
        endings = [f".{settings.cloud_format}", *([CLOUD_PICTURE] if settings.preview else [])]
        files += [with_suffix(base, ending) for ending in endings]
    return files


def _write_files(
    item: Media, photo: Photo, depth_map: DepthMap, model: Model, settings: Settings, fingerprints: Fingerprints
) -> tuple[dict[str, Any], list[str]]:
    base = settings.out / item.stem
    rgb, said = photo.rgb, list(photo.notes)
    shape = rgb.shape[0], rgb.shape[1]
    camera, source = _camera(item, photo, depth_map, settings)
    about = origin(model, shape, source, fingerprints)
    files: dict[str, str] = {}
    notes = unit_note(model.about.arch, depth_map.kind)
    extra: dict[str, Any] = {}
    if shape != photo.full_size:
        extra["image_size"] = [photo.full_size[1], photo.full_size[0]]
    if settings.pointcloud:
        cloud_settings = settings.cloud
        if (reference := reference_file(item, settings)) is not None:
            cloud_settings = replace(cloud_settings, reference=read_reference(reference, settings.ref_scale))
        solid = replace(depth_map, valid=depth_map.solid)
        upsampling = model.upsampling(*shape)
        cloud = cloud_from_map(solid, rgb, camera, cloud_settings, camera_source=source, upsampling=upsampling)
        path = with_suffix(base, f".{settings.cloud_format}")
        write_cloud(path, cloud.points, cloud.colors, cloud.normals, settings.cloud_format, cloud.about)
        files["cloud"] = path.name
        if settings.preview:
            files["preview"] = write_preview(with_suffix(base, CLOUD_PICTURE), cloud.points, cloud.colors).name
        notes += cloud.notes
        said += panorama_note(item.path, *photo.full_size, source in ("flag", "fov"))
        extra["cloud"] = {"points": len(cloud.points), "unit": cloud.unit, **vars(cloud.to_depth)}
    elif source == "flag":
        notes += camera_doubts(camera, shape)
    if said:
        extra["notes"] = said
    more = SidecarExtras(files, {"made_with": fingerprints.made_with, "runtime": model.runtime, **extra})
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
        "notes": said,
    }, notes
