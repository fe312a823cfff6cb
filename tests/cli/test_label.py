"""`ccd label` from outside: what is in the shards, kinds, rules, recipes, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ccd_cli.config.find import shipped
from ccd_cli.config.load import load_label_recipe
from ccd_cli.data.crops import crop_image
from ccd_cli.data.source import Source
from ccd_cli.label import parts
from ccd_cli.label.plan import Plan, Unreadable
from ccd_cli.labels.format import decode_image
from ccd_cli.labels.shards import ShardReader
from ccd_cli.teachers.load import load_teacher, resolve_model
from ccd_cli.teachers.registry import CARDS
from tests.tiny_labels import content, label, recipe_values


@pytest.fixture
def values(photos, make_teacher):
    return recipe_values(photos, make_teacher)


def test_end_to_end_and_readable_with_tarfile_pillow_and_json_alone(ccd_here, write_recipe, values, tmp_path, photos):
    done = label(ccd_here, write_recipe(values))
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    folder = tmp_path / "labels/tiny"
    assert (result["samples"], result["shards"], result["skipped"], result["dropped"]) == (8, 4, 0, 0)
    kept = {
        "index.json",
        "label.json",
        "quality.jsonl",
        "recipe.yaml",
        ".lock",
        *(f"shard-00000{i}.tar" for i in range(4)),
    }
    assert {p.name for p in folder.iterdir()} == kept
    index = json.loads((folder / "index.json").read_text())
    assert result["bytes"] == sum(shard["bytes"] for shard in index["shards"])
    seen = set()
    teachers = [load_teacher(t["model"], resolution=t.get("resolution")) for t in values["teachers"]]
    for shard in index["shards"]:
        with tarfile.open(folder / shard["file"]) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        for name in [n for n in files if n.endswith(".json")]:
            facts = json.loads(files[name])
            original = Path(facts["photo"]["path"])
            seen.add(original.name)
            assert files[facts["photo"]["file"]] == original.read_bytes()
            picture = np.asarray(Image.open(io.BytesIO(files[facts["photo"]["file"]])).convert("RGB"))
            assert len(facts["labels"]) == 2
            for labels, teacher in zip(facts["labels"], teachers, strict=True):
                assert (labels["kind"], labels["license"]) == ("disparity", "MIT")
                assert labels["checkpoint_sha256"] == teacher.checkpoint_sha256
                assert len(labels["crops"]) == 3
                for crop in labels["crops"]:
                    top, left, side = crop["box"]
                    assert picture[top : top + side, left : left + side].shape == (side, side, 3)
                    codes = np.asarray(Image.open(io.BytesIO(files[crop["file"]]))).astype(np.float64)
                    assert codes.shape == (64, 64)
                    assert codes.min() == 1
                    assert codes.max() == 65535
    assert seen == {p.name for p in photos.iterdir()}
    lines = [json.loads(line) for line in (folder / "quality.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    assert all(line["disagreement"] > 0 and len(line["teachers"]) == 2 for line in lines)


def test_labels_are_the_teachers_own_values_of_the_crops(ccd_here, write_recipe, values, tmp_path):
    assert label(ccd_here, write_recipe(values)).exit_code == 0
    from ccd_cli.data.crops import Region, crop_image
    from ccd_cli.media.photos import read_photo

    teachers = [load_teacher(t["model"], resolution=t.get("resolution")) for t in values["teachers"]]
    for sample in ShardReader(tmp_path / "labels/tiny").epoch():
        pixels = read_photo(Path(sample.facts.photo.path))
        assert np.array_equal(sample.photo(), pixels)
        for t, teacher in enumerate(teachers):
            boxes = [Region(*crop.box) for crop in sample.facts.labels[t].crops]
            views = torch.from_numpy(np.stack([crop_image(pixels, box, 64) for box in boxes])).permute(0, 3, 1, 2) / 255
            for c, want in enumerate(teacher.predict(views).numpy()):
                got, valid = sample.label(t, c)
                step = sample.facts.labels[t].crops[c].scale
                assert valid.all()
                assert np.abs(got - want).max() <= step / 2 + 2e-5 * np.abs(want).max()


def test_made_twice_it_is_the_same_and_a_lost_shard_comes_back(ccd_here, write_recipe, values, tmp_path):
    path = write_recipe(values)
    assert label(ccd_here, path).exit_code == 0
    first = content(tmp_path / "labels/tiny")
    assert label(ccd_here, path, "--out", "again", "--set", "images.workers=3").exit_code == 0
    assert content(tmp_path / "again") == first
    done = label(ccd_here, path)
    assert done.exit_code == 0
    assert "nothing to do" in done.stderr
    (tmp_path / "again/shard-000002.tar").unlink()
    assert label(ccd_here, path, "--out", "again").exit_code == 0
    assert content(tmp_path / "again") == first


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 4
    path.write_bytes({"cut": data[: len(data) // 2], "emptied": b"", "zeroed": bytes(len(data))}.get(how, bytes(data)))


@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "zeroed"])
def test_damaged_shards_are_made_again(ccd_here, write_recipe, values, tmp_path, how):
    path, folder = write_recipe(values), tmp_path / "labels/tiny"
    assert label(ccd_here, path).exit_code == 0
    first = content(folder)
    damage(folder / "shard-000001.tar", how)
    done = label(ccd_here, path)
    assert done.exit_code == 0, done.stderr
    assert "nothing to do" not in done.stderr and "shard-000001.tar is damaged: it is made again" in done.stderr
    assert content(folder) == first
    assert not (folder / "parts").exists()


def test_large_folders_are_hashed_when_asked(ccd_here, write_recipe, values, tmp_path, monkeypatch):
    monkeypatch.setattr("ccd_cli.labels.shards.QUICK_BYTES", 0)
    monkeypatch.setattr("ccd_cli.label.folder.QUICK_BYTES", 0)
    path, folder = write_recipe(values), tmp_path / "labels/tiny"
    assert label(ccd_here, path).exit_code == 0
    first = content(folder)
    damage(folder / "shard-000001.tar", "flipped")
    assert "nothing to do" in label(ccd_here, path).stderr, "4 GB and more: the size alone"
    done = label(ccd_here, path, "--verify")
    assert done.exit_code == 0 and "is damaged" in done.stderr
    assert content(folder) == first


@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "zeroed"])
@pytest.mark.parametrize("name", ["index.json", "quality.jsonl"])
def test_other_damage_is_an_error_and_never_other_labels(ccd_here, write_recipe, values, tmp_path, how, name):
    path, folder = write_recipe(values), tmp_path / "labels/tiny"
    assert label(ccd_here, path).exit_code == 0
    first = content(folder)
    damage(folder / name, how)
    done = label(ccd_here, path)
    assert done.exit_code == 1 and name in done.stderr and "--overwrite" in done.stderr, done.stderr
    assert {n: d for n, d in content(folder).items() if n != name} == {n: d for n, d in first.items() if n != name}


def test_labels_of_the_format_before_are_named_and_not_gone_on_with(
    ccd_here, write_recipe, values, tmp_path, make_teacher
):
    values["teachers"] = [{"model": str(make_teacher("far", 5, kind="metric"))}]
    path, folder = write_recipe(values), tmp_path / "labels/tiny"
    assert label(ccd_here, path).exit_code == 0
    index = json.loads((folder / "index.json").read_text())
    old = {
        **{k: v for k, v in index.items() if k not in ("images", "checksum", "quality_sha256")},
        "format": "ccd-labels/1",
    }
    (folder / "index.json").write_text(json.dumps(old))
    state = json.loads((folder / "label.json").read_text())
    del state["format"]
    (folder / "label.json").write_text(json.dumps(state))
    done = label(ccd_here, path)
    assert done.exit_code == 0 and "ccd-labels/1, which stores depth linearly" in done.stderr
    (folder / "shard-000001.tar").unlink()
    done = label(ccd_here, path)
    assert done.exit_code == 2
    assert "was begun in the format ccd-labels/1; this ccd writes ccd-labels/2" in done.stderr
    assert (folder / "index.json").exists()


def test_pixels_and_hash_are_of_the_same_bytes(photos, tmp_path, monkeypatch):
    """A file that is replaced while it is read: the first version's bytes count, or none."""
    photo, reads = tmp_path / "a.png", []
    other = next(path for path in photos.iterdir() if path.name != "1.png")
    shutil.copy(photos / "1.png", photo)
    real = Path.read_bytes

    def read_bytes(self):
        data = real(self)
        if self == photo:
            reads.append(data)
            shutil.copy(other, photo)
        return data

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    plan = Plan(load_label_recipe("label/quickstart", ["crops.size=64", "crops.min_side=64"]), Source([photo]))
    result = plan.read(0)
    assert not isinstance(result, Unreadable), result
    facts, crops = result
    assert len(reads) == 1 and facts.sha256 == hashlib.sha256(reads[0]).hexdigest()
    pixels = decode_image(reads[0], "x")
    assert (facts.height, facts.width) == pixels.shape[:2]
    assert np.array_equal(crops, np.stack([crop_image(pixels, box, 64) for box in facts.boxes]))


