"""The documentation site: it builds strictly, loads nothing from elsewhere, and its reference is what the code is."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import click
import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

import ccd_cli
from ccd_cli.cli.main import COMMANDS, cli
from ccd_cli.config.find import shipped
from ccd_cli.config.keys import keys_of
from ccd_cli.config.load import TASKS

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs/images"
pytest.importorskip("mkdocs", reason='the site needs: pip install -e ".[docs]"')
pytest.importorskip("material", reason='the site needs: pip install -e ".[docs]"')
pytest.importorskip("latex2mathml", reason='the site needs: pip install -e ".[docs]"')
sys.path.insert(0, str(ROOT / "docs/site"))
import hooks  # noqa: E402


class Page(HTMLParser):
    """What a built page links and loads, its anchors and its text."""

    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.loads, self.anchors, self.words, self.tags = path, [], [], set(), [], set()
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img", "source", "iframe") and values.get("src"):
            self.loads.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "preconnect", "preload", "icon", "shortcut icon"):
            self.loads.append(values["href"])

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "docs/mkdocs.yml", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return {path.relative_to(folder).as_posix(): Page(path) for path in folder.rglob("*.html")}, folder


def test_every_link_and_anchor_leads_somewhere(site):
    pages, folder = site
    problems = []
    for name, page in pages.items():
        if name == "404.html":  # its links begin at the root of a server
            continue
        for link in page.links:
            target = urlparse(link)
            if target.scheme or target.netloc:
                continue
            file = (folder / name).parent / unquote(target.path) if target.path else folder / name
            file = file / "index.html" if file.is_dir() else file
            there = os.path.relpath(file, folder)
            if not file.exists():
                problems.append(f"{name}: {link}")
            elif target.fragment and there in pages and unquote(target.fragment) not in pages[there].anchors:
                problems.append(f"{name}: no anchor {link}")
    assert not problems
    assert len(pages) > 60


def test_nothing_is_loaded_from_another_host(site):
    pages, folder = site
    assert not [f"{name}: {load}" for name, page in pages.items() for load in page.loads if urlparse(load).netloc]
    assert "fonts.googleapis" not in "".join(path.read_text() for path in folder.rglob("*.css"))


def test_no_file_of_the_build_itself_is_on_the_site(site):
    _, folder = site
    assert not list((folder / "site").glob("*.py"))
    assert not (folder / "mkdocs.yml").exists()


def test_formulas_are_drawn(site):
    pages, _ = site
    for name in ("losses", "alignment", "kinds", "cameras", "glossary"):
        page = pages[f"concepts/{name}.html"]
        assert "math" in page.tags and "merror" not in page.tags
        assert not re.search(r"\\\(|\\\[|\\frac|\\operatorname", page.text)


def options(command, context):
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            yield from options(child, click.Context(child, context, info_name=name))
    else:
        yield from (name for param in command.params if isinstance(param, click.Option) for name in param.opts)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_a_command_has_all_of_its_options(site, command):
    found = cli.get_command(click.Context(cli), command)
    text = site[0][f"reference/commands/{command}.html"].text
    missing = [name for name in options(found, click.Context(found, info_name=command)) if name not in text]
    assert not missing


@pytest.mark.parametrize("task", TASKS)
def test_the_page_of_a_task_has_all_of_its_keys(site, task):
    text = site[0][f"reference/{task}.html"].text
    keys = keys_of(task).values()
    assert len(keys) > 20
    assert not [key.path for key in keys if key.keys and key.path not in text]
    rows = [f"{key.path.rpartition('.')[2]} {key.type} " for key in keys if not key.keys]
    assert not [row for row in rows if row not in text]


def test_a_key_has_type_default_reason_and_source(site):
    text = site[0]["reference/distill.html"].text
    assert "steps whole number, at least 1 20000 Optimizer steps (paper: 20 000). the paper" in text
    assert re.search(r"loss\.local_global ¶ .*? weight number, at least 0 0\.5 Weight of this loss term", text)


def test_the_python_page_has_the_public_names_with_their_text(site):
    text = site[0]["reference/api.html"].text
    for name in set(ccd_cli.__all__) - {"__version__"}:
        assert f"ccd.{name}" in text, name
    assert " ".join(ccd_cli.load.__doc__.split("\n")[0].replace("`", "").split())[:40] in text


def test_every_shipped_recipe_is_on_the_site_with_its_file(site):
    for recipe in shipped():
        assert f"source/recipes/{recipe.name}.yaml.html" in site[0]


def test_every_key_of_a_sidecar_is_described(tmp_path):
    depth = ccd_cli.load("builtin:tiny", resolution=64).predict(ROOT / "assets/photos/cat.jpg")
    files = depth.save(tmp_path / "cat", ("color", "png16"))
    written = json.loads(Path(files["sidecar"]).read_text())
    assert len(written) > 15
    frames = np.stack([np.asarray(Image.open(ROOT / "assets/photos/cat.jpg").resize((96, 64)))] * 3)
    iio.imwrite(tmp_path / "clip.mp4", frames, fps=4, codec="libx264", plugin="pyav")
    clip = ccd_cli.predict_video(tmp_path / "clip.mp4", out=tmp_path, model=ccd_cli.load("builtin:tiny", resolution=64))
    of_clip = json.loads(clip.sidecar.read_text())
    page = (ROOT / "docs/files.md").read_text(encoding="utf-8")
    assert not [key for key in {*written, *of_clip, *of_clip["video"]} if f"`{key}`" not in page]


def test_pictures_are_small_and_used():
    pages = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    for path in IMAGES.iterdir():
        assert f"images/{path.name}" in pages, path
        assert path.suffix == ".gif" or path.stat().st_size < 150_000, path


def test_the_drawn_plan_is_the_plan_that_is_tested():
    from tests.benchmarks.draw_guides import layers_svg

    assert (IMAGES / "layers.svg").read_text(encoding="utf-8") == layers_svg(), "draw_guides.py layers"


@pytest.mark.parametrize(
    ("name", "text", "turned"),
    [
        ("docs/predict.md", "[a](runtimes.md#x)", "[a](runtimes.md#x)"),
        ("docs/start/artist.md", "[a](../../README.md)", "[a](../index.md)"),
        ("docs/distill.md", "[a](../recipes/paper/RESULTS.md#x)", "[a](results/paper.md#x)"),
        ("docs/pairs.md", "[a](../recipes/suites/own-pairs.yaml)", "[a](source/recipes/suites/own-pairs.yaml.md)"),
        ("docs/recipes.md", "[a](../recipes)", "[a](source/recipes/index.md)"),
        ("docs/export.md", "[a](examples/onnx_depth.py)", "[a](examples/onnx_depth.py.md)"),
        ("README.md", "![a](docs/images/strip.jpg) [b](LICENSE)", "![a](images/strip.jpg) [b](project/license.md)"),
        ("README.md", "[a](https://e.org/x.md) `[b](LICENSE)` [c](none.md) [d](#e)", None),
        ("README.md", "```\n[a](LICENSE)\n```\n", None),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(name, text, turned):
    place = hooks.place_of(name)
    assert hooks.relink(text, name, place) == (turned or text)
    if turned and "#" not in text and "http" not in text:
        assert hooks.links(name, text)


def test_a_notebook_becomes_a_page():
    cells = [
        {"cell_type": "markdown", "source": ["# One\n", "text"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
    ]
    page = hooks.notebook(json.dumps({"cells": cells}), "one.ipynb")
    assert page.startswith("# One\ntext\n") and "```python\nprint(1)\n```" in page and "```text\n1\n" in page


def test_a_formula_becomes_mathml():
    block = hooks.mathml(r"\[ \frac{a}{b} \]")
    assert block.startswith("<math") and 'display="block"' in block and "<mfrac>" in block
    assert 'display="inline"' in hooks.mathml(r"\(x_i\)")
