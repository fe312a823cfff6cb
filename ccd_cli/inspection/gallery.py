"""The page of a folder of predictions: photo and depth under a slider, cloud, files and facts of each; thumbnails beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from ccd_cli.core.concurrency import chunks
from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import atomic_write, write_json, write_text
from ccd_cli.core.parse import parse_json
from ccd_cli.core.report import Report
from ccd_cli.inspection.found import Inspected
from ccd_cli.inspection.predictions import Prediction, find_predictions, statistics
from ccd_cli.media.colorize import colorize
from ccd_cli.media.map_read import read_map
from ccd_cli.media.outputs import GALLERY, GALLERY_MARK
from ccd_cli.media.photos import Limits, load_photo
from ccd_cli.media.video.read import open_video
from ccd_cli.reports.contact_sheet import Panel, sheet, write_sheet
from ccd_cli.reports.html import human, render

CONTACT, PAGE = "contact.png", "inspect.html"
SIDE = 480  # pixels of a thumbnail's longer side
PER_PAGE = 96
"""Predictions on one page: what a phone shows without trouble."""
WORKERS, CHUNK = 4, 32
_READ = Limits(pixels=2_000_000)
"""Photos are halved while they are decoded: a thumbnail needs no more."""
_RAW = ("png16", "npy", "npz", "exr")
_LABELS = {
    "color": "color",
    "side": "side by side",
    "png16": "16 bit",
    "frames": "frames",
    "cloud": "point cloud",
    "preview": "cloud preview",
}
Thumbs = dict[str, Any]


@dataclass(frozen=True)
class Card:
    """A prediction as the page shows it; all paths are relative to the page."""

    key: str
    name: str
    about: list[str]
    facts: list[tuple[str, str]]
    notes: list[str]
    files: list[tuple[str, PurePath]]
    shape: tuple[int, int]
    photo: PurePath | None
    depth: PurePath | None
    cloud: PurePath | None
    video: PurePath | None


class Thumbnails:
    """The thumbnails of predictions in a folder, drawn once: what a sidecar of the same time and size has is not drawn again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Thumbs] = _read_mark(folder / GALLERY_MARK)
        self._used: dict[str, Thumbs] = {}

    def of(self, prediction: Prediction) -> Thumbs:
        """Return the names of the thumbnails (`photo`, `depth`, `cloud`) of a prediction and its `shape` (width, height)."""
        key, about = key_of(prediction), prediction.sidecar.stat()
        made = [about.st_mtime_ns, about.st_size]
        known = self._known.get(key)
        if known is None or known.get("made") != made or not known.get("photo") or not self._is_there(known):
            known = {"made": made, **self._draw(prediction, key)}
        self._used[key] = known
        return known

    def save(self) -> None:
        """Note what is drawn, also where not all was."""
        write_json(self.folder / GALLERY_MARK, {"ccd_gallery": 1, "thumbnails": {**self._known, **self._used}})

    def sweep(self) -> None:
        """Remove thumbnails of predictions that are gone, after all others were asked for."""
        self._known = {}
        self.save()
        used = {str(thumbs[part]) for thumbs in self._used.values() for part in PARTS if thumbs.get(part)}
        for path in self.folder.glob("*.jpg"):
            if path.name not in used:
                path.unlink(missing_ok=True)

    def _is_there(self, known: Thumbs) -> bool:
        return all((self.folder / str(known[part])).is_file() for part in PARTS if known.get(part))

    def _draw(self, prediction: Prediction, key: str) -> Thumbs:
        thumbs: Thumbs = {}
        for part, take in PARTS.items():
            try:
                panel = take(prediction)
            except (CcdError, OSError, ValueError):
                panel = None  # gone or damaged: the page says so
            if panel is None:
                continue
            image = Image.fromarray(panel)
            image.thumbnail((SIDE, SIDE))
            thumbs.setdefault("shape", list(image.size))
            thumbs[part] = f"{key}.{part}.jpg"
            with atomic_write(self.folder / thumbs[part]) as temporary:
                image.save(temporary, format="JPEG", quality=85)
        return thumbs


