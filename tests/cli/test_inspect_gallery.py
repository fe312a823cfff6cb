"""`ccd inspect` of predictions: every one has its card, no name breaks out, and the folder can be moved."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ccd_cli.inspection import gallery
from tests.api.conftest import write_clip
from tests.page import HOSTILE, Page

MODEL = ("--model", "builtin:tiny", "--device", "cpu", "--threads", "1")


@pytest.fixture
def folder(tmp_path, photos):
    """Two photos, one of them in a folder with an evil name, and a file that is none."""
    place = tmp_path / "photos"
    (place / HOSTILE).mkdir(parents=True)
    some = sorted(photos.iterdir())
    shutil.copy(some[0], place / "a.jpg")
    shutil.copy(some[1], place / HOSTILE / f"{HOSTILE}.jpg")
    (place / "broken.jpg").write_bytes(b"no photo")
    return place


def cards(page: Page) -> int:
    return page.tags.count("article")


def test_a_gallery(ccd_here, folder, tmp_path):
    done = ccd_here("predict", folder, *MODEL, "--out", "maps", "--pointcloud", "--preview")
    assert done.exit_code == 1 and "ccd inspect maps --open" in done.stderr
    done = ccd_here("inspect", "maps", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["what"] == "predictions" and document["summary"]["images"] == document["summary"]["clouds"] == 2
    assert document["failed"] == [{"input": "../photos/broken.jpg", "reason": document["failed"][0]["reason"]}]
    assert "not a readable image" in document["failed"][0]["reason"]
    page = Page(tmp_path / "maps/inspect.html")
    assert page.needs_only_files_beside_it() and not page.reprs() and cards(page) == 2
    assert f"{HOSTILE}/{HOSTILE}" in page.words and "../photos/broken.jpg: not a readable image" in page.all_words
    assert page.tables[0][0] == ["model", "kind", "unit", "license", "predictions"]
    assert page.tables[0][1][0:2] == ["builtin:tiny", "disparity"] and page.tables[0][1][3:] == ["Apache-2.0", "2"]
    assert page.tags.count("input") == 2 and "aria-label" in page.text, "a slider is an input that keyboards know"
    assert len(page.files) == 2 * 3 and page.text.count('loading="lazy"') == 6, "photo, depth and cloud of each"
    sizes = {Image.open(path).size for path in page.goes_to(tmp_path / "maps") if path.suffix == ".jpg"}
    assert max(max(size) for size in sizes) <= gallery.SIDE
    assert all(path.is_file() for path in page.goes_to(tmp_path / "maps"))
    shutil.move(tmp_path / "maps", tmp_path / "elsewhere")
    assert all(path.is_file() for path in page.goes_to(tmp_path / "elsewhere")), "the folder can be moved"


def test_what_is_done_later_is_no_failure(ccd_here, folder, tmp_path, photos):
    assert ccd_here("predict", folder, *MODEL, "--out", "maps").exit_code == 1
    assert "broken" in (tmp_path / "maps/failed.jsonl").read_text()
    assert ccd_here("predict", folder / "a.jpg", *MODEL, "--out", "maps").exit_code == 0
    assert "broken" in (tmp_path / "maps/failed.jsonl").read_text(), "nobody tried it again"
    shutil.copy(sorted(photos.iterdir())[2], folder / "broken.jpg")
    assert ccd_here("predict", folder, *MODEL, "--out", "maps").exit_code == 0
    assert not (tmp_path / "maps/failed.jsonl").exists()


def test_its_pages_are_nobodys_photos(ccd_here, folder, tmp_path):
    assert ccd_here("predict", folder, *MODEL, "--out", "maps").exit_code == 1
    assert ccd_here("inspect", "maps").exit_code == 0
    done = ccd_here("predict", "maps", *MODEL, "--out", "again", "--json")
    assert json.loads(done.stdout)["done"] == [], done.stderr
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "maps/gallery").glob("*.jpg")}
    assert len(before) == 4
    assert ccd_here("inspect", "maps").exit_code == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "maps/gallery").glob("*.jpg")}, "drawn once"
    (tmp_path / "maps/a.json").unlink()
    assert ccd_here("inspect", "maps", "--out", "look").exit_code == 0
    assert cards(Page(tmp_path / "look/inspect.html")) == 1
    assert all(path.is_file() for path in Page(tmp_path / "look/inspect.html").goes_to(tmp_path / "look"))
    assert ccd_here("inspect", "maps").exit_code == 0
    assert len(list((tmp_path / "maps/gallery").glob("*.jpg"))) == 2, "thumbnails of what is gone go too"


def test_photos_that_moved_and_maps_without_colors(ccd_here, folder, tmp_path):
    assert ccd_here("predict", folder / "a.jpg", *MODEL, "--out", "maps", "--save", "npy").exit_code == 0
    shutil.rmtree(folder)
    assert ccd_here("inspect", "maps").exit_code == 0
    page = Page(tmp_path / "maps/inspect.html")
    assert "The photo is not where it was" in page.all_words and page.tags.count("input") == 0 and len(page.files) == 1
    depth = np.asarray(Image.open(page.goes_to(tmp_path / "maps")[-1]))
    assert depth.std() > 10, "the map is colored from its numbers"
    (tmp_path / "maps/a.npy").unlink()
    shutil.rmtree(tmp_path / "maps/gallery")
    assert ccd_here("inspect", "maps").exit_code == 0
    page = Page(tmp_path / "maps/inspect.html")
    assert "No longer there: a.npy." in page.words and "Its depth cannot be shown." in page.words and not page.files


def test_a_video_plays_in_the_page(ccd_here, tmp_path):
    write_clip(tmp_path / "clip.mp4")
    assert ccd_here("predict", "clip.mp4", *MODEL, "--out", "maps").exit_code == 0
    assert ccd_here("inspect", "maps").exit_code == 0
    page = Page(tmp_path / "maps/inspect.html")
    assert page.needs_only_files_beside_it() and "media-src 'self'" in str(page.policy)
    assert "./clip.color.mp4" in page.files and page.tags.count("video") == 1 and " frames at " in page.all_words


def test_many_predictions_are_on_several_pages(ccd_here, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "PER_PAGE", 2)
    assert ccd_here("predict", folder / "a.jpg", *MODEL, "--out", "maps", "--save", "color").exit_code == 0
    side = json.loads((tmp_path / "maps/a.json").read_text())
    for i in range(4):
        shutil.copy(tmp_path / "maps/a.color.png", tmp_path / f"maps/b{i}.color.png")
        (tmp_path / f"maps/b{i}.json").write_text(json.dumps({**side, "files": {"color": f"b{i}.color.png"}}))
    assert ccd_here("inspect", "maps").exit_code == 0
    places = [tmp_path / "maps/inspect.html", *(tmp_path / f"maps/gallery/page-{n}.html" for n in (2, 3))]
    pages = [Page(place) for place in places]
    assert [cards(page) for page in pages] == [2, 2, 1]
    assert ["1 to 2 of 5" in pages[0].words, "3 to 4 of 5" in pages[1].words, "5 to 5 of 5" in pages[2].words] == [
        True
    ] * 3
    for place, page in zip(places, pages, strict=True):
        assert all(path.is_file() for path in page.goes_to(place.parent)), "from every page, all links lead somewhere"
    anchors = [each.partition("#")[2] for each in pages[0].links if "#" in each]
    assert len(anchors) == 5 and all(sum(f'id="{anchor}"' in page.text for page in pages) == 1 for anchor in anchors)
    for i in range(4):
        (tmp_path / f"maps/b{i}.json").unlink()
    assert ccd_here("inspect", "maps").exit_code == 0
    assert not list((tmp_path / "maps/gallery").glob("page-*.html")), "pages that are not needed are gone"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"thumbnails": {"a": 3}}', b'{"thumbnails": {"KEY": {"shape": "x"}}}']
)
def test_a_damaged_note_of_thumbnails_is_made_again(ccd_here, folder, tmp_path, content):
    assert ccd_here("predict", folder / "a.jpg", *MODEL, "--out", "maps", "--save", "color").exit_code == 0
    assert ccd_here("inspect", "maps").exit_code == 0
    mark = tmp_path / "maps/gallery/gallery.json"
    (key,) = json.loads(mark.read_text())["thumbnails"]
    mark.write_bytes(content.replace(b"KEY", key.encode()))
    done = ccd_here("inspect", "maps")
    assert done.exit_code == 0 and list(json.loads(mark.read_text())["thumbnails"]) == [key], done.stderr


@pytest.mark.parametrize(
    "damage",
    [
        {"video": {"frames": "x", "rate": None}},
        {"cloud": {"points": []}, "notes": 5, "made_with": [], "kind": None},
        {"files": {"color": "../../a.jpg", "npy": None, "frames": "/"}, "model": {"a": 1}},
    ],
)
def test_a_sidecar_that_says_nonsense(ccd_here, folder, tmp_path, damage):
    assert ccd_here("predict", folder / "a.jpg", *MODEL, "--out", "maps", "--save", "color").exit_code == 0
    side = json.loads((tmp_path / "maps/a.json").read_text())
    (tmp_path / "maps/a.json").write_text(json.dumps({**side, **damage}))
    done = ccd_here("inspect", "maps")
    assert done.exit_code == 0, done.stderr
    page = Page(tmp_path / "maps/inspect.html")
    assert cards(page) == 1 and "a" in page.words
    root = (tmp_path / "maps").resolve()
    assert all(root in path.resolve().parents for path in page.goes_to(tmp_path / "maps")), "only files of the folder"
