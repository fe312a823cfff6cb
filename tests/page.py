"""Reads a written page as a browser would."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

HOSTILE = """x" onload='alert(1)'><script>alert(2)<"""
"""A name that breaks out of attributes with either quote, and out of text. A file's name can be this, as it has no slash."""


class Page(HTMLParser):
    """Tags, words, links (the page's own parts are none), tables, and attributes that could run or fetch something.

    Pictures inside the page and relative addresses in `links` and `files` are not risky.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.files: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._cell = False
        self.risky: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.policy: str | None = None
        self.feed(self.text)
        self.all_words = "".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True
        for name, value in attrs:
            inside = tag == "img" and name == "src" and re.match("data:image/(jpeg|png);base64,", str(value))
            relative = str(value).startswith("./") or (tag == "a" and str(value).startswith("#"))
            if inside:
                self.images.append(str(value))
            elif name == "href" and tag == "a" and relative:
                self.links.append(str(value))
            elif name in ("src", "poster") and tag in ("img", "video") and relative:
                self.files.append(str(value))
            elif name.startswith("on") or name in ("src", "href", "action", "srcset"):
                self.risky.append((name, value))

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        self.words.append(data)
        if self._cell:
            self.tables[-1][-1][-1] += data.strip()

    def goes_to(self, folder: Path) -> list[Path]:
        """The files that the page links to and loads, found from `folder` as a browser would."""
        names = [each.partition("#")[0] for each in (*self.links, *self.files)]
        return [folder / os.fsdecode(unquote_to_bytes(name)) for name in names if name]

    def reprs(self) -> list[str]:
        """What only a program writes: lists and dictionaries in words, and cells such as 12.0 or None."""
        cells = [cell for table in self.tables for row in table for cell in row]
        odd = [cell for cell in cells if re.fullmatch(r"-?\d+\.0|None|nan|True|False|\d+e-\d+", cell)]
        code = re.sub(r"<(script|style)>.*?</\1>", "", self.text, flags=re.DOTALL)
        return odd + re.findall(r"\{&#39;|\[&#39;|\bNone\b|PosixPath", code)

    def needs_nothing_else(self) -> bool:
        """Whether it holds its one script, which is the one that its policy allows, and neither runs nor fetches more."""
        (script,) = re.findall("<script>(.*?)</script>", self.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed = "default-src 'none'" in str(self.policy) and f"script-src 'sha256-{digest}';" in str(self.policy)
        alone = not self.files and "'self'" not in str(self.policy)
        return self.tags.count("script") == 1 and not self.risky and allowed and alone and "://" not in self.text

    def needs_only_files_beside_it(self) -> bool:
        """Whether it loads relative addresses alone, and its policy allows no other."""
        (script,) = re.findall("<script>(.*?)</script>", self.text, re.DOTALL)
        policy = str(self.policy)
        only = "default-src 'none'" in policy and "img-src 'self' data:;" in policy and "sha256-" in policy
        return bool(script) and self.tags.count("script") == 1 and not self.risky and only and "://" not in self.text