def test_a_shard_of_labels_is_not_held_in_memory(ccd_here, write_recipe, values, tmp_path, monkeypatch):
    """The PNGs of a part go to disk as they are made: at most as many wait as images are in work."""
    alive, most = [0], [0]

    class Tracked(bytes):
        def __new__(cls, data):
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            return super().__new__(cls, data)

        def __del__(self):
            alive[0] -= 1

    real = parts.encode_label
    monkeypatch.setattr(parts, "encode_label", lambda *args: (Tracked((made := real(*args))[0]), *made[1:]))
    path = write_recipe({**values, "epochs": 12, "shard": 96, "teachers": values["teachers"][:1]})
    assert label(ccd_here, path, "--set", "images.workers=1").exit_code == 0
    assert 0 < most[0] <= 3 * 8, "96 images of three crops in a shard"


def test_kinds_are_kept_and_compared(ccd_here, write_recipe, values, tmp_path, make_teacher):
    models = {
        kind: str(make_teacher(f"k-{kind}", i, kind=kind)) for i, kind in enumerate(("affine-depth", "metric"), 5)
    }
    values["teachers"] = [{"model": model, "batch": 5} for model in models.values()]
    assert label(ccd_here, write_recipe(values)).exit_code == 0
    reader = ShardReader(tmp_path / "labels/tiny", verify=True)
    assert [teacher["kind"] for teacher in reader.index.teachers] == list(models)
    for sample in reader.epoch():
        affine, metric = sample.facts.labels
        assert (affine.direction, affine.unit) == ("larger = farther", "relative, unknown scale and shift")
        assert (metric.direction, metric.unit) == ("larger = farther", "meter")
        assert (affine.encoding, metric.encoding) == ("linear", "inverse")
        for crop in metric.crops:
            assert crop.scale > 0 and crop.offset + 2 * crop.scale > 0, "1 / depth is positive from code 2 on"
        for t in range(2):
            values_, valid = sample.label(t, 0)
            assert valid.mean() == pytest.approx(sample.facts.labels[t].crops[0].valid, abs=1e-5)
            if t == 1:
                assert (values_[valid] > 0).all()
    alone = {**values, "teachers": [values["teachers"][0]], "name": "alone"}
    assert label(ccd_here, write_recipe(alone, "alone.yaml")).exit_code == 0
    assert all(facts.quality.disagreement is None for facts, _ in ShardReader(tmp_path / "labels/alone").sidecars())


