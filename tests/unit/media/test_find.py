"""Which photos and videos a word stands for, the same way for every command."""

import json
import os
from glob import glob
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.errors import CcdError
from ccd_cli.data.source import Source
from ccd_cli.media.find import find_media, list_lines, list_photos
from ccd_cli.media.photos import SUFFIXES


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def test_folders_globs_lists_and_files(tmp_path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    image = np.zeros((20, 20, 3), np.uint8)
    one, two = save(tmp_path / "a" / "1.JPG", image, format="jpeg"), save(tmp_path / "a" / "deep" / "2.png", image)
    save(tmp_path / "a" / ".hidden.png", image)
    (tmp_path / "a" / "notes.md").write_text("x")
    assert list_photos([str(tmp_path / "a")]) == [one, two]
    assert list_photos([str(tmp_path / "a" / "*.JPG"), str(one)]) == [one]
    (tmp_path / "list.txt").write_text("# photos\na/deep/2.png\n\n")
    assert list_photos([str(tmp_path / "list.txt")]) == [two]


def test_the_photos_that_ship_have_a_name_that_works_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = list_photos(["builtin:photos"])
    assert [path.name for path in photos] == ["astronaut.jpg", "cat.jpg", "coffee.jpg", "palace.jpg", "rocket.jpg"]
    assert list_photos(["builtin:photos/cat.jpg", "builtin:photos/r*.jpg"]) == [photos[1], photos[4]]
    media, bad = find_media(["builtin:photos/cat.jpg", "builtin:photos/dog.jpg"])
    assert [(each.path, each.stem) for each in media] == [(photos[1], Path("cat"))]
    assert bad == [("builtin:photos/dog.jpg", "no such file or folder")]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_nothing_found_is_an_error_that_says_what_to_do(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CcdError, match="--set images=DIR"):
        list_photos([str(tmp_path / name)])


def earlier(paths):
    """The photo finder of earlier releases, kept to compare with: seeds depend on the set and order of photos."""
    found = set()
    for text in paths:
        path = Path(text).expanduser()
        if path.is_dir():
            new = [p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
        elif path.is_file() and path.suffix.lower() == ".txt":
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            new = [path.parent / line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        elif path.is_file():
            new = [path]
        else:
            new = [Path(p) for p in glob(str(path), recursive=True) if Path(p).suffix.lower() in SUFFIXES]
        found.update(new)
    return sorted(found)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Photos of many names and places, links among them, and lists; the working folder is above them."""
    names = "b/2.png b/10.JPG a.jpeg Z.webp \u00e4/\u00f6.tif x.color.png c.depth.png b/deep/er/1.bmp a-b/1.png a/1.png v.mp4"
    for name in [*names.split(), "b/with space.png", "b/~draft.png", "b/[1].png", "notes.md", "b/raw.dng"]:
        path = tmp_path / "pics" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo")
    (tmp_path / "pics" / "again.png").symlink_to(tmp_path / "pics" / "b" / "2.png")
    (tmp_path / "pics" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "pics" / "linked").symlink_to(tmp_path / "pics" / "b", target_is_directory=True)
    lines = "# all\n\n b/2.png \r\nb/raw.dng\nb/absent.png\nb/2.png\n\u00e4/\u00f6.tif\n../pics/a.jpeg\n  # none\n/abs/x.png"
    (tmp_path / "pics" / "list.txt").write_bytes(lines.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["pics"],
        ["./pics"],
        ["pics/b", "pics"],
        ["pics/*.png"],
        ["pics/**/*.png", "pics/a.jpeg"],
        ["pics/list.txt"],
        ["pics/b/raw.dng", "pics/Z.webp", "pics/Z.webp"],
        ["pics/**/*", "pics/list.txt", "pics"],
        ["ABSOLUTE", "pics"],
        ["ABSOLUTE/*/*.JPG"],
    ],
    ids=" ".join,
)
def test_set_and_order_of_photos_are_those_of_earlier_releases(tree, words):
    words = [word.replace("ABSOLUTE", str(tree / "pics")) for word in words]
    assert list_photos(words) == earlier(words)
    assert earlier(words)


def test_hidden_files_and_folders_are_nobodys_photos(tree):
    for name in (".cache/1.png", "b/.thumbnails/deep/1.png", ".a.png"):
        (tree / "pics" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "pics" / name).touch()
    (tree / "pics" / "folder.png").mkdir()
    found = {path.relative_to("pics").as_posix() for path in list_photos(["pics"])}
    assert not found & {".cache/1.png", "b/.thumbnails/deep/1.png", ".a.png", "folder.png"}
    assert {media.path.name for media in find_media(["pics"])[0]} & {"1.png", "v.mp4"} == {"1.png", "v.mp4"}
    (tree / ".home").mkdir()
    (tree / ".home" / "1.png").touch()
    assert list_photos([".home"]) == [Path(".home/1.png")], "a hidden folder that is named is meant"


def test_results_are_no_photos_for_any_command(tree):
    before, media = list_photos(["pics"]), [m.path for m in find_media(["pics"])[0]]
    out = tree / "pics" / "out"
    out.mkdir()
    files = {"color": "a.color.png", "png16": "a.depth.png", "side": "a.side.png", "cloud": "a.ply"}
    for name in [*files.values(), "other.cloud.png", "other.ply"]:
        (out / name).touch()
    (out / "a.json").write_text(json.dumps({"fingerprint": "f", "files": files}))
    assert list_photos(["pics"]) == before
    assert [m.path for m in find_media(["pics"])[0]] == media
    with pytest.raises(CcdError, match="does not exist"):
        list_photos(["pics/out/*.png"])
    with pytest.raises(CcdError, match="no photos in pics/out"):
        list_photos(["pics/out"])
    (out / "mine.color.png").touch()
    assert list_photos(["pics/out"]) == [Path("pics/out/mine.color.png")], "nobody lists it"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lists_in_the_encodings_that_editors_write(tree, encoding, end):
    text = end.join(["# photos", "\u00e4/\u00f6.tif", "a.jpeg", ""])
    if encoding.endswith("-bom"):
        kind = encoding.removesuffix("-bom")
        content = "\ufeff".encode(kind) + text.encode(kind)
    else:
        content = text.encode(encoding)
    assert list_lines(content) == text.split(end)
    (tree / "pics" / "of windows.txt").write_bytes(content)
    assert list_photos(["pics/of windows.txt"]) == [Path("pics/a.jpeg"), Path("pics/\u00e4/\u00f6.tif")]
    found, bad = find_media(["pics/of windows.txt"])
    assert [media.path.name for media in found] == ["\u00f6.tif", "a.jpeg"] and not bad


def test_names_that_no_home_folder_explains(tree):
    (tree / "pics" / "names.txt").write_text("~nobody-here.png\n")
    assert list_photos(["pics/names.txt"]) == [Path("pics/~nobody-here.png")]
    for word in ("~nobody-here/x", "a" * 5000, "a\0b"):
        with pytest.raises(CcdError, match="does not exist"):
            list_photos([word])
        assert find_media([word])[1] == [(word, "no such file or folder")]


def test_names_that_are_not_utf8_can_be_told_apart_and_hashed(tmp_path):
    raw = b"\xff.png"
    (tmp_path / os.fsdecode(raw)).touch()
    (tmp_path / "list.txt").write_bytes(raw + b"\n")
    (photo,) = list_photos([str(tmp_path)])
    assert list_photos([str(tmp_path / "list.txt")]) == [photo]
    assert len(Source([photo]).digest) == 64
