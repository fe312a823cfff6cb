"""Folders of labels: index, shards, sidecars, parts, as they are and with checksums that fit what was changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import LABEL, SHA, as_json, as_yaml, values_seed


def label_readers(folder: Path) -> list[Reader]:
    """Return the readers of labels; the sealed ones get a file that fits its checksums, and lies."""
    from ccd_cli.config.label import LabelRecipe
    from ccd_cli.label.folder import LabelFolder, choose_label_folder, images_changed, is_finished

    place = folder / "labels"
    members = _shard(place)
    recipe = LabelRecipe.model_validate(LABEL)
    files = {
        **{path.name: path.read_bytes() for path in place.iterdir()},
        "recipe.yaml": as_yaml(recipe.model_dump(mode="json")),
        "label.json": as_json(
            {"photos": SHA, "device": "cpu", "precision": ["fp32"], "ccd": "1", "teachers": {"0": {}}}
        ),
    }

    def state(here: Path, _: str) -> None:
        labels = LabelFolder(here)
        is_finished(labels, verify=False)
        images_changed(recipe, labels)
        choose_label_folder(recipe, str(here), False)

    def sealed(here: Path, name: str) -> None:
        if name == "index.json":
            _seal_index(here / name)
        else:
            _pack(here, [(key, (here / name).read_bytes() if key == name else data) for key, data in members])
        _read_labels(here)

    def sealed_shard(here: Path, _: str) -> None:
        _index(here)
        _read_labels(here)

    parts = _parts()
    one_of = {name: data for name, data in members if name.startswith("000000000.")}
    documents = {"index.json": "json", **{name: "json" if name.endswith(".json") else "bytes" for name in one_of}}
    return [
        Reader("label index", lambda here, _: _read_labels(here), files, {"index.json": "json"}, weight=3),
        Reader("label shards", lambda here, _: _read_labels(here), files, {"shard-000000.tar": "bytes"}, weight=4),
        Reader(
            "label folders", state, files, {"recipe.yaml": "yaml", "label.json": "json", "index.json": "json"}, weight=2
        ),
        Reader("labels, sealed", sealed, files | one_of, documents, weight=8),
        Reader("label shards, sealed", sealed_shard, files, {"shard-000000.tar": "bytes"}, weight=4),
        Reader("label parts", lambda here, _: _read_part(here), parts, {"part.tar": "bytes"}, weight=2),
        Reader("label parts, sealed", _read_sealed_part, parts, {"facts.json": "json"}, weight=4),
    ]


def _shard(place: Path) -> list[tuple[str, bytes]]:
    """Write a finished folder of labels of two images; return the members of its shard."""
    from ccd_cli.labels.shards import write_tar
    from tests.tiny_shards import ordered, sample

    place.mkdir(parents=True, exist_ok=True)
    members = [member for number in range(2) for member in ordered(sample(number))]
    write_tar(place / "shard-000000.tar", members)
    (place / "quality.jsonl").write_bytes(
        b'{"key": "000000000", "photo": "a.png", "dropped": "", "disagreement": 0.5}\n'
    )
    _index(place)
    return members


def _index(place: Path) -> None:
    from tests.tiny_shards import index_for

    index_for(place, [2])


def _pack(here: Path, members: list[tuple[str, bytes]]) -> None:
    from ccd_cli.labels.shards import write_tar

    write_tar(here / "shard-000000.tar", members)
    _index(here)


def _seal_index(path: Path) -> None:
    """Give an index the checksum of what is in it, where it is an index at all."""
    from ccd_cli.labels.format import Index

    try:
        path.write_text(Index.model_validate_json(path.read_bytes()).checked().model_dump_json())
    except ValueError:  # refused by the model, or with values that no writer writes
        return


def _read_labels(here: Path) -> None:
    """Read a folder as distillation does, then as `ccd inspect` does."""
    from ccd_cli.core.report import Silent
    from ccd_cli.data.augment import Augmentation
    from ccd_cli.data.views import ViewConfig
    from ccd_cli.inspection.run import run
    from ccd_cli.labels.shards import ShardReader
    from ccd_cli.labels.stream import LabelChoice, LabelStream

    reader = ShardReader(here)
    try:
        views = ViewConfig(reader.index.size, 8, 1, 0.5, 1.0, False, True, True)
        choice = LabelChoice([0, 1], lambda _: [0, 1])
        stream = LabelStream(reader, 0, True, views, Augmentation(), choice, lambda *_: None)
        assert reader.files >= 0
        for number in range(min(len(reader), 4)):
            stream[number]
    finally:
        reader.close()
    run(here, here / "out", 2, Silent())


def _parts() -> dict[str, bytes]:
    """Return a part of two images as a file, its facts alone, and the PNGs of one of its images."""
    from ccd_cli.labels.format import encode_label

    png, scale, offset = encode_label(values_seed()[:12, :12], "depth")
    crop = {"valid": 1.0, "saturated": 0.0, "flat": False, "scale": scale, "offset": offset}
    seen = {"path": "a.png", "sha256": SHA, "bytes": 1, "height": 20, "width": 30, "boxes": [[0, 0, 10], [1, 2, 10]]}
    facts = {
        "kind": "depth",
        "teacher": {"teacher": "a", "kind": "depth", "license": "MIT", "checkpoint_sha256": SHA},
        "seen": [{**seen, "position": 0}, {**seen, "position": 1, "path": "b.png"}],
        "bad": [{"position": 2, "path": "c.png", "reason": "empty"}],
        "crops": [[crop, crop]] * 2,
        "pngs": hashlib.sha256(png * 4).hexdigest(),
    }
    return {"facts.json": as_json(facts), "label.png": png, "part.tar": _part(as_json(facts), png)}


def _part(facts: bytes, png: bytes) -> bytes:
    """Return a part with these facts and the checksum that fits them."""
    import io
    import tarfile

    content = facts.decode("utf-8", "replace")
    sealed = json.dumps({"sha256": hashlib.sha256(content.encode()).hexdigest(), "facts": content}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in [("part.json", sealed), *[(f"00000000{i}.t0.c{c}.png", png) for i in (0, 1) for c in (0, 1)]]:
            head = tarfile.TarInfo(name)
            head.size = len(data)
            tar.addfile(head, io.BytesIO(data))
    return buffer.getvalue()


def _read_sealed_part(here: Path, name: str) -> None:
    (here / "part.tar").write_bytes(_part((here / name).read_bytes(), (here / "label.png").read_bytes()))
    _read_part(here)


def _read_part(here: Path) -> None:
    """Use a part as the stages of labeling do: compare it with another teacher's, score it, take its shards' lines."""
    from concurrent.futures import ThreadPoolExecutor

    from ccd_cli.label.assemble import check_same_images
    from ccd_cli.label.parts import read_part
    from ccd_cli.label.quality import apply_drop_rules, score_shard

    part = read_part(here / "part.tar")
    check_same_images([part, read_part(here / "part.tar")])
    facts: dict[str, Any] = part.teacher
    assert all(isinstance(facts[key], str) for key in ("teacher", "kind", "license", "checkpoint_sha256"))
    with ThreadPoolExecutor(1) as threads:
        threads.ahead = 1  # type: ignore[attr-defined]
        lines = score_shard([part, part], ["a", "b"], 12, threads)  # type: ignore[arg-type]
    json.dumps(apply_drop_rules(lines, np.float64(0.5), 1.0))
    assert all(image.path.as_posix() and image.reason is not None for image in part.unreadable)
