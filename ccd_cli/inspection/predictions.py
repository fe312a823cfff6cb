"""What is in a folder of predictions, by the sidecars in it, and what failed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccd_cli.inspection.found import Row, Tables
from ccd_cli.media.outputs import GALLERY, read_failures, read_sidecar
from ccd_cli.reports.html import human

_CAMERAS = {
    "flag": "camera given",
    "fov": "field of view given",
    "exif": "camera from EXIF",
    "model": "camera from the model",
    "guess": "camera assumed",
    "file": "camera from a file",
}


@dataclass(frozen=True)
class Prediction:
    """One prediction: the path of its results without an ending, its name below the folder, and its sidecar."""

    base: Path
    name: str
    side: dict[str, Any]

    @property
    def sidecar(self) -> Path:
        """Return the path of the sidecar."""
        return self.base.with_name(f"{self.base.name}.json")

    @property
    def video(self) -> bool:
        """Whether it is of a video."""
        return bool(self.section("video"))

    def section(self, key: str) -> dict[str, Any]:
        """Return a part of the sidecar; {} where there is none."""
        found = self.side.get(key)
        return found if isinstance(found, dict) else {}

    @property
    def photo(self) -> Path | None:
        """Return the path of what was predicted, as it was when the folder lay where it lies; None where that is not known."""
        place = self.section("made_with").get("input")
        if not isinstance(place, str):
            return None
        root = self.base
        for _ in Path(self.name).parts:
            root = root.parent
        return root / place

    def file(self, item: str) -> Path | None:
        """Return the path of a result beside the sidecar; None for one that is not listed or gone."""
        name = str(self.side["files"].get(item) or "")
        path = self.base.with_name(name) if name and Path(name).name == name else None
        return path if path is not None and path.exists() else None

    def about(self) -> list[str]:
        """Return what it is in a few words: kind, and of a video its length, of a cloud its size."""
        words = [str(self.side.get("kind"))]
        if video := self.section("video"):
            words.append(f"{human(video.get('frames'))} frames at {human(video.get('rate'))} per second")
        if cloud := self.section("cloud"):
            words.append(f"cloud of {human(cloud.get('points'))} points")
        return words

    def facts(self) -> Row:
        """Return everything for eyes, by name."""
        side = self.side
        source = side.get("intrinsics_source")
        return {
            "kind": side.get("kind"),
            "direction": side.get("direction"),
            "unit": side.get("unit"),
            "model": side.get("model"),
            "license": side.get("license"),
            "weights": str(side.get("checkpoint_sha256", ""))[:16] or None,
            "network saw": f"{side['resolution']} pixels (short side)"
            if isinstance(side.get("resolution"), int)
            else None,
            "camera": _CAMERAS.get(str(source)) if side.get("intrinsics") else None,
            "cloud": self.section("cloud").get("unit"),
            "input": self.section("made_with").get("input"),
            "made by": f"ccd {side['version']}" if side.get("version") else None,
        }

    def notes(self) -> list[str]:
        """Return what was said while it was made, and which of its files are gone."""
        said = self.side.get("notes")
        notes = [str(note) for note in said] if isinstance(said, list) else []
        if cut := self.section("video").get("truncated"):
            notes.append(f"{cut}.")
        gone = [str(name) for item, name in self.side["files"].items() if self.file(item) is None]
        return notes + ([f"No longer there: {', '.join(gone)}."] if gone else [])


def has_predictions(folder: Path) -> bool:
    """Return whether a folder holds a prediction, or the names of inputs that failed."""
    return bool(read_failures(folder)) or next(_sidecars(folder), None) is not None


def find_predictions(folder: Path) -> list[Prediction]:
    """Return the predictions in a folder and below, in the order of their names."""
    return sorted(_sidecars(folder), key=lambda found: found.name)


def _sidecars(folder: Path) -> Iterator[Prediction]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != GALLERY]
        for name in names:
            if name.endswith(".json") and not name.startswith("."):
                base = Path(root, name.removesuffix(".json"))
                if (side := read_sidecar(base)) is not None:
                    yield Prediction(base, base.relative_to(folder).as_posix(), side)


def statistics(folder: Path, found: list[Prediction]) -> tuple[Row, Tables]:
    """Return a summary of the predictions and tables of the models that made them and of what failed."""
    failed = read_failures(folder)
    videos = sum(prediction.video for prediction in found)
    summary: Row = {
        "images": len(found) - videos,
        "videos": videos or None,
        "clouds": sum("cloud" in prediction.side["files"] for prediction in found) or None,
        "failed": len(failed) or None,
    }
    keys = ("model", "kind", "unit", "license")
    made = Counter(tuple(human(prediction.side.get(key)) for key in keys) for prediction in found)
    models = [{**dict(zip(keys, values, strict=True)), "predictions": count} for values, count in made.most_common()]
    return summary, {"Models": models, "Failed": failed}
