"""The examples of docs/python.md run, in their order, in a folder with room.jpg and clip.mp4."""

import re
import warnings
from pathlib import Path

from tests.api.conftest import write_clip

PAGE = Path(__file__).resolve().parents[2] / "docs/python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_every_example_runs(here):
    write_clip(here / "clip.mp4")
    text = PAGE.read_text(encoding="utf-8")
    found = list(BLOCK.finditer(text))
    assert len(found) >= 8
    names: dict[str, object] = {}
    for block in found:
        line = text[: block.start()].count("\n") + 1
        code = compile("\n" * line + block[1], str(PAGE), "exec")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(code, names)
