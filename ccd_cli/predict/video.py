"""Videos: frames are decoded, predicted and written one after the other, so that memory does not grow with the clip.

Finished segments survive an interruption (`media.video.write`); a second run resumes after the last of them and gives the
same files. Color video and 16-bit video are stabilized (`predict.temporal`); raw files per frame are not.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.concurrency import BackgroundWork, chunks, prefetched
from ccd_cli.core.errors import CcdError, Interrupted, Unwritable
from ccd_cli.core.files import write_json
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.media.colorize import ClipRange, color_table, colorize, nearness, side_by_side
from ccd_cli.media.find import Media
from ccd_cli.media.map_write import (
    SKY,
    CodeRange,
    code_ranges,
    codes16,
    sidecar,
    sky_mask,
    with_suffix,
    write_exr,
    write_npy,
    write_npz,
)
from ccd_cli.media.outputs import CLOUDS, drop_frames, read_sidecar, refuse_foreign, settle
from ccd_cli.media.video.read import Frame, Video, open_video
from ccd_cli.media.video.write import ClipWriter, parts_folder
from ccd_cli.predict.camera import known_focal, unit_note
from ccd_cli.predict.clip_files import PER_FRAME, targets_of, tracks_of
from ccd_cli.predict.cost import warn_of_cost
from ccd_cli.predict.earlier import earlier_results
from ccd_cli.predict.finished import kind_of, mode_of, skip_finished
from ccd_cli.predict.job import Fingerprints, Job, origin
from ccd_cli.predict.letterbox import Letterbox, letterbox_of
from ccd_cli.predict.temporal import Mode, Stabilizer
from ccd_cli.predict.video_clouds import CloudFrames, preview_of
from ccd_cli.teachers.model import predict_each

PREFETCHED_FRAMES = 4
QUEUED_FRAMES = 4
GPU_BATCH = 4


@dataclass(frozen=True)
class _Source:
    """A video, how its maps are stabilized, and where its results go (`base`: path without extension)."""

    item: Media
    video: Video
    mode: Mode
    base: Path
    fingerprints: Fingerprints
    letterbox: Letterbox

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return self.letterbox.shape


@dataclass
class _Clip:
    """The state that is updated with every frame."""

    writer: ClipWriter
    stabilizer: Stabilizer
    colors: ClipRange
    codes: CodeRange
    clouds: CloudFrames | None
    written: int = 0
    outside: int = 0  # frames that show something in the bars
    damaged: int = 0  # packets of the source that did not decode
    camera: Camera | None = None  # what the model took the first frame's for

    def state(self) -> dict[str, Any]:
        """Return what is needed to resume after the last frame, as JSON."""
        return {
            "steady": self.stabilizer.state(),
            "colors": self.colors.state(),
            "codes": self.codes.state(),
            "written": self.written,
            "outside": self.outside,
            "damaged": self.damaged,
            "camera": None if self.camera is None else list(astuple(self.camera)),
        }


def predict_video(item: Media, job: Job, frames: Callable[[], int] = lambda: 1) -> None:
    """Predict one video; its record or the reason of failure goes to `job.outcome`.

    `frames()` tells how many frames this and the videos after it have, from which the model's runtime is chosen. A truncated
    video counts as failed, with all frames that decode in its files. Raises Unwritable where the output cannot be written, and
    what loading the model raises.
    """
    settings = job.settings
    unloaded: CcdError | None = None
    try:
        if (fingerprints := skip_finished(item, job)) is None:
            return
        video = open_video(item.path)
        video.frames(settings.start, settings.end, settings.stride)  # raises for an invalid span
        earlier = earlier_results(item, fingerprints, job)
        if earlier.kept:
            raise CcdError(*earlier.refusal())
        letterbox = letterbox_of(video)
        for note in filter(None, (earlier.replaced, *video.notes, letterbox.note)):
            job.report.note(f"{item.path}: {note}")
        try:
            job.begin(0, frames)
        except CcdError as error:
            unloaded = error
            raise
        source = _Source(item, video, mode_of(job), settings.out / item.stem, fingerprints, letterbox)
        record, problems = _predict(source, job)
        job.outcome.done += [record] if record else []
        for problem in filter(None, problems):
            job.fail(item, CcdError(problem))
    except CcdError as error:
        if error is unloaded:  # not the fault of this video
            raise
        job.fail(item, error)


def count_frames(item: Media, job: Job) -> int:
    """Return about how many frames of a video will be predicted; 0 where it cannot be opened."""
    try:
        return _expected_frames(open_video(item.path), job)
    except CcdError:
        return 0


def _predict(source: _Source, job: Job) -> tuple[dict[str, Any] | None, list[str | None]]:
    """Return the record of a video (None after an interruption), and the problems of a video that has results."""
    parts = parts_folder(with_suffix(source.base, ".json"))
    with _writer(source, parts, job) as writer:
        clip = _begin(source, writer, job)
        if not _run(source, clip, job):
            return None, []  # finished segments remain for the next run
        if clip.colors.state() is None:
            writer.discard()
            if clip.clouds is not None:
                clip.clouds.discard()
            raise CcdError(f"No {'frame has a valid value' if clip.written else 'frame lies in the chosen span'}.")
        notes = writer.complete(clip.state)
        record, problems = _finish(source, clip, notes, job)
        if record is not None:
            writer.discard()
        return record, problems


def _writer(source: _Source, parts: Path, job: Job) -> ClipWriter:
    """The writer of the videos among the results, in `parts` until they are finished."""
    base, video, settings = source.base, source.video, job.settings
    tracks = tracks_of(base, source.shape, settings, job.model.marks_sky)
    if not settings.overwrite and not parts.exists():
        refuse_foreign(base, targets_of(base, tracks, settings))
    return ClipWriter(
        parts,
        tracks,
        rate=video.rate / settings.stride,
        time_base=video.time_base,
        settings=source.fingerprints.all,
        fresh=settings.overwrite,
    )


def _begin(source: _Source, writer: ClipWriter, job: Job) -> _Clip:
    """The state of a new clip, or the restored state of an interrupted one."""
    kind, settings, base = kind_of(job), job.settings, source.base
    clouds = None
    if settings.pointcloud:
        every = settings.every or max(1, round(float(source.video.rate) / settings.stride))
        clouds = CloudFrames(base, every, settings, fresh=writer.place is None)
    if (state := writer.state) is None:
        if (old := read_sidecar(base)) and "frames" in old["files"]:
            if old.get("map") != source.fingerprints.map:
                drop_frames(base)  # frames of another model or span would mix with the new ones
            elif settings.pointcloud:
                drop_frames(base, CLOUDS)  # so would clouds of another scale
        return _Clip(writer, Stabilizer(source.mode, kind), ClipRange(), CodeRange(kind), clouds)
    return _Clip(
        writer,
        Stabilizer.from_state(state["steady"]),
        ClipRange.from_state(state["colors"]),
        CodeRange.from_state(state["codes"]),
        clouds,
        state["written"],
        state["outside"],
        state["damaged"],
        state["camera"] and Camera(*state["camera"]),
    )


def _run(source: _Source, clip: _Clip, job: Job) -> bool:
    """Process all frames that remain; returns False after an interruption."""
    video, settings, report = source.video, job.settings, job.report
    count, batch = _expected_frames(video, job), job.batch(GPU_BATCH)
    teacher = job.model.for_clip(count, *source.letterbox.picture)
    focal = known_focal(*source.letterbox.camera(settings.intrinsics, settings.fov))
    place = clip.writer.place and clip.writer.place._replace(damaged=clip.damaged)
    frames = video.frames(settings.start, settings.end, settings.stride, place)
    warn_of_cost(job.model, job.compute, source.letterbox.picture, batch, report)
    for note in unit_note(job.model.about.arch, kind_of(job)):
        report.note(f"{source.item.path}: {note}")
    report.begin(source.item.path.name, count, done=clip.written)
    try:
        with ThreadPoolExecutor(1) as writer, prefetched(frames, PREFETCHED_FRAMES + batch) as decoded:
            writing = BackgroundWork(writer, QUEUED_FRAMES + batch, lambda count: report.advance(int(str(count))))
            for group in chunks(decoded, batch):
                if job.signals.received is not None:
                    return False
                pictures = [np.ascontiguousarray(source.letterbox.bars.crop(frame.rgb)) for frame in group]
                maps = predict_each(teacher, pictures, job.model.asked, [focal] * len(group))
                for frame, depth_map in zip(group, maps, strict=True):
                    if isinstance(depth_map, CcdError):
                        raise depth_map
                    writing.add(_write_frame, frame, source.letterbox.place(depth_map), source, clip, job)
            writing.finish()
    finally:
        report.end()
    return True


def _expected_frames(video: Video, job: Job) -> int:
    end = min(video.duration, job.settings.end or video.duration)
    return max(1, round((end - job.settings.start) * float(video.rate) / job.settings.stride))


def _write_frame(frame: Frame, depth_map: DepthMap, source: _Source, clip: _Clip, job: Job) -> int:
    """Stabilize, colorize, encode and write one frame; return how many are written."""
    save, kind = job.settings.save, depth_map.kind
    stable, (scale, shift, cut) = clip.stabilizer.stabilize(frame.rgb, depth_map)
    low, high = clip.colors.update(nearness(stable.values, stable.valid, kind), cut)
    images: dict[str, NDArray[Any]] = {}
    if {"color", "side"} & set(save):
        color = colorize(stable.values, stable.valid, kind, low, high, job.settings.cmap)
        if stable.infinite is not None:
            color[stable.infinite] = color_table(job.settings.cmap)[0]
        images = {"color": color, "side": side_by_side(frame.rgb, color) if "side" in save else color}
    coding: tuple[float, float] | None = None
    if "png16" in save:
        coding = clip.codes.fit(clip.written, stable.values, stable.valid)
        images["png16"] = codes16(stable.values, stable.valid, kind, *coding)
    if SKY in clip.writer.tracks and depth_map.sky is not None:
        images[SKY] = sky_mask(depth_map.sky)
    _write_raw(source.base / f"{clip.written:06d}", depth_map, source, job)
    if clip.clouds is not None:
        clip.clouds.store(clip.written, frame.rgb, stable)
    clip.outside += source.letterbox.bars.shows_something(frame.rgb)
    clip.damaged = frame.damaged
    if not clip.written:
        clip.camera = depth_map.camera
    clip.written += 1
    clip.writer.add(frame.number, frame.seconds, images, note=[[scale, shift], coding], state=clip.state)
    return clip.written


def _write_raw(base: Path, depth_map: DepthMap, source: _Source, job: Job) -> None:
    """Write the model's unmodified values of one frame, NaN where invalid, as `base` with the suffix of each format."""
    save = job.settings.save
    if not PER_FRAME & set(save):
        return
    valid, raw = depth_map.valid, depth_map.raw
    if "npy" in save:
        write_npy(with_suffix(base, ".npy"), raw)
    if "npz" in save:
        camera, _ = source.letterbox.camera(job.settings.intrinsics, job.settings.fov, depth_map.camera)
        write_npz(with_suffix(base, ".npz"), raw, valid, camera)
    if "exr" in save:
        write_exr(with_suffix(base, ".exr"), raw, depth_map.kind)


