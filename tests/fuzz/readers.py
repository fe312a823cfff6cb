"""Every reader with valid files to start from."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import write_json
from tests.fuzz.campaign import Reader

SHA = "0" * 64


def all_readers(folder: Path) -> list[Reader]:
    """Return the readers; their seed files are made in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        *_recipe_readers(),
        *_teacher_readers(folder),
        *_map_readers(folder),
        *_photo_readers(),
        *_suite_readers(),
        *_label_readers(folder),
        *_run_readers(folder),
        *_archive_readers(),
        *_command_readers(folder),
    ]


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, sort_keys=False).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


DISTILL = {
    "name": "tiny",
    "seed": 3,
    "images": {
        "paths": ["photos"],
        "scenes": {"count": 10, "height": 64, "width": 64, "family": "room"},
        "max_skipped": 0.1,
    },
    "student": {"arch": "timm", "encoder": "test_vit", "features": 16, "init": "scratch"},
    "teachers": [
        {"model": "a.safetensors", "weight": 0.7, "noise": {"outliers": 0.1}},
        {"model": "b.pth", "fit_to": None},
    ],
    "crops": {"size": 64, "min_side": 70, "patches": 2, "patch_min": 0.5},
    "loss": {"shared": {"levels": [1, 2, 4], "normalization": "hybrid"}, "gradient": {"weight": 2.0}},
    "optim": {"steps": 12, "batch": 2, "lr": 1e-3, "ema": 0.9},
    "eval": {"every": 5, "scenes": 2},
}
LABEL = {
    "task": "label",
    "name": "tiny",
    "images": "photos",
    "teachers": [{"model": "a.safetensors", "batch": 4}, "b.pth"],
    "crops": {"size": 64, "patches": 2},
    "drop": {"worst": 0.1},
    "shard": 2,
}


def _recipe_readers() -> list[Reader]:
    from ccd_cli.config.load import find_recipe, load_any_recipe, load_label_recipe, load_recipe, to_yaml

    def overrides(_: Path, word: str) -> None:
        to_yaml(load_recipe("quickstart", [word]))

    settings = (
        "optim.steps=5",
        "teachers.0.weight=0.5",
        "images=photos",
        "images.paths.0=b",
        "teachers=[a, {model: b}]",
        "loss.shared.levels=[1, 2]",
        "student={arch: timm, encoder: x}",
        "eval.scenes=3",
    )
    return [
        Reader(
            "recipes",
            lambda folder, name: to_yaml(load_any_recipe(str(folder / name))),
            {"a.yaml": _yaml(DISTILL), "b.yaml": _yaml(LABEL), "c.yaml": find_recipe("indoor").read_bytes()},
            {"a.yaml": "yaml", "b.yaml": "yaml", "c.yaml": "yaml"},
            weight=4,
        ),
        Reader(
            "label recipes",
            lambda folder, name: to_yaml(load_label_recipe(str(folder / name))),
            {"b.yaml": _yaml(LABEL)},
            {"b.yaml": "yaml"},
            weight=2,
        ),
        Reader("--set", overrides, words=settings, weight=4),
    ]


def _weights(folder: Path) -> dict[str, bytes]:
    """A tiny network as safetensors and as a state dict."""
    from ccd_cli.models.arch import timm_arch
    from ccd_cli.models.checkpoint import save_model
    from ccd_cli.models.depth_net import DepthNet

    torch.manual_seed(0)
    arch = timm_arch("test_vit", features=8, kind="disparity")
    network = DepthNet(arch)
    save_model(folder / "net.safetensors", network, arch, {"kind": "disparity", "license": "MIT"})
    torch.save({"state_dict": network.state_dict()}, folder / "net.pth")
    evil = b"\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch PWNED\x85R."
    plain = pickle.dumps({"a": [1, 2]}, protocol=2)
    return {p.name: p.read_bytes() for p in folder.glob("net.*")} | {"evil.pt": evil, "plain.bin": plain}