def test_the_worst_photos_are_dropped(ccd_here, write_recipe, values, tmp_path):
    path = write_recipe({**values, "photos": "path"})
    done = label(ccd_here, path, "--set", "drop.worst=0.25")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["dropped"] == 2
    folder = tmp_path / "labels/tiny"
    lines = [json.loads(line) for line in (folder / "quality.jsonl").read_text().splitlines()]
    apart = sorted(line["disagreement"] for line in lines)
    gone = {line["key"] for line in lines if line["dropped"]}
    assert {line["disagreement"] for line in lines if line["key"] in gone} == set(apart[-2:])
    samples = list(ShardReader(folder, verify=True).epoch())
    assert {s.key for s in samples} == {line["key"] for line in lines} - gone
    for sample in samples:
        assert sample.facts.photo.file is None
        assert sample.photo().shape == (sample.facts.photo.height, sample.facts.photo.width, 3)
    middle = (apart[3] + apart[4]) / 2
    done = label(ccd_here, path, "--out", "most", "--set", f"drop.disagreement={middle}")
    assert json.loads(done.stdout)["samples"] == 4
    done = label(ccd_here, path, "--out", "all", "--set", "drop.disagreement=1e-6")
    assert json.loads(done.stdout)["samples"] == 0
    assert ccd_here("inspect", "all").exit_code == 1


