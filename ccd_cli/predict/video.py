"""Videos: decode ahead, predict, and write behind, frame by frame, so that memory does not grow with the clip.

Finished segments survive any stop (`data.video_write`); running again goes on behind the last of them and gives the same
files. Color video and 16-bit video are stabilized (`core.temporal`); raw files of frames are not.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.concurrency import BackgroundWork, chunks, prefetched
from ccd_cli.core.errors import CcdError, Interrupted, Unwritable
from ccd_cli.core.files import write_json
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import Runtime, Signals, memory_error
from ccd_cli.geometry.depth_map import DepthMap, checked
from ccd_cli.media.colorize import ClipRange, colorize, nearness, side_by_side
from ccd_cli.media.find import Media
from ccd_cli.media.map_write import (
    CodeRange,
    code_ranges,
    codes16,
    sidecar,
    with_suffix,
    write_exr,
    write_npy,
    write_npz,
)
from ccd_cli.media.outputs import drop_frames, read_sidecar, settle
from ccd_cli.media.video_read import Frame, Video, open_video
from ccd_cli.media.video_write import ClipWriter, Track, parts_folder
from ccd_cli.predict.job import Fingerprints, Outcome, failed, fingerprints_of, finished, origin, photo_camera
from ccd_cli.predict.settings import Settings
from ccd_cli.predict.temporal import Mode, Stabilizer, default_mode
from ccd_cli.predict.video_clouds import CloudFrames
from ccd_cli.teachers.model import Model

DECODED_AHEAD = 4
WAITING_FRAMES = 4
GPU_BATCH = 4


@dataclass
class _Clip:
    """All that goes from frame to frame."""

    base: Path
    writer: ClipWriter
    steady: Stabilizer
    colors: ClipRange
    codes: CodeRange
    clouds: CloudFrames | None
    written: int = 0

    def state(self) -> dict[str, Any]:
        """What a later run needs to go on behind the last frame."""
        return {
            "steady": self.steady.state(),
            "colors": self.colors.state(),
            "codes": self.codes.state(),
            "written": self.written,
        }


def predict_video(
    item: Media, model: Model, settings: Settings, runtime: Runtime, report: Report, signals: Signals, outcome: Outcome
) -> None:
    """Predict one video; its record or the reason why not goes to `outcome`. A truncated one counts as failed, with all the
    frames that decode in its files.

    Raises Unwritable where nothing more can be written.
    """
    base = settings.out / item.stem
    mode: Mode = settings.temporal or default_mode(model.teacher.kind)
    span = (settings.start, settings.end, settings.stride)
    try:
        fingerprints = fingerprints_of(item, model, settings, runtime, mode, span)
        if not settings.overwrite and (found := finished(base, fingerprints.all)):
            outcome.done.append({"input": str(item.path), "sidecar": str(with_suffix(base, ".json")), "skipped": True})
            outcome.skipped += 1
            report.note(f"{item.path}: already done with these settings (--overwrite redoes it)")
            problems = [found.get("video", {}).get("truncated")]
        else:
            video = open_video(item.path)
            video.frames(*span)  # says what is wrong with the span
            record, problems = _predict(
                item, video, base, mode, model, settings, runtime, report, signals, fingerprints
            )
            outcome.done += [record] if record else []
        for problem in filter(None, problems):
            failed(item, CcdError(f"{problem}"), outcome, report)
    except CcdError as error:
        failed(item, error, outcome, report)


def _predict(
    item: Media,
    video: Video,
    base: Path,
    mode: Mode,
    model: Model,
    settings: Settings,
    runtime: Runtime,
    report: Report,
    signals: Signals,
    fingerprints: Fingerprints,
) -> tuple[dict[str, Any] | None, list[str | None]]:
    """Return the record of a video, None after an interruption, and what is wrong with it all the same."""
    parts = parts_folder(with_suffix(base, ".json"))
    if settings.overwrite:
        shutil.rmtree(parts, ignore_errors=True)
    with _writer(base, parts, video, settings, fingerprints) as writer:
        clip = _begin(base, writer, mode, video, model, settings, fingerprints)
        if not _run(item, video, clip, model, settings, runtime, report, signals):
            return None, []  # finished segments wait for the next run
        if clip.colors.state() is None:
            writer.discard()
            if clip.clouds is not None:
                clip.clouds.discard()
            raise CcdError(f"No {'frame has a valid value' if clip.written else 'frame lies in the chosen span'}.")
        notes = writer.finish(clip.state)
        made = _finish(item, video, clip, notes, model, settings, mode, fingerprints, report, signals)
        if made[0] is not None:
            writer.discard()
        return made


def _writer(base: Path, parts: Path, video: Video, settings: Settings, fingerprints: Fingerprints) -> ClipWriter:
    width, height = video.width, video.height
    strip = side_by_side(np.zeros((height, width, 3), np.uint8), np.zeros((height, width, 3), np.uint8)).shape[1]
    tracks = {
        "color": Track(with_suffix(base, ".color.mp4"), "color", width, height),
        "side": Track(with_suffix(base, ".side.mp4"), "color", strip, height),
        "png16": Track(with_suffix(base, ".depth.mkv"), "codes", width, height),
    }
    chosen = {name: track for name, track in tracks.items() if name in settings.save}
    return ClipWriter(
        parts, chosen, rate=video.rate / settings.stride, time_base=video.time_base, settings=fingerprints.all
    )


def _begin(
    base: Path,
    writer: ClipWriter,
    mode: Mode,
    video: Video,
    model: Model,
    settings: Settings,
    fingerprints: Fingerprints,
) -> _Clip:
    kind = model.teacher.kind
    clouds = None
    if settings.pointcloud:
        every = settings.every or max(1, round(float(video.rate) / settings.stride))
        clouds = CloudFrames(base, every, settings, fresh=writer.place is None)
    if (state := writer.state) is None:
        if (old := read_sidecar(base)) and "frames" in old["files"] and old.get("map") != fingerprints.map:
            drop_frames(base)  # of another model or span: they would lie among the new ones
        return _Clip(base, writer, Stabilizer(mode, kind), ClipRange(), CodeRange(kind), clouds)
    return _Clip(
        base,
        writer,
        Stabilizer.from_state(state["steady"]),
        ClipRange.from_state(state["colors"]),
        CodeRange.from_state(state["codes"]),
        clouds,
        state["written"],
    )


def _run(
    item: Media,
    video: Video,
    clip: _Clip,
    model: Model,
    settings: Settings,
    runtime: Runtime,
    report: Report,
    signals: Signals,
) -> bool:
    """Take every frame through; returns False after an interruption."""
    size = settings.batch or (GPU_BATCH if runtime.device.type == "cuda" else 1)
    known, source = photo_camera(item, (video.height, video.width), None, settings)
    focal = None if source == "guess" else known.fx
    frames = video.frames(settings.start, settings.end, settings.stride, clip.writer.place)
    report.begin(item.path.name, _expected(video, settings), done=clip.written)
    try:
        with ThreadPoolExecutor(1) as last, prefetched(frames, DECODED_AHEAD + size) as decoded:
            behind = BackgroundWork(last, WAITING_FRAMES + size, lambda count: report.advance(int(str(count))))
            for group in chunks(decoded, size):
                if signals.received is not None:
                    return False
                try:
                    maps = model.teacher.predict_photos([f.rgb for f in group], model.asked, [focal] * len(group))
                except (RuntimeError, MemoryError) as error:
                    if memory_error(error) is None:
                        raise
                    raise CcdError("Out of memory.", "Lower --resolution or --batch.") from error
                for frame, made in zip(group, maps, strict=True):
                    behind.add(_one, frame, made, clip, item, settings)
            behind.finish()
    finally:
        report.end()
    return True


def _expected(video: Video, settings: Settings) -> int:
    end = min(video.duration, settings.end or video.duration)
    return max(1, round((end - settings.start) * float(video.rate) / settings.stride))


def _one(frame: Frame, made: DepthMap, clip: _Clip, item: Media, settings: Settings) -> int:
    """Steady, color, encode and write one frame; return how many are written."""
    kind, valid = made.kind, made.valid
    scale, shift, cut = clip.steady.update(frame.rgb, made.values, valid)
    moved = made.values * np.float32(scale) + np.float32(shift)
    steady = made if (scale, shift) == (1.0, 0.0) else checked(moved, kind, valid)
    low, high = clip.colors.update(nearness(steady.values, steady.valid, kind), cut)
    pictures: dict[str, NDArray[Any]] = {}
    if {"color", "side"} & set(settings.save):
        color = colorize(steady.values, steady.valid, kind, low, high, settings.cmap)
        pictures = {"color": color, "side": side_by_side(frame.rgb, color) if "side" in settings.save else color}
    coding: tuple[float, float] | None = None
    if "png16" in settings.save:
        coding = clip.codes.fit(clip.written, steady.values, steady.valid)
        pictures["png16"] = codes16(steady.values, steady.valid, kind, *coding)
    _write_raw(clip, made, frame.rgb.shape[:2], item, settings)
    if clip.clouds is not None:
        clip.clouds.keep(clip.written, frame.rgb, steady)
    clip.written += 1
    clip.writer.add(frame.number, frame.seconds, pictures, note=[[scale, shift], coding], state=clip.state)
    return clip.written


def _write_raw(clip: _Clip, made: DepthMap, shape: tuple[int, int], item: Media, settings: Settings) -> None:
    """Write the model's own values of one frame, NaN where invalid, as <stem>/NNNNNN.*."""
    if not {"npy", "npz", "exr"} & set(settings.save):
        return
    raw = made.values if made.valid is None else np.where(made.valid, made.values, np.float32(np.nan))
    place = clip.base / f"{clip.written:06d}"
    if "npy" in settings.save:
        write_npy(with_suffix(place, ".npy"), raw)
    if "npz" in settings.save:
        write_npz(with_suffix(place, ".npz"), raw, made.valid, photo_camera(item, shape, made, settings)[0])
    if "exr" in settings.save:
        write_exr(with_suffix(place, ".exr"), raw, made.kind)