def _teacher_readers(folder: Path) -> list[Reader]:
    from ccd_cli.benchmarks.suites import open_suite
    from ccd_cli.config.load import find_recipe
    from ccd_cli.models.arch import get_arch
    from ccd_cli.models.checkpoint import load_model, read_state
    from ccd_cli.models.files import read_metadata
    from ccd_cli.teachers.adapters.diffusion_parts import read_index
    from ccd_cli.teachers.adapters.hf_folder import read_config
    from ccd_cli.teachers.custom import custom_problems
    from ccd_cli.teachers.download.choose import recipe_names
    from ccd_cli.teachers.download.lock import differences, entries
    from ccd_cli.teachers.listing import commercial_words, full, rows
    from ccd_cli.teachers.load import check_runnable, resolve_model
    from ccd_cli.teachers.registry import card

    def cards(_: Path, name: str) -> None:
        found, words = rows(), commercial_words()
        assert {row["name"] for row in found} == set(words) >= {"depth-anything-v2-small", "good"} - {Path(name).stem}
        custom_problems()
        resolve_model("builtin:tiny")
        if "mine" in words:
            full(card("mine"))
            resolve_model("mine")

    def lock(_: Path, __: str) -> None:
        for name, entry in entries().items():
            differences(name, entry)
        rows()

    def weights(place: Path, name: str) -> None:
        read_metadata(place / name)
        read_state(place / name)
        load_model(place / name, None)

    def names(_: Path, word: str) -> None:
        problems = []
        for find in (_resolve, card, find_recipe, get_arch, recipe_names, lambda w: open_suite(w, Path("data"))):
            try:
                find(word)
            except Exception as error:
                problems.append(error)
        raise next((p for p in problems if type(p).__module__ != "ccd_cli.core.errors"), problems[0])

    def _resolve(word: str) -> None:
        check_runnable(resolve_model(word)).kind  # noqa: B018 - reads the file's header

    mine = b"name: mine\narch: depth-anything-v2-small\nfile: w.safetensors\nlicense: MIT\nresolution: 518\nnote: x\nkind: depth\n"
    good = mine.replace(b"mine", b"good")
    locked = {
        "version": 1,
        "teachers": {
            "depth-anything-v2-small": {
                "repo": "a/b",
                "revision": "0" * 40,
                "license": "Apache-2.0",
                "commercial": True,
                "date": "2026-01-01T00:00:00+00:00",
                "files": {"depth_anything_v2_vits.pth": {"sha256": SHA, "size": 12, "digest": SHA}},
                "also": {},
            }
        },
    }
    config = {
        "model_type": "depth_anything",
        "backbone_config": {"model_type": "dinov2"},
        "depth_estimation_type": "relative",
    }
    index = {
        "_class_name": "MarigoldDepthPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scale_invariant": True,
    }
    seeds = _weights(folder)
    return [
        Reader(
            "cards",
            cards,
            {"cards/mine.yaml": mine, "cards/good.yaml": good, "cards/w.safetensors": seeds["net.safetensors"]},
            {"cards/mine.yaml": "yaml"},
            weight=3,
        ),
        Reader(
            "lock.json",
            lock,
            {
                "teachers/lock.json": _json(locked),
                "teachers/depth-anything-v2-small/depth_anything_v2_vits.pth": b"x" * 12,
            },
            {"teachers/lock.json": "json"},
            weight=3,
        ),
        Reader("weights", weights, seeds, dict.fromkeys(seeds, "bytes"), weight=4),
        Reader(
            "model folders",
            lambda place, name: (
                read_config(place) if name == "config.json" else read_index(place, ("MarigoldDepthPipeline",))
            ),
            {
                "config.json": _json(config),
                "preprocessor_config.json": b"{}",
                "model.safetensors": b"x",
                "model_index.json": _json(index),
            },
            {"config.json": "json", "model_index.json": "json"},
            weight=2,
        ),
        Reader(
            "names",
            names,
            words=(
                "depth-anything-v2-small",
                "builtin:tiny",
                "indoor",
                "zero-shot",
                "runs/a",
                "net.pth",
                "~/x",
                "moge-2-large",
            ),
            weight=3,
        ),
    ]


