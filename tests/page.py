"""Reads a written page as a browser would."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

HOSTILE = """x" onload='alert(1)'><script>alert(2)<"""
"""A name that breaks out of attributes with either quote, and out of text. A file's name can be this, as it has no slash."""


class Page(HTMLParser):
    """Tags, words, and attributes that could run or fetch something (pictures inside the page are none)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.images: list[str] = []
        self.risky: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.policy: str | None = None
        self.feed(self.text)
        self.all_words = "".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]
        for name, value in attrs:
            inside = tag == "img" and name == "src" and re.match("data:image/(jpeg|png);base64,", str(value))
            if inside:
                self.images.append(str(value))
            elif name.startswith("on") or name in ("src", "href", "action", "srcset"):
                self.risky.append((name, value))

    def handle_data(self, data):
        self.words.append(data)

    def needs_nothing_else(self) -> bool:
        """Whether it holds its one script, which is the one that its policy allows, and neither runs nor fetches more."""
        (script,) = re.findall("<script>(.*?)</script>", self.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed = "default-src 'none'" in str(self.policy) and f"script-src 'sha256-{digest}';" in str(self.policy)
        return self.tags.count("script") == 1 and not self.risky and allowed and "://" not in self.text
