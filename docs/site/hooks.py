"""What MkDocs does with this project's pages: files outside `docs`, the generated reference, formulas as MathML.

A page links files as they lie in the repository, so that its links work on GitHub; here each such link is turned to the page
that stands for the file. What a page links is on the site: Markdown as a page, other text and folders as a page that shows
them, pictures as they are.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api_page import api_page
from command_pages import command_pages
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from recipe_pages import recipe_pages

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs/examples"
PLACES = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "LICENSE": "project/license.md",
    "recipes/paper/RESULTS.md": "results/paper.md",
}
"""Where files outside `docs` have a place of their own on the site; all others are below `source/`."""
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp"}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".cff": "yaml", ".toml": "toml", ".json": "json"}
CODE = re.compile(
    r"^ *(?P<fence>```+|~~~+).*?^ *(?P=fence) *$|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"(?P<before>\]\(<?|(?:src|href)=\")(?P<target>[^)\s>\"]+)")
MATH = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
COMMANDS = "reference/commands/index.md"
generated: dict[str, str] = {}
"""Text of the pages that no file holds, by their place; made once a build."""
names: dict[str, str] = {}
"""Where the file of a page lies in the repository, by its place on the site."""


def on_config(config: Any) -> Any:
    """Take the pages of this folder (MkDocs refuses a configuration that lies among them), and make the reference."""
    config.docs_dir = str(ROOT / "docs")
    generated.clear()
    generated.update({**command_pages(), **recipe_pages(), "reference/api.md": api_page()})
    pages = [place for place in generated if place.startswith("reference/commands/")]
    for section in config.nav:
        for i, item in enumerate(next(iter(section.values()))):
            if isinstance(item, dict) and COMMANDS in item.values():
                section["Reference"][i] = {"Command line": pages}
    patterns = ("README.md", "*.ipynb", "*.py", "*/README.md")
    found = [path for pattern in patterns for path in sorted(EXAMPLES.glob(pattern))]
    config.nav[-3:-3] = [{"Examples": [place_of(path.relative_to(ROOT).as_posix()) for path in found]}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, and every file of the repository that a page links."""
    for place, text in generated.items():
        files.append(File.generated(config, place, content=text))
    todo = {f"docs/{file.src_uri}" for file in files.documentation_pages()} | set(PLACES)
    todo |= {path.relative_to(ROOT).as_posix() for path in EXAMPLES.rglob("*") if path.suffix in (".ipynb", ".py")}
    done: set[str] = set()
    while todo:
        name = todo.pop()
        done.add(name)
        place = place_of(name)
        names[place] = name
        if files.get_file_from_path(place) is None:
            files.append(_file(config, name, place))
        todo |= {target for target in links(name, text_of(name)) if (ROOT / target).exists()} - done
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links from where files lie in the repository to where they are on the site.

    A page without headings gets the room of the table of contents for its code.
    """
    if not re.search(r"^(##|:::) ", CODE.sub("", markdown), re.MULTILINE):
        page.meta["hide"] = ["toc"]
    place = page.file.src_uri
    return relink(markdown, names.get(place, f"docs/{place}"), place)


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML, which browsers draw without a script or a font from elsewhere."""
    return MATH.sub(lambda found: mathml(html.unescape(found[2])), content)


def mathml(text: str) -> str:
    r"""Return a formula, `\(...\)` or `\[...\]`, as a MathML element."""
    text = text.strip()
    return str(convert(text[2:-2].strip(), display="block" if text.startswith(r"\[") else "inline"))


def relink(markdown: str, name: str, place: str) -> str:
    """Return a page's text with its links as the site has them; `name`: where its file lies in the repository."""

    def turned(found: re.Match[str]) -> str:
        target, hash_, anchor = found["target"].partition("#")
        lies = resolve(name, target)
        if lies is None or not (ROOT / lies).exists():
            return found[0]
        return found["before"] + posixpath.relpath(place_of(lies), posixpath.dirname(place) or ".") + hash_ + anchor

    return outside_code(markdown, lambda prose: LINK.sub(turned, prose))


def links(name: str, markdown: str) -> set[str]:
    """Return the files and folders, as they lie in the repository, that the page of a file links."""
    found: set[str | None] = set()

    def noted(prose: str) -> str:
        found.update(resolve(name, match["target"].partition("#")[0]) for match in LINK.finditer(prose))
        return prose

    outside_code(markdown, noted)
    return {target for target in found if target}


def resolve(name: str, target: str) -> str | None:
    """Return the path in the repository of a link's target; None for other hosts, and for anchors of the page."""
    if not target or re.match(r"[a-z]+:", target):
        return None
    folder = name if (ROOT / name).is_dir() else posixpath.dirname(name)
    lies = posixpath.normpath(posixpath.join(folder, target))
    return None if lies.startswith("..") else lies


def place_of(name: str) -> str:
    """Return where a file of the repository is on the site; MkDocs leaves out names that begin with a dot."""
    if name in PLACES:
        return PLACES[name]
    path, shown = ROOT / name, re.sub(r"(^|/)\.", r"\1", name)
    if path.is_dir():
        return place_of(f"{name}/README.md") if (path / "README.md").exists() else f"source/{shown}/index.md"
    inside = name.removeprefix("docs/") if name.startswith("docs/") else f"source/{shown}"
    if name.startswith("docs/examples/") and path.suffix in (".ipynb", ".py"):
        return f"{inside}.md"
    return inside if path.suffix.lower() in {*PICTURES, ".md"} else f"source/{shown}.md"


def text_of(name: str) -> str:
    """Return the Markdown that stands for a file or folder of the repository; nothing for pictures."""
    path = ROOT / name
    if (made := generated.get(name.removeprefix("docs/"))) is not None:
        return made
    if path.is_dir():
        rows = (f"- [{each.name}]({each.name})" for each in sorted(path.iterdir()) if each.name[0] not in "._")
        return f"# {name}\n\n" + "\n".join(rows) + "\n"
    if not path.exists() or path.suffix.lower() in PICTURES:
        return ""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    if path.suffix == ".ipynb":
        return notebook(text, path.name)
    return f"# {name}\n\n`````{LANGUAGES.get(path.suffix, 'text')}\n{text}\n`````\n"


def notebook(text: str, name: str) -> str:
    """Return the Markdown of a notebook: its text and code, and what the code printed where that is stored."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            printed = "".join(output.get("text", ()) or output.get("data", {}).get("text/plain", ()))
            parts += [f"```text\n{printed}\n```"] if printed else []
    return "\n\n".join([*parts[:1], f"The notebook: `docs/examples/{name}`.", *parts[1:]]) + "\n"


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Return a text whose parts outside of code are changed."""
    parts, last = [], 0
    for found in CODE.finditer(markdown):
        parts += [change(markdown[last : found.start()]), found[0]]
        last = found.end()
    return "".join([*parts, change(markdown[last:])])


def _file(config: Any, name: str, place: str) -> File:
    """Return the site's file for a file or folder of the repository."""
    if place.endswith(".md"):
        return File.generated(config, place, content=text_of(name))
    return File.generated(config, place, abs_src_path=str(ROOT / name))