def _values() -> np.ndarray:
    return np.linspace(1, 5, 24 * 32, dtype=np.float32).reshape(24, 32)


def _saved(save: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def _exr(folder: Path) -> bytes:
    try:
        import OpenEXR
    except ImportError:
        return b""
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"Z": _values()}) as file:
        file.write(str(folder / "a.exr"))
    return (folder / "a.exr").read_bytes()


def _map_readers(folder: Path) -> list[Reader]:
    from ccd_cli.benchmarks.custom_files import read_values
    from ccd_cli.benchmarks.prediction_files import read_prediction
    from ccd_cli.media.map_read import Meaning, read_map, read_reference
    from ccd_cli.media.outputs import is_result, read_sidecar

    values = _values()
    side = {
        "fingerprint": "x",
        "files": {"npy": "a.npy", "png16": "p.png"},
        "kind": "disparity",
        "scale": 0.001,
        "offset": 0.5,
        "intrinsics": [30.0, 30.0, 16.0, 12.0],
        "width": 32,
        "height": 24,
    }
    codes = Image.fromarray((values * 1000).astype(np.uint16))
    pfm = b"Pf\n32 24\n-1.0\n" + values[::-1].astype("<f4").tobytes()
    files = {
        "a.npy": _saved(lambda b: np.save(b, values)),
        "n.npz": _saved(lambda b: np.savez(b, depth=values, valid=values > 2, intrinsics=np.array([30.0, 30, 16, 12]))),
        "p.png": _saved(lambda b: codes.save(b, "PNG")),
        "t.tiff": _saved(lambda b: Image.fromarray(values).save(b, "TIFF")),
        "f.pfm": pfm,
    }
    if exr := _exr(folder):
        files["e.exr"] = exr
    sidecars = {f"{Path(name).stem}.json": _json(side) for name in files}

    def maps(place: Path, name: str) -> None:
        problems: list[Exception] = []
        for read in (
            lambda path: read_map(path, Meaning("depth")),
            lambda path: read_map(path, Meaning("depth", 1000.0)),
            lambda path: read_reference(path, 1000.0),
            read_values,
            read_prediction,
        ):
            try:
                read(place / name)
            except Exception as error:
                problems.append(error)
        for problem in problems:
            if type(problem).__module__ != "ccd_cli.core.errors":
                raise problem
        if len(problems) == 5:
            raise problems[0]

    def sidecar(place: Path, name: str) -> None:
        stem = Path(name).stem
        read_sidecar(place / stem)
        is_result(place / f"{stem}.depth.png")
        for suffix in (".png", ".npy"):
            if (place / f"{stem}{suffix}").exists():
                read_map(place / f"{stem}{suffix}")

    chosen = {name: sidecars[name] for name in ("a.json", "p.json")}
    return [
        Reader("maps", maps, files, dict.fromkeys(files, "bytes"), weight=8),
        Reader("sidecars", sidecar, {**files, **chosen}, dict.fromkeys(chosen, "json"), weight=3),
    ]


