"""A user's own pairs as training images: what trains, what validates, and what is refused before any time is spent."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from ccd_cli.benchmarks.own import training
from ccd_cli.benchmarks.own.training import check_apart, open_training_pairs
from ccd_cli.config.pairs import Pairs
from ccd_cli.core.errors import RecipeError, UsageProblem


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """Return a function that writes a set of `count` images in each folder, and its file; depth in millimeters is 1000 + number."""
    monkeypatch.chdir(tmp_path)

    def write(name="mine", folders=("a", "b", "c", "d"), count=5, **keys):
        rng = np.random.default_rng(len(name))
        for number in range(len(folders) * count):
            place = tmp_path / name / folders[number // count]
            place.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (24, 32, 3), np.uint8)
            Image.fromarray(pixels).save(place / f"{number:03d}.png")
            Image.fromarray(np.full((24, 32), 1000 + number, np.uint16)).save(place / f"{number:03d}.depth.png")
        rules = {"name": name, "root": name, "image": "*/???.png", "depth": "*/*.depth.png", "divisor": 1000, **keys}
        (tmp_path / f"{name}.yaml").write_text("\n".join(f"{key}: {value!r}" for key, value in rules.items()))
        return f"{name}.yaml"

    return write


def names(source):
    return [path.as_posix().rpartition("/")[0].rpartition("/")[2] + "/" + path.name for path in source.paths]


def test_an_image_and_its_truth(pairs):
    opened = open_training_pairs(
        Pairs.model_validate({"files": [pairs(intrinsics=[20.0, 21.0, 8.0, 6.0])], "validation": {"fraction": 0.0}}), 0
    )
    assert len(opened.train.paths) == 20 and not opened.validation
    rgb, truth = opened.train.read(7)
    assert rgb.shape == (24, 32, 3) and truth.metric and truth.focal == 20.0
    assert truth.depth == pytest.approx(np.full((24, 32), 1.007))


def test_whole_folders_validate(pairs):
    section = Pairs.model_validate({"files": [pairs()], "validation": {"fraction": 0.3}})
    for seed in range(6):
        opened = open_training_pairs(section, seed)
        (held,) = opened.validation
        sides = (
            {name.partition("/")[0] for name in names(opened.train)},
            {name.partition("/")[0] for name in held.names()},
        )
        assert not sides[0] & sides[1] and len(sides[1]) == 1, "5 of 20 are nearer to .3 of them than 10"
        again = open_training_pairs(section, seed)
        assert (again.train.digest, again.validation[0].names()) == (opened.train.digest, held.names())
    assert len({tuple(open_training_pairs(section, seed).validation[0].names()) for seed in range(12)}) > 2


def test_large_folders_are_held_out_only_where_no_smaller_one_is_there(pairs):
    places = [
        pairs("mine", folders=("a",), count=60),
        pairs("small", folders=("b",), count=3),
        pairs("others", count=3),
    ]
    files = {"files": places, "validation": {"fraction": 0.1}}
    section = Pairs.model_validate(files)
    for seed in range(8):
        opened = open_training_pairs(section, seed)
        assert 6 <= sum(len(one) for one in opened.validation) <= 9, "of 75"
        assert opened.doubts(section.validation) == []
    section = Pairs.model_validate(
        {"files": [places[0], pairs("big", count=40, folders=("z",))], "validation": files["validation"]}
    )
    opened = open_training_pairs(section, 0)
    (doubt,) = opened.doubts(section.validation)
    assert [len(one) for one in opened.validation] == [40] and "40 of 100 images are held out" in doubt


def test_frames_of_one_folder_stay_together_whatever_root_they_are_reached_by(pairs):
    pairs("mine", folders=("a", "b", "c"), count=4)
    rules = {"depth": "*/*.depth.png", "divisor": 1000}
    for name, root, image in (("odd", "mine", "?/??[13].png"), ("even", "mine/../mine", "?/??[02].png")):
        keys = {**rules, "name": name, "root": root, "image": image, "depth": image.replace(".png", ".depth.png")}
        Path(f"{name}.yaml").write_text("\n".join(f"{key}: {value!r}" for key, value in keys.items()))
    Path("inner.yaml").write_text(
        "name: inner\nroot: mine/a\nimage: '???.png'\ndepth: '???.depth.png'\ndivisor: 1000\n"
    )
    for files in (["odd.yaml", "even.yaml"], ["inner.yaml", "odd.yaml"]):
        section = Pairs.model_validate({"files": files, "validation": {"fraction": 0.3}})
        for seed in range(6):
            opened = open_training_pairs(section, seed)
            train = {path.resolve().parent for path in opened.train.paths}
            held = {(one.root / pair[0]).resolve().parent for one in opened.validation for pair in one.files}
            assert train and held and not train & held


def test_more_images_keep_the_order_in_which_folders_are_drawn(pairs):
    """What validated before validates still, or what validates now did before: no folder changes places with another."""
    for seed in range(6):
        section = Pairs.model_validate(
            {"files": [pairs(folders=("a", "b", "c", "d"))], "validation": {"fraction": 0.25}}
        )
        before = set(open_training_pairs(section, seed).validation[0].names())
        pairs(folders=("a", "b", "c", "d", "e"))
        after = {n for n in open_training_pairs(section, seed).validation[0].names() if not n.startswith("e/")}
        assert before <= after or after <= before
        shutil.rmtree("mine")


def test_the_split_is_the_same_wherever_the_data_lies(pairs):
    """Data is moved, and copied to the machine that trains: what validated there must not train here."""
    both = [pairs("mine"), pairs("yours", folders=("a", "b"))]
    for seed in range(8):
        section = Pairs.model_validate({"files": both, "validation": {"fraction": 0.3}})
        here = open_training_pairs(section, seed)
        moved = Path("elsewhere", str(seed))
        moved.mkdir(parents=True)
        for name in ("mine", "yours"):
            shutil.copytree(name, moved / name)
            shutil.copy(f"{name}.yaml", moved)
        section = Pairs.model_validate({"files": [str(moved / name) for name in both], "validation": {"fraction": 0.3}})
        there = open_training_pairs(section, seed)
        assert [one.names() for one in there.validation] == [one.names() for one in here.validation]
        assert names(there.train) == names(here.train) and there.train.digest == here.train.digest


@pytest.mark.parametrize("place", [0, -1, 5000], ids=["first value", "last value", "in the middle"])
def test_ground_truth_made_anew_at_the_same_size_is_noticed(pairs, place):
    """Raw arrays keep their size whatever they hold."""
    file = pairs(folders=("a", "b"), count=2, depth="*/*.npy", divisor=1)
    for i in range(4):
        np.save(Path("mine", "ab"[i // 2], f"{i:03d}.npy"), np.full((100, 100), 2.0, np.float32))
    section = Pairs.model_validate({"files": [file], "validation": {"fraction": 0.0}})
    before = open_training_pairs(section, 0).train.digest
    changed = np.full((100, 100), 2.0, np.float32)
    changed.flat[place] = 3.0
    np.save("mine/b/003.npy", changed)
    assert open_training_pairs(section, 0).train.digest != before


def test_masks_are_a_part_of_the_ground_truth(pairs):
    file = pairs(folders=("a", "b"), count=2, mask="*/*.mask.png")
    masks = [Path("mine", "ab"[i // 2], f"{i:03d}.mask.png") for i in range(4)]
    for mask in masks:
        Image.fromarray(np.full((24, 32), 255, np.uint8)).save(mask)
    section = Pairs.model_validate({"files": [file], "validation": {"fraction": 0.0}})
    before = open_training_pairs(section, 0).train.digest
    Image.fromarray(np.eye(24, 32, dtype=np.uint8)).save(masks[3])
    assert open_training_pairs(section, 0).train.digest != before


def test_the_split_does_not_depend_on_the_order_of_files(pairs):
    both = [pairs("mine"), pairs("yours")]
    for seed in range(6):
        held = [
            {(one.rule.name, name) for one in opened.validation for name in one.names()}
            for files in (both, both[::-1])
            for opened in [open_training_pairs(Pairs.model_validate({"files": files}), seed)]
        ]
        assert held[0] == held[1]


def test_an_image_with_two_truths_is_two_images_by_name(pairs):
    """A damaged LiDAR map must not take the stereo map of its image away."""
    lidar = pairs(folders=("a", "b"), count=2)
    rules = Path(lidar).read_text()
    Path("stereo.yaml").write_text(
        rules.replace("name: 'mine'", "name: stereo").replace("*/*.depth.png", "*/*.far.png")
    )
    for path in Path("mine").glob("*/*.depth.png"):
        shutil.copy(path, path.with_name(path.name.replace("depth", "far")))
    section = {"files": [lidar, "stereo.yaml"], "validation": {"fraction": 0.0}}
    train = open_training_pairs(Pairs.model_validate(section), 0).train
    assert len({*train.paths}) == 4 and len({*train.names}) == 8
    alone = {"files": [{"file": lidar, "repeat": 2}], "validation": {"fraction": 0.0}}
    train = open_training_pairs(Pairs.model_validate(alone), 0).train
    assert train.names == train.paths and len({*train.names}) == 4


def test_single_images_only_where_asked(pairs):
    file = pairs(folders=("only",), count=20)
    with pytest.raises(UsageProblem, match="all images lie in one folder"):
        open_training_pairs(Pairs.model_validate(file), 0)
    opened = open_training_pairs(
        Pairs.model_validate({"files": [file], "validation": {"by": "image", "fraction": 0.2}}), 0
    )
    assert len(opened.validation[0]) == 4 and len(opened.train.paths) == 16
    assert not set(names(opened.train)) & {f"only/{name.rpartition('/')[2]}" for name in opened.validation[0].names()}


def test_a_list_of_what_validates(pairs, tmp_path):
    (tmp_path / "val.txt").write_text("# held out\nb\na/00[01].png\n")
    for images in (["val.txt"], ["b/", "a/000.png", "a/001.png"], ["b/*", "a/00[01].png"]):
        opened = open_training_pairs(Pairs.model_validate({"files": [pairs()], "validation": {"images": images}}), 0)
        assert sorted(opened.validation[0].names()) == [
            "a/000.png",
            "a/001.png",
            *(f"b/{i:03d}.png" for i in range(5, 10)),
        ]
    with pytest.raises(UsageProblem, match="'z' names none of the 20 images"):
        open_training_pairs(Pairs.model_validate({"files": [pairs()], "validation": {"images": ["b", "z"]}}), 0)
    with pytest.raises(UsageProblem, match="none trains"):
        open_training_pairs(Pairs.model_validate({"files": [pairs()], "validation": {"images": ["*"]}}), 0)


def test_several_files_and_repeats(pairs):
    files = [pairs("one", count=2), {"file": pairs("two", folders=("x",), count=3), "repeat": 4}]
    opened = open_training_pairs(Pairs.model_validate({"files": files, "validation": {"fraction": 0.0}}), 0)
    assert len(opened.train.paths) == 8 + 12
    assert names(opened.train).count("x/001.png") == 4
    assert opened.train.read(19)[1].depth[0, 0] == pytest.approx(1.002)


def test_all_problems_of_all_files_at_once(pairs, tmp_path):
    good = pairs()
    (tmp_path / "typo.yaml").write_text("name: t\nroot: mine\nimage: '*/???.png'\ndepht: 'x'\n")
    (tmp_path / "none.yaml").write_text("name: n\nroot: mine\nimage: '*.jpg'\ndepth: '*/*.depth.png'\n")
    for extra in (tmp_path / "mine/a").glob("000.depth.png"):
        extra.unlink()  # an image without depth
    with pytest.raises(RecipeError) as caught:
        open_training_pairs(Pairs.model_validate([good, "typo.yaml", "none.yaml", "absent.yaml"]), 0)
    text = str(caught.value)
    for word in (
        "files.0",
        "20 match",
        "19 match",
        "files.1",
        "depht",
        "files.2",
        "nothing matches '*.jpg'",
        "files.3",
    ):
        assert word in text, (word, text)


def test_a_copy_of_a_training_image_does_not_validate(pairs, tmp_path):
    opened = open_training_pairs(Pairs.model_validate({"files": [pairs()], "validation": {"images": ["b"]}}), 0)
    train = opened.train.paths
    check_apart(train, [tmp_path / "mine/b/005.png"])
    copy = tmp_path / "elsewhere.png"
    copy.write_bytes(train[3].read_bytes())
    (tmp_path / "link.png").symlink_to(train[4])
    for path in (copy, tmp_path / "link.png", train[5]):
        with pytest.raises(UsageProblem, match="1 images validate and are trained on"):
            check_apart(train, [tmp_path / "mine/b/005.png", path])


def test_uncompressed_images_of_one_size_are_not_all_read(tmp_path, monkeypatch):
    paths = [tmp_path / f"{i:03d}.ppm" for i in range(60)]
    for i, path in enumerate(paths):
        path.write_bytes(b"P6 100 100 255\n" + np.random.default_rng(i).bytes(30_000))
    copy = tmp_path / "copy.ppm"
    copy.write_bytes(paths[3].read_bytes())
    almost = tmp_path / "almost.ppm"  # alike in the middle, and another image
    almost.write_bytes(paths[4].read_bytes()[:-1] + b"!")
    read = []
    whole = training.cmp
    monkeypatch.setattr(training, "cmp", lambda *files, **how: read.extend(files) or whole(*files, **how))
    check_apart(paths[:40], [*paths[40:], almost])
    assert sorted(read) == sorted([paths[4], almost])
    with pytest.raises(UsageProblem, match=r"1 images validate .*copy\.ppm \(a copy of .*003\.ppm\)"):
        check_apart(paths[:40], [*paths[40:], copy])


def test_contradictions(pairs):
    with pytest.raises(ValidationError, match="listed twice"):
        Pairs.model_validate(["a.yaml", "a.yaml"])
    with pytest.raises(ValidationError, match="or a fraction"):
        Pairs.model_validate({"files": ["a.yaml"], "validation": {"images": ["x"], "by": "image"}})
    with pytest.raises(ValidationError):
        Pairs.model_validate({"files": []})