def inspect(folder: Path, target: Path, rows: int, report: Report) -> Inspected:
    """Write the gallery of a folder of predictions into `target`: pages, thumbnails, and a contact sheet of `rows` predictions."""
    found = find_predictions(folder)
    files = {"page": target / PAGE}
    if found:
        files = {"contact": target / CONTACT, **files}
    seen = Inspected(folder, "predictions", *statistics(folder, found), files)
    thumbnails = Thumbnails(target / GALLERY)
    report.begin("Thumbnails", len(found))
    drawn: list[Thumbs] = []
    try:
        with ThreadPoolExecutor(WORKERS) as workers:
            for chunk in chunks(found, CHUNK):  # after Ctrl-C, what was handed out is still drawn
                for thumbs in workers.map(thumbnails.of, chunk):
                    drawn.append(thumbs)
                    report.advance(len(drawn))
    finally:
        report.end()
        thumbnails.save()
    thumbnails.sweep()
    if found:
        chosen = [i * len(found) // min(rows, len(found)) for i in range(min(rows, len(found)))]
        write_sheet(files["contact"], _sheet([(found[i], drawn[i]) for i in chosen], thumbnails.folder))
    _write_pages(seen, list(zip(found, drawn, strict=True)), target)
    return seen


def key_of(prediction: Prediction) -> str:
    """Return a short name that is a file name anywhere, whatever the prediction is called."""
    return hashlib.sha256(os.fsencode(prediction.name)).hexdigest()[:16]


def _write_pages(seen: Inspected, shown: Sequence[tuple[Prediction, Thumbs]], target: Path) -> None:
    """Write all pages, the first one last: where it is, the rest is."""
    count = max(1, -(-len(shown) // PER_PAGE))
    names = [PurePath(PAGE), *(PurePath(GALLERY, f"page-{number}.html") for number in range(2, count + 1))]
    index = [(key_of(p), p.name, i // PER_PAGE) for i, (p, _) in enumerate(shown)] if count > 1 else []
    for number in reversed(range(count)):
        place = (target / names[number]).parent
        first = number * PER_PAGE
        part = shown[first : first + PER_PAGE]
        page = render(
            "gallery",
            title=f"Predictions: {seen.folder.resolve().name}",
            summary=seen.lines() if number == 0 else [],
            models=seen.filled()["Models"] if shown and number == 0 else [],
            failed=[f"{line['input']}: {line['reason']}" for line in seen.tables["Failed"]] if number == 0 else [],
            cards=[_card(prediction, thumbs, target, place) for prediction, thumbs in part],
            first=first + 1,
            last=first + len(part),
            total=len(shown),
            number=number,
            pages=[PurePath(os.path.relpath(target / name, place)) for name in names],
            index=index if number == 0 else [],
        )
        write_text(target / names[number], page)
    for old in (target / GALLERY).glob("page-*.html"):
        if PurePath(GALLERY, old.name) not in names:
            old.unlink(missing_ok=True)


def _card(prediction: Prediction, thumbs: Thumbs, target: Path, place: Path) -> Card:
    def beside(path: Path) -> PurePath:
        return PurePath(os.path.relpath(path, place))

    def thumb(part: str) -> PurePath | None:
        return beside(target / GALLERY / thumbs[part]) if thumbs.get(part) else None

    videos = [path for item in ("color", "side") if (path := prediction.file(item)) is not None]
    width, height = thumbs.get("shape") or (4, 3)
    listed = {item: prediction.file(item) for item in prediction.side["files"]}
    return Card(
        key=key_of(prediction),
        name=prediction.name,
        about=prediction.about(),
        facts=[(name, human(value)) for name, value in prediction.facts().items() if value is not None],
        notes=[*prediction.notes(), *_missing(prediction, thumbs)],
        files=[(_LABELS.get(item, item), beside(path)) for item, path in listed.items() if path is not None]
        + [("sidecar", beside(prediction.sidecar))],
        shape=(int(width), int(height)),
        photo=thumb("photo"),
        depth=thumb("depth"),
        cloud=thumb("cloud"),
        video=beside(videos[0]) if prediction.video and videos else None,
    )


def _missing(prediction: Prediction, thumbs: Thumbs) -> Iterator[str]:
    if not thumbs.get("photo") and not prediction.video:
        yield "The photo is not where it was, so only its depth is shown."
    if not thumbs.get("depth"):
        yield "Its depth cannot be shown."


def _sheet(shown: Sequence[tuple[Prediction, Thumbs]], folder: Path) -> Panel:
    """A contact sheet of some predictions."""
    rows, captions = [], []
    for prediction, thumbs in shown:
        panels = [np.asarray(Image.open(folder / thumbs[part])) for part in PARTS if thumbs.get(part)]
        if panels:
            rows.append(panels)
            captions.append(f"{prediction.name}  {', '.join(prediction.about())}")
    return sheet(rows or [[np.full((32, 192, 3), 240, np.uint8)]], [], captions or ["nothing to show"])


def _photo(prediction: Prediction) -> Panel | None:
    path = prediction.photo
    if path is None or not path.is_file():
        return None
    return _first_frame(path) if prediction.video else load_photo(path, _READ).rgb


def _depth(prediction: Prediction) -> Panel | None:
    path = prediction.file("color")
    if path is not None:
        return _first_frame(path) if prediction.video else load_photo(path, _READ).rgb
    for item in _RAW if not prediction.video else ():
        if (path := prediction.file(item)) is not None:
            made = read_map(path).depth_map
            return colorize(made.values, made.valid, made.kind)
    return None


def _cloud(prediction: Prediction) -> Panel | None:
    path = prediction.file("preview")
    return None if path is None else load_photo(path, _READ).rgb


def _first_frame(path: Path) -> Panel:
    return next(open_video(path).frames()).rgb


def _read_mark(path: Path) -> dict[str, Thumbs]:
    """What an earlier inspection drew, as far as its note is whole."""
    try:
        known = parse_json(path.read_bytes())["thumbnails"]
        return {key: each for key, each in known.items() if _is_whole(key, each)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_whole(key: str, thumbs: Any) -> bool:
    named = all(thumbs.get(part, f"{key}.{part}.jpg") == f"{key}.{part}.jpg" for part in PARTS)
    shape = thumbs.get("shape", [4, 3])
    return named and isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, int) and n > 0 for n in shape)


PARTS = {"photo": _photo, "depth": _depth, "cloud": _cloud}
"""What is drawn of a prediction."""