def _photo_readers() -> list[Reader]:
    from ccd_cli.benchmarks.decode import decode_npy, decode_rgb
    from ccd_cli.media.exif import read_focal_35mm
    from ccd_cli.media.find import find_media, list_photos
    from ccd_cli.media.photos import check_header, read_photo

    rgb = Image.fromarray((np.random.default_rng(0).uniform(0, 255, (40, 50, 3))).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0xA405] = 26
    files = {f"a.{kind}": _saved(lambda b, kind=kind: rgb.save(b, kind)) for kind in ("png", "webp", "bmp", "tiff")}
    files["a.jpg"] = _saved(lambda b: rgb.save(b, "JPEG", exif=exif))
    files["g.png"] = _saved(lambda b: Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)).save(b, "PNG"))

    def photo(place: Path, name: str) -> None:
        problems: list[Exception] = []
        for read in (read_photo, check_header, read_focal_35mm, lambda path: decode_rgb(path.read_bytes(), path.name)):
            try:
                read(place / name)
            except Exception as error:
                problems.append(error)
        for problem in problems:
            if type(problem).__module__ != "ccd_cli.core.errors":
                raise problem
        if problems:
            raise problems[0]

    def lists(place: Path, name: str) -> None:
        find_media([str(place / name)], [], place / "out")
        list_photos([str(place / name)])

    def words(place: Path, word: str) -> None:
        found, bad = find_media([word, "-"], [word, f"~{word}"], place / "out")
        assert found or bad or not word.strip() or word.startswith("#")
        list_photos([word])

    listing = b"# photos\na.png\n./a.jpg\n~/x.png\n~nosuchuser/x.png\nsub/b.webp\n\n"
    npy = _saved(lambda b: np.save(b, _values()))
    return [
        Reader("photos", photo, files, dict.fromkeys(files, "bytes"), weight=6),
        Reader("list files", lists, {"list.txt": listing, "a.png": files["a.png"]}, {"list.txt": "text"}, weight=2),
        Reader(
            "input words",
            words,
            words=("a.png", "pics/*.jpg", "~/pics", "~nosuchuser/a.png", "list.txt", "-"),
            weight=2,
        ),
        Reader(
            "npy members",
            lambda place, name: decode_npy((place / name).read_bytes(), name),
            {"a.npy": npy},
            {"a.npy": "text"},
            weight=2,
        ),
    ]


def _suite_readers() -> list[Reader]:
    from ccd_cli.benchmarks.check import check_suite
    from ccd_cli.benchmarks.poses import read_poses
    from ccd_cli.benchmarks.suites import open_pairs, open_suite

    rgb = _saved(lambda b: Image.new("RGB", (32, 24), (90, 20, 60)).save(b, "PNG"))
    codes = _saved(lambda b: Image.fromarray((_values() * 1000).astype(np.uint16)).save(b, "PNG"))
    pose = "\n".join(" ".join(f"{v:g}" for v in row) for row in np.eye(4)).encode()
    pairs = {
        "name": "mine",
        "image": "rgb/*.png",
        "depth": "depth/*.png",
        "pair": "match",
        "divisor": 1000,
        "intrinsics": [30, 30, 16, 12],
        "crop": {"rows": [1, 20], "columns": [2, 30]},
        "unknown": [65535],
        "cap": 80.0,
    }
    clip = {
        "name": "clip",
        "clip": True,
        "image": "rgb/*.png",
        "depth": "depth/*.png",
        "divisor": 1000,
        "poses": "poses/*.txt",
        "intrinsics": [30, 30, 16, 12],
    }
    points = {"rgb/0.png": [{"point1": [1, 2], "point2": [20, 30], "closer_point": "point1"}]}
    files = {
        "a.yaml": _yaml(pairs),
        "b.yaml": _yaml({"sets": [pairs, clip]}),
        **{f"rgb/{i}.png": rgb for i in range(2)},
        **{f"depth/{i}.png": codes for i in range(2)},
        **{f"poses/{i}.txt": pose for i in range(2)},
        "DA-2K/annotations.json": _json(points),
        "DA-2K/rgb/0.png": rgb,
    }

    def suite(place: Path, name: str) -> None:
        open_suite(str(place / name), place)
        check_suite(str(place / name), place, read=True)
        if name == "a.yaml":
            open_pairs(place / name)

    def da2k(place: Path, _: str) -> None:
        for benchmark in open_suite("da-2k", place)[0]:
            for index in range(len(benchmark)):
                benchmark.read(index)

    return [
        Reader("suites", suite, files, {"a.yaml": "yaml", "b.yaml": "yaml"}, weight=4),
        Reader(
            "suite files",
            lambda place, _: suite(place, "b.yaml"),
            files,
            {"depth/0.png": "bytes", "rgb/1.png": "bytes"},
        ),
        Reader(
            "poses",
            lambda place, name: read_poses([place / name], 1),
            {"p.txt": pose, "line.txt": pose.replace(b"\n", b" ")},
            {"p.txt": "text", "line.txt": "text"},
            weight=2,
        ),
        Reader("DA-2K", da2k, files, {"DA-2K/annotations.json": "json"}, weight=2),
    ]