def test_a_full_disk_is_seen_before_any_work(ccd_here, write_recipe, values, tmp_path):
    size = {"size": 2048, "min_side": 70, "patches": 64}
    done = label(ccd_here, write_recipe({**values, "crops": size, "epochs": 1000, "photos": "path"}))
    assert done.exit_code == 1
    assert "MB are free" in done.stderr
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["images.scenes.count=3"], "images.scenes"),
        (["crops.region=own"], "crops.region"),
        (["teachers=ground-truth"], "needs `images.pairs`"),
        (["teachers=[a, a]"], "listed twice"),
        (["teachers=a", "drop.worst=0.1"], "needs two teachers"),
        (["crops.patch_min=0.9", "crops.patch_max=0.5"], "crops.patch_min"),
        (["teachers.0.bach=3"], "did you mean 'batch'"),
        (["student=x"], "unknown key"),
        (["task=distill"], "ccd distill RECIPE"),
    ],
)
def test_contradictions_and_typing_errors(ccd_here, write_recipe, values, changes, words):
    done = label(ccd_here, write_recipe(values), *(part for change in changes for part in ("--set", change)))
    assert done.exit_code == 2
    assert words in done.stderr


def test_recipes_of_the_other_task_and_engines_are_refused(ccd_here, write_recipe, values):
    path = write_recipe(values)
    done = ccd_here("distill", path)
    assert done.exit_code == 2
    assert "ccd label RECIPE" in done.stderr
    assert "ccd distill RECIPE" in ccd_here("label", "indoor").stderr
    assert ccd_here("label", path, "--engine", "spark").exit_code == 2


def test_dry_run_prints_every_key_and_does_nothing(ccd_here, write_recipe, values, tmp_path):
    path = write_recipe(values)
    done = ccd_here("label", path, "--dry-run", "--threads", "3", "--precision", "fp32", "--set", "shard=7")
    assert done.exit_code == 0
    (tmp_path / "again.yaml").write_text(done.stdout)
    again = load_label_recipe(str(tmp_path / "again.yaml"))
    assert (again.shard, again.threads, again.teachers[1].precision) == (7, 3, "fp32")
    assert not (tmp_path / "labels").exists()


LABELS = [recipe for recipe in shipped() if recipe.name.startswith("label/")]


@pytest.mark.parametrize("recipe", LABELS, ids=lambda r: r.name)
def test_shipped_label_recipes(recipe):
    loaded = load_label_recipe(recipe.name)
    assert recipe.about.endswith(".")
    assert recipe.launch.startswith(f"ccd label recipes/{recipe.name}.yaml")
    assert loaded.name == recipe.name.replace("/", "-")
    for teacher in loaded.teachers:
        assert teacher.model in CARDS or resolve_model(teacher.model).path.is_file()


def test_the_quick_start_of_labels_works(ccd_here, tmp_path):
    assert {recipe.name for recipe in LABELS} >= {"label/quickstart", "label/indoor"}
    done = ccd_here("label", "label/quickstart", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    done = ccd_here("inspect", "labels/label-quickstart", "--rows", "2")
    assert done.exit_code == 0, done.stderr
