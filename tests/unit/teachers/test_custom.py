"""Teachers of one's own: cards in `$CCD_HOME/cards`, and packages that are really installed (in a folder on the path)."""

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from ccd_cli.core.errors import TeacherError
from ccd_cli.teachers.custom import custom_cards, custom_loader, custom_problems, plugins
from ccd_cli.teachers.download.lock import installed_at, is_pulled
from ccd_cli.teachers.download.pull import pull
from ccd_cli.teachers.licenses import strictest
from ccd_cli.teachers.registry import CARDS, all_cards, card
from tests.hub import Repo, running

GOOD = """
name: my-depth
arch: depth-anything-v2-small
file: weights/mine.safetensors
license: CC-BY-NC-4.0
resolution: 392
note: Fine-tuned on my garden.
"""


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """Return a function that writes a card file."""
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "cards"
    folder.mkdir(parents=True)

    def write(text, name="mine.yaml"):
        (folder / name).write_text(text)
        return folder / name

    return write


def test_a_card_of_a_file(cards):
    path = cards(GOOD)
    found = card("my-depth")
    like = CARDS["depth-anything-v2-small"]
    assert found == custom_cards()["my-depth"] == all_cards()["my-depth"]
    assert (found.adapter, found.arch, found.kind) == ("native", "depth-anything-v2-small", "disparity")
    assert (found.resolution, found.normalization, found.multiple) == (392, like.normalization, like.multiple)
    assert (found.repo, found.url, found.sources) == ("", "", ())
    assert (found.license, found.commercial) == ("CC-BY-NC-4.0", False)
    assert installed_at(found) == path.parent / "weights" / "mine.safetensors"
    assert not is_pulled(found)
    installed_at(found).parent.mkdir()
    installed_at(found).write_bytes(b"12345678")
    assert is_pulled(card("my-depth"))
    assert card("my-depth").size_bytes == 8
    assert strictest([card("my-depth").effective_license, "Apache-2.0"]) == "CC-BY-NC-4.0"
    assert custom_problems() == []


def test_a_card_of_another_kind_at_an_absolute_place(cards, tmp_path):
    cards(GOOD.replace("weights/mine.safetensors", str(tmp_path / "x.pth")) + "kind: metric\n")
    assert installed_at(card("my-depth")) == tmp_path / "x.pth"
    assert (card("my-depth").kind, card("my-depth").unit) == ("metric", "meter")


def test_a_card_of_a_repository_is_pulled_and_listed(cards, ccd, tmp_path):
    cards(GOOD.replace("CC-BY-NC-4.0", "MIT") + "repo: me/garden\n")
    assert card("my-depth").commercial
    with running() as hub:
        hub.repos["me/garden"] = Repo({"weights/mine.safetensors": b"x" * 3000})
        env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "*"}
        done = ccd("teachers", "pull", "my-depth", **env)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "home" / "teachers" / "my-depth" / "mine.safetensors"
    assert place.read_bytes() == b"x" * 3000
    listed = ccd("teachers", "list", "--pulled", "--family", "v2", "--json")
    assert [row["name"] for row in json.loads(listed.stdout)] == ["my-depth"]


@pytest.mark.parametrize(
    ("change", "asked", "problem"),
    [
        (("my-depth", "moge-2-large"), None, "the name 'moge-2-large' is that of a published teacher"),
        (("my-depth", "lock.json"), "lock.json", "name 'lock.json' must be"),
        (("my-depth", "../x"), "../x", "name '../x' must be"),
        (("depth-anything-v2-small", "resnet"), "my-depth", "arch 'resnet' is not one of depth-anything-v1-small"),
        (("depth-anything-v2-small", "marigold-lcm"), "my-depth", "arch 'marigold-lcm' is not one of"),
        (("mine.safetensors", "mine.txt"), "my-depth", "is not a weights file"),
        (("392", "yes please"), "my-depth", "resolution 'yes please' must be a whole number"),
        (("392", "true"), "my-depth", "resolution True must be"),
        (("license: CC-BY-NC-4.0", ""), "my-depth", "license is missing"),
        (("note:", "nota:"), "my-depth", "unknown key 'nota'"),
        (("392", "392\nkind: deep"), "my-depth", "kind 'deep' is not one of disparity, depth"),
        (("392", "392\nrepo: nonsense"), "my-depth", "repo 'nonsense' must be OWNER/NAME"),
        (("name: my-depth", "name: [a]"), "mine", "name must be text"),
        (("392", "!!python/object/apply:os.system [touch PWNED]"), "mine", "not plain YAML"),
        (("name: my-depth", "name: my-depth\nname: b"), "mine", "appears twice"),
        ((GOOD, "- a"), "mine", "a card is a YAML mapping"),
    ],
)
def test_a_bad_card_is_one_line_for_a_list_and_an_error_for_its_name(cards, ccd_here, tmp_path, change, asked, problem):
    path = cards(GOOD.replace(*change))
    assert custom_cards() == {}
    (line,) = custom_problems()
    assert str(path) in line
    assert problem in line
    assert "\n" not in line
    listed = ccd_here("teachers", "list")
    assert listed.exit_code == 0
    assert "warning: " in listed.stderr
    if asked:
        with pytest.raises(TeacherError, match="cannot be used") as caught:
            card(asked)
        assert problem in caught.value.message
    assert card("moge-2-large") == CARDS["moge-2-large"]
    assert not (tmp_path / "PWNED").exists()