def _label_readers(folder: Path) -> list[Reader]:
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
        "recipe.yaml": _yaml(recipe.model_dump(mode="json")),
        "label.json": _json({"photos": SHA, "device": "cpu", "precision": ["fp32"], "ccd": "1", "teachers": {"0": {}}}),
        "quality.jsonl": b'{"key": "000000000", "photo": "a.png", "dropped": "", "disagreement": 0.5}\n' * 2,
    }
    fact = {"valid": 1.0, "saturated": 0.0, "flat": False, "scale": 0.1, "offset": 0.0}
    seen = {"position": 0, "path": "a.png", "sha256": SHA, "bytes": 1, "height": 20, "width": 30, "boxes": [[0, 0, 10]]}
    facts = {"kind": "depth", "teacher": {"teacher": "a"}, "seen": [seen], "bad": [], "crops": [[fact]]}
    write_tar(folder / "part.tar", [("facts.json", _json(facts)), ("000000000.t0.c0.png", b"x")])

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


def _run_readers(folder: Path) -> list[Reader]:
    from ccd_cli.config.distill import DistillRecipe
    from ccd_cli.distill import checkpoint
    from ccd_cli.distill.results import finished_result
    from ccd_cli.distill.run_folder import RunFolder
    from ccd_cli.evaluate.store import ScoreBook
    from ccd_cli.inspection import training_run

    recipe = DistillRecipe.model_validate(DISTILL).model_dump(mode="json")
    line = {"step": 1, "loss": 0.5, "drift": 0.1, "lr": 1e-3, "teacher": "a", "images_per_second": 3.0}
    write_json(
        folder / "scores.json",
        {"best": {"step": 5, "abs_rel": 0.1, "images": 3}, "history": [], "comparison": [{"model": "a"}]},
    )
    torch.save({"format": checkpoint.FORMAT, "step": 3, "x": torch.zeros(3)}, folder / "last.pt")
    files = {
        "recipe.yaml": _yaml(recipe),
        "metrics.jsonl": b"".join(json.dumps({**line, "step": i}).encode() + b"\n" for i in range(1, 4)),
        "eval.json": (folder / "scores.json").read_bytes(),
        "README.md": b"# card\n",
        "model_card.md": b"# card\n",
        "skipped.jsonl": b'{"photo": "a", "reason": "b"}\n',
        "checkpoints/last.pt": (folder / "last.pt").read_bytes(),
    }
    score = {
        "index": 0,
        "image": "a.png",
        "mark": "m",
        "pixels": 9,
        "alignment": "lsq",
        "scores": {"abs_rel": 0.1, "rmse": None},
    }
    store = b"".join(json.dumps({**score, "index": i, "mark": f"m{i}"}).encode() + b"\n" for i in range(3))

    def run_folder(place: Path, _: str) -> None:
        run = RunFolder(place)
        training_run.statistics(run)
        finished_result(run)
        checkpoint.read(run.state)
        checkpoint.check_same_recipe(run, recipe)

    def scores(place: Path, name: str) -> None:
        book = ScoreBook(place / name, ["m0", "m1", "m2"], False)
        book.of([0, 1, 2])

    styles = {
        "recipe.yaml": "yaml",
        "metrics.jsonl": "text",
        "eval.json": "json",
        "skipped.jsonl": "text",
        "checkpoints/last.pt": "bytes",
    }
    return [
        Reader("run folders", run_folder, files, styles, weight=5),
        Reader("eval store", scores, {"scores.jsonl": store}, {"scores.jsonl": "text"}, weight=3),
    ]


