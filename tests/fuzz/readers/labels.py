"""Folders of labels: index, shards, sidecars, parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import LABEL, SHA, as_json, as_yaml


def label_readers(folder: Path) -> list[Reader]:
    from ccd_cli.config.label import LabelRecipe
    from ccd_cli.label.folder import LabelFolder, choose_label_folder, images_changed, is_finished
    from ccd_cli.label.parts import read_part
    from ccd_cli.labels.shards import ShardReader, write_tar
    from tests.tiny_shards import index_for, ordered, sample

    place = folder / "labels"
    place.mkdir(parents=True, exist_ok=True)
    members = [member for number in range(2) for member in ordered(sample(number))]
    write_tar(place / "shard-000000.tar", members)
    index_for(place, [2])
    recipe, first = LabelRecipe.model_validate(LABEL), dict(members)["000000000.json"]
    files = {
        **{path.name: path.read_bytes() for path in place.iterdir()},
        "recipe.yaml": as_yaml(recipe.model_dump(mode="json")),
        "label.json": as_json(
            {"photos": SHA, "device": "cpu", "precision": ["fp32"], "ccd": "1", "teachers": {"0": {}}}
        ),
        "quality.jsonl": b'{"key": "000000000", "photo": "a.png", "dropped": "", "disagreement": 0.5}\n' * 2,
    }
    fact = {"valid": 1.0, "saturated": 0.0, "flat": False, "scale": 0.1, "offset": 0.0}
    seen = {"position": 0, "path": "a.png", "sha256": SHA, "bytes": 1, "height": 20, "width": 30, "boxes": [[0, 0, 10]]}
    facts = {"kind": "depth", "teacher": {"teacher": "a"}, "seen": [seen], "bad": [], "crops": [[fact]]}
    write_tar(folder / "part.tar", [("facts.json", as_json(facts)), ("000000000.t0.c0.png", b"x")])

    def shards(here: Path, _: str) -> None:
        reader = ShardReader(here)
        try:
            for number in range(min(len(reader), 4)):
                one = reader.sample(number)
                one.photo()
                for teacher in range(len(one.facts.labels)):
                    one.label(teacher, 0)
        finally:
            reader.close()

    def state(here: Path, _: str) -> None:
        labels = LabelFolder(here)
        is_finished(labels, verify=False)
        images_changed(recipe, labels)
        choose_label_folder(recipe, str(here), False)

    return [
        Reader("label index", shards, files, {"index.json": "json"}, weight=3),
        Reader("label shards", shards, files, {"shard-000000.tar": "bytes"}, weight=4),
        Reader(
            "label folders", state, files, {"recipe.yaml": "yaml", "label.json": "json", "index.json": "json"}, weight=2
        ),
        Reader(
            "label parts",
            lambda here, name: read_part(here / name),
            {"part.tar": (folder / "part.tar").read_bytes()},
            {"part.tar": "bytes"},
            weight=2,
        ),
        Reader(
            "label sidecars",
            _sidecar_reader(members),
            {"s.json": first},
            {"s.json": "json"},
            weight=3,
        ),
    ]


def _sidecar_reader(members: list[tuple[str, bytes]]) -> Callable[[Path, str], None]:
    """Return a reader of a shard, fitting its index, in which one sidecar is the changed one."""

    def read(here: Path, name: str) -> None:
        from ccd_cli.labels.shards import ShardReader, write_tar
        from tests.tiny_shards import index_for

        changed = [(key, (here / name).read_bytes() if key == "000000000.json" else data) for key, data in members]
        write_tar(here / "shard-000000.tar", changed)
        index_for(here, [2])
        reader = ShardReader(here)
        try:
            one = reader.sample(0)
            one.photo()
            one.label(0, 0)
        finally:
            reader.close()

    return read
