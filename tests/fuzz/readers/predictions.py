"""What `ccd predict` left, with changed sidecars that carry a right checksum: predict again, make clouds, take as inputs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from PIL import Image

from ccd_cli.core.errors import CcdError
from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import saved, sealed_file, values_seed
from tests.fuzz.readers.teachers import weight_seeds

OUT = "out"


def prediction_readers(folder: Path) -> list[Reader]:
    """Return the reader of sealed sidecars, and of a student whose content changed under a right checksum."""
    seeds = _predicted(folder / "predicted")
    sidecar = {f"{OUT}/a.json": "json"}
    return [
        Reader("predictions, sealed", _again, seeds, sidecar, weight=3),
        Reader(
            "weights, sealed",
            _weights,
            {"net.safetensors": seeds["net.safetensors"]},
            {"net.safetensors": "bytes"},
            weight=3,
        ),
        Reader(
            "weights with other headers", _header, _headers(seeds["net.safetensors"]), {"header.json": "json"}, weight=4
        ),
    ]


def command(*words: str) -> None:
    from click.testing import CliRunner

    from ccd_cli.cli.main import cli
    from tests.fuzz.readers.commands import invoked

    invoked(CliRunner().invoke(cli, list(words)))


def _predict(place: Path, *more: str) -> None:
    os.utime(place / "a.png", ns=(0, 0))
    photo, model = str(place / "a.png"), str(place / "net.safetensors")
    command(
        "predict",
        photo,
        "--model",
        model,
        "--out",
        str(place / OUT),
        "--save",
        "npy,png16",
        "--device",
        "cpu",
        "--resolution",
        "56",
        *more,
    )


def _predicted(place: Path) -> dict[str, bytes]:
    place.mkdir(parents=True)
    (place / "net.safetensors").write_bytes(weight_seeds(place / "weights")["net.safetensors"])
    (place / "a.png").write_bytes(
        saved(lambda b: Image.fromarray(values_seed()).convert("RGB").resize((64, 48)).save(b, "PNG"))
    )
    _predict(place)
    names = [place / "net.safetensors", place / "a.png", *(place / OUT).iterdir()]
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in names}


def _again(place: Path, name: str) -> None:
    """Use results whose sidecar was changed and sealed: as finished ones, as maps, as what lies in the way."""
    sealed_file(place / name)
    changed = (place / name).read_bytes()
    refused = []
    for words in (
        ("pointcloud", str(place / "a.png"), "--depth", str(place / OUT / "a.npy"), "--out", str(place / "clouds")),
        (
            "pointcloud",
            str(place / "a.png"),
            "--depth",
            str(place / OUT / "a.depth.png"),
            "--out",
            str(place / "clouds"),
        ),
    ):
        try:
            command(*words, "--overwrite")
        except CcdError as error:
            refused.append(error)
    try:
        _predict(place)
        (place / name).write_bytes(changed)
        _predict(place, "--overwrite")
    except CcdError as error:
        refused.append(error)
    for path in place.rglob("*"):
        if path.is_file() and path.relative_to(place).as_posix() not in ("a.png", "net.safetensors", name):
            path.unlink()
    if len(refused) == 3:
        raise refused[0]


def _weights(place: Path, name: str) -> None:
    """Load a student whose tensors or header changed, with the checksum that fits them."""
    from ccd_cli.models.checkpoint import load_model
    from ccd_cli.models.seal import _digest, _place

    data = bytearray((place / name).read_bytes())
    header = bytes(data[8 : 8 + int.from_bytes(data[:8], "little")])
    at = 8 + _place(header)
    if at + 64 <= len(data):
        data[at : at + 64] = _digest(place / name, at).encode()
        (place / name).write_bytes(bytes(data))
    load_model(place / name, None)


def _headers(whole: bytes) -> dict[str, bytes]:
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    header["__metadata__"]["ccd_arch"] = json.loads(header["__metadata__"]["ccd_arch"])
    return {"header.json": json.dumps(header).encode(), "tensors.bin": whole[8 + size :]}


def _header(place: Path, name: str) -> None:
    """Load a student with another architecture, kind, shape or type in its header, sealed; then ask what it is."""
    from ccd_cli.teachers.load import check_runnable, resolve_model

    try:
        header = json.loads((place / name).read_bytes())
        notes = header["__metadata__"]
        notes["ccd_arch"] = json.dumps(notes["ccd_arch"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise CcdError("no header to seal") from error
    text = json.dumps(header, separators=(",", ":")).encode("utf-8", "replace")
    (place / "net.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + (place / "tensors.bin").read_bytes()
    )
    check_runnable(resolve_model(str(place / "net.safetensors"))).kind  # noqa: B018 - reads the file's header
    _weights(place, "net.safetensors")