def test_of_two_cards_with_one_name_the_first_counts(cards):
    first = cards(GOOD, "a.yaml")
    second = cards(GOOD.replace("392", "518"), "b.yaml")
    assert card("my-depth").resolution == 392
    (line,) = custom_problems()
    assert str(second) in line
    assert str(first) not in line


def test_a_file_that_is_absent_is_said_by_pull(cards):
    from ccd_cli.core.report import Silent

    cards(GOOD.replace("CC-BY-NC-4.0", "MIT"))
    (outcome,) = pull(["my-depth"], Silent())
    assert outcome.error is not None
    assert "there is no file" in outcome.error.message


def test_the_guide_shows_a_card_and_an_entry_point_that_work(cards, package):
    section = (
        (Path(__file__).parents[3] / "docs/teachers.md").read_text(encoding="utf-8").split("## Custom teachers")[1]
    )
    cards(section.split("```yaml\n")[1].split("```")[0])
    assert custom_problems() == [line for line in custom_problems() if "garden-teachers" in line]
    assert installed_at(card("my-depth")).parts[-3:] == ("cards", "weights", "my-depth.safetensors")
    group = tomllib.loads(section.split("```toml\n")[1].split("```")[0])["project"]["entry-points"]["ccd.teachers"]
    assert group == {"garden": "garden_teachers:teacher"}
    (entry,) = entry_points(group="ccd.teachers", name="garden")
    assert entry.value == group["garden"]
    assert card("garden").name == "garden"


PACKAGE = """
import os
from pathlib import Path
Path(os.environ["IMPORTED"]).touch()
from dataclasses import replace
from ccd_cli.teachers.licenses import strictest
from ccd_cli.teachers.registry import CARDS

def teacher():
    own = replace(CARDS["moge-2-large"], name="garden", family="garden", adapter="plugin", repo="", file="")
    return own, load

def load(card, device, precision, resolution):
    return card.name, device, precision, resolution

def broken():
    raise RuntimeError("no garden today")

def wrong():
    return "nothing"
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a tiny distribution into a folder on the path; return what tells whether it was imported."""
    site = tmp_path / "site"
    info = site / "garden_teachers-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "garden_teachers.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: garden-teachers\nVersion: 1.2\n")
    names = {
        "garden": "teacher",
        "broken": "broken",
        "absent": "nowhere",
        "wrong": "wrong",
        "other-name": "teacher",
        "moge-2-large": "teacher",
    }
    lines = [f"{name} = garden_teachers:{function}" for name, function in names.items()]
    (info / "entry_points.txt").write_text("[ccd.teachers]\n" + "\n".join(lines) + "\n")
    monkeypatch.setenv("IMPORTED", str(tmp_path / "imported"))
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(site))
    yield tmp_path / "imported"
    sys.modules.pop("garden_teachers", None)


def test_a_package_is_listed_without_importing_it(package, ccd_here):
    assert plugins()["garden"] == "garden-teachers 1.2"
    rows = {row["name"]: row for row in json.loads(ccd_here("teachers", "list", "--json").stdout)}
    assert rows["garden"]["family"] == "garden-teachers 1.2"
    assert rows["garden"]["kind"] is None
    assert "garden" in ccd_here("teachers", "list").stdout
    assert "a teacher 'moge-2-large', a name that is taken" in ccd_here("teachers", "list").stderr
    assert not package.exists()
    assert "garden" not in all_cards()


def test_a_package_is_imported_when_its_teacher_is_asked_for(package, ccd_here):
    found = card("garden")
    assert package.exists()
    assert found.family == "garden"
    loader = custom_loader("garden")
    assert loader is not None
    assert loader(found, "cpu", "fp32", 518) == ("garden", "cpu", "fp32", 518)
    assert custom_loader("moge-2-large") is None  # a published teacher is not replaced
    assert card("moge-2-large") == CARDS["moge-2-large"]
    assert ccd_here("teachers", "info", "garden").exit_code == 0


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("broken", "RuntimeError: no garden today"),
        ("absent", "AttributeError"),
        ("wrong", r"must return \(Card, loader\)"),
        ("other-name", "its card is called 'garden'"),
    ],
)
def test_a_package_that_does_not_work_is_named(package, name, problem):
    with pytest.raises(TeacherError, match=f"'{name}' of the package garden-teachers 1.2.*{problem}"):
        card(name)
    with pytest.raises(TeacherError):
        custom_loader(name)


def test_own_teachers_cost_no_import_of_torch(cards, package):
    cards(GOOD)
    code = "import sys; from ccd_cli.teachers.listing import rows; print(len(rows())); print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(package.parent / "site")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(all_cards()) + 5), "False"]
