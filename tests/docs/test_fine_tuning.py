"""The guide on fine-tuning, followed word for word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.own_pairs import write_pairs

GUIDE = Path(__file__).resolve().parents[2] / "docs/fine-tuning.md"
SMALLER = ("--set", "optim.steps=4", "--set", "optim.batch=2", "--set", "eval.every=2")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "steps", [SMALLER, pytest.param((), marks=pytest.mark.slow)], ids=["few steps", "as it stands"]
)
def test_every_command_of_the_guide_works_in_its_order(ccd, ccd_here, tmp_path, steps):
    for root, first, file in (("mine", 0, "pairs.yaml"), ("others", 50, "test.yaml")):
        made = write_pairs(tmp_path / f"raw-{root}", first=first).parent
        for number, place in enumerate(("hall", "kitchen", "office")):
            for ending, folder in (("jpg", "rgb"), ("png", "depth")):
                (tmp_path / root / place / folder).mkdir(parents=True)
                for path in sorted((made / f"clip-{number}").glob(f"*.{ending}")):
                    path.rename(tmp_path / root / place / folder / path.name)
        (tmp_path / file).write_text(blocks("yaml")[0].replace("root: mine ", f"root: {root} "))
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("ccd ")]
    assert len(lines) == 5 and "distill" in lines[1]
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if steps:
            made = ccd_here(*words, *(steps if words[0] == "distill" else ()))
            assert made.exit_code == 0, line + made.output
        else:
            done = ccd(*words, timeout=1800)
            assert done.returncode == 0, line + done.stdout + done.stderr
    assert (tmp_path / "runs/finetune-tiny/card.md").exists() and list(tmp_path.rglob("*.ply"))