def _archive_readers() -> list[Reader]:
    from ccd_cli.benchmarks.members import TarMembers
    from ccd_cli.prepare.archives import copy_item, list_items, open_items

    def tar(packed: str) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=f"w:{packed}") as archive:
            for name in ("a/b.txt", "a/c.txt"):
                head = tarfile.TarInfo(name)
                head.size = 700
                archive.addfile(head, io.BytesIO(b"x" * 700))
            link = tarfile.TarInfo("a/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        return buffer.getvalue()

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", b"x" * 700)
        archive.writestr("a/d.csv", b"y" * 70)

    def unpack(place: Path, name: str) -> None:
        items = {item.name: item for item in list_items(place / name, [])}
        for number, (key, file) in enumerate(open_items(place / name, items.keys())):
            if items[key].size < 10**7:
                copy_item(file, items[key].size, place / "out" / str(number), key)

    def members(place: Path, name: str) -> None:
        found = TarMembers(place / name)
        for member in list(found.names())[:5]:
            found.read(member)

    packed = {"a.zip": buffer.getvalue(), "b.tar": tar(""), "c.tar.gz": gzip.compress(tar(""))}
    return [
        Reader("archives", unpack, packed, dict.fromkeys(packed, "bytes"), weight=5),
        Reader("tar members", members, {"b.tar": packed["b.tar"]}, {"b.tar": "bytes"}, weight=2),
    ]


def _command_readers(folder: Path) -> list[Reader]:
    from click.testing import CliRunner

    from ccd_cli.cli.main import cli

    files: dict[str, bytes] = {}
    for reader in (*_recipe_readers(), *_suite_readers(), *_label_readers(folder / "again"), *_run_readers(folder)):
        files |= {f"{reader.name.replace(' ', '-')}/{name}": data for name, data in reader.files.items()}
    table = {
        "recipes/a.yaml": ("recipes", "check"),
        "recipes/b.yaml": ("label", "--dry-run"),
        "recipes/c.yaml": ("recipes", "check"),
        "suites/a.yaml": ("data", "check"),
        "label-index/index.json": ("inspect",),
        "label-index/quality.jsonl": ("inspect",),
        "run-folders/recipe.yaml": ("inspect",),
        "run-folders/metrics.jsonl": ("inspect",),
        "run-folders/eval.json": ("inspect",),
    }
    styles = {name: "yaml" if name.endswith("yaml") else "text" for name in table}

    def command(place: Path, name: str) -> None:
        words = list(table[name])
        target = place / name
        words += [str(target.parent) if words == ["inspect"] else str(target)]
        _invoked(CliRunner().invoke(cli, [*words, *(["--out", str(place / "out")] if words[0] == "inspect" else [])]))

    def typed(_: Path, word: str) -> None:
        for words in (
            ["recipes", "check", word],
            ["teachers", "info", word],
            ["predict", word],
            [word],
            ["data", "check", word],
        ):
            _invoked(CliRunner().invoke(cli, words))

    return [
        Reader("commands on files", command, files, styles, weight=3),
        Reader(
            "commands on words",
            typed,
            words=("indoor", "builtin:tiny", "nope.jpg", "depth-anything-v2-small"),
            weight=1,
        ),
    ]


def _invoked(result: Any) -> None:
    """Raise what came out of a command that is no exit of its own."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2), result.exit_code
    if result.exit_code:
        raise CcdError(result.output[-200:])