def _finish(
    item: Media,
    video: Video,
    clip: _Clip,
    notes: list[Any],
    model: Model,
    settings: Settings,
    mode: Mode,
    fingerprints: Fingerprints,
    report: Report,
    signals: Signals,
) -> tuple[dict[str, Any] | None, list[str | None]]:
    """Write the clouds and, last, the sidecar; return the record (None after an interruption), and what is wrong all the same.

    Without its clouds a clip is not finished: the next run makes it again.
    """
    problems = [None if video.truncated is None else f"{video.truncated}."]
    shape = (video.height, video.width)
    files = {name: track.path.name for name, track in clip.writer.tracks.items()}
    camera, source = photo_camera(item, shape, None, settings)
    if clip.clouds is not None:
        try:
            camera, source = clip.clouds.write(item, model, report, lambda: signals.received is not None)
        except Interrupted:
            return None, []  # the frames kept wait for the next run
        except Unwritable:
            raise
        except CcdError as error:
            problems.append(f"No point clouds: {error}")
            fingerprints = Fingerprints(fingerprints.map, "unfinished")
    if clip.base.is_dir():
        files["frames"] = clip.base.name
    about = origin(model, shape, source, fingerprints)
    ranges = code_ranges([coding for _, coding in notes])
    first = ranges[0] if ranges else {"scale": None, "offset": None}
    content = sidecar(model.teacher.kind, about, files, camera, first["scale"], first["offset"])
    content["video"] = {
        "frames": len(notes),
        "rate": float(video.rate / settings.stride),
        "start": settings.start,
        "stride": settings.stride,
        "temporal": mode,
        "code_ranges": ranges,
        "scale_shift": [steadying for steadying, _ in notes],
        "truncated": None if video.truncated is None else str(video.truncated),
    }
    path = with_suffix(clip.base, ".json")
    write_json(path, settle(clip.base, content))
    if clip.clouds is not None:
        clip.clouds.discard()
    record = {
        "input": str(item.path),
        "sidecar": str(path),
        "kind": model.teacher.kind,
        "files": [str(clip.base.parent / name) for name in files.values()],
        "frames": len(notes),
        "skipped": False,
    }
    return record, problems