def _finish(source: _Source, clip: _Clip, notes: list[Any], job: Job) -> tuple[dict[str, Any] | None, list[str | None]]:
    """Write the clouds and, last, the sidecar; return the record (None after an interruption) and the problems.

    A clip whose clouds failed is not finished: the next run redoes it.
    """
    item, video, settings, kind = source.item, source.video, job.settings, kind_of(job)
    fingerprints = source.fingerprints
    problems = [None if video.truncated is None else f"{video.truncated}."]
    files = {name: track.path.name for name, track in clip.writer.tracks.items()}
    camera, camera_source = source.letterbox.camera(settings.intrinsics, settings.fov, clip.camera)
    if clip.outside:
        job.report.warn(
            f"{item.path.name}: {clip.outside} of {clip.written} frames show something in the black bars (a caption, or a scene "
            "of another shape), which has no depth."
        )
    if clip.clouds is not None:
        try:
            camera, camera_source = clip.clouds.write(
                item, source.letterbox, job.model, job.report, lambda: job.signals.received is not None
            )
        except Interrupted:
            return None, []  # the stored frames remain for the next run
        except Unwritable:
            raise
        except CcdError as error:
            problems.append(f"No point clouds: {error}")
            fingerprints = fingerprints._replace(all="unfinished")
        if settings.preview and preview_of(source.base).is_file():
            files["preview"] = preview_of(source.base).name
    clip.writer.join()  # after the clouds: until the sidecar is there, what lies under these names is no result
    ours = clip.clouds is not None or PER_FRAME & set(settings.save)
    if source.base.is_dir() and (ours or "frames" in (read_sidecar(source.base) or {"files": ()})["files"]):
        files["frames"] = source.base.name
    about = origin(job.model, source.shape, camera_source, fingerprints)
    ranges = code_ranges([coding for _, coding in notes])
    first = ranges[0] if ranges else {"scale": None, "offset": None}
    content = sidecar(kind, about, files, camera, first["scale"], first["offset"])
    content["made_with"] = fingerprints.made_with
    content["runtime"] = job.model.runtime
    content["video"] = {
        "frames": len(notes),
        "rate": float(video.rate / settings.stride),
        "start": settings.start,
        "stride": settings.stride,
        "temporal": source.mode,
        "code_ranges": ranges,
        "scale_shift": [scale_shift for scale_shift, _ in notes],
        "truncated": None if video.truncated is None else str(video.truncated),
        "track": video.track,
        "stored": video.geometry.facts(),
        "black_bars": source.letterbox.bars._asdict(),
    }
    path = with_suffix(source.base, ".json")
    write_json(path, settle(source.base, content))
    if clip.clouds is not None:
        clip.clouds.discard()
    record = {
        "input": str(item.path),
        "sidecar": str(path),
        "kind": kind,
        "files": [str(source.base.parent / name) for name in files.values()],
        "frames": len(notes),
        "skipped": False,
    }
    return record, problems
