"""The lines of metrics in a run's state, and the file beside it."""

import pytest
import torch

from ccd_cli.core.files import json_line
from ccd_cli.distill.step_lines import StepLines

LINES = [json_line({"step": i, "loss": i / 3}) for i in range(1, 400)]


def five():
    lines = StepLines()
    for line in LINES[:5]:
        lines.add(line)
    return lines


def test_metrics_are_cut_back_byte_for_byte(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(LINES[:7]) + '{"step": 8, "lo')  # killed in the middle of a line
    assert not five().restore(path), "later lines are no damage"
    assert path.read_text() == "".join(LINES[:5])
    assert not five().restore(path)
    assert path.read_text() == "".join(LINES[:5])
    assert not StepLines().restore(tmp_path / "new.jsonl")
    assert (tmp_path / "new.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b.replace(b"3", b"2", 1), None]
)
def test_what_is_damaged_is_written_again(tmp_path, damage):
    path = tmp_path / "metrics.jsonl"
    if damage:
        path.write_bytes(damage("".join(LINES[:5]).encode()))
    assert five().restore(path)
    assert path.read_text() == "".join(LINES[:5])


def test_lines_go_through_a_saved_state_again_and_again():
    lines, every = StepLines(), "".join(LINES)
    for number, line in enumerate(LINES):
        lines.add(line)
        if number % 100 == 50:  # saved, killed and resumed
            packed, lines = lines.state_dict(), StepLines()
            lines.load_state_dict(packed)
    assert lines.content().decode() == every
    assert lines.size == len(every)
    packed = lines.state_dict()
    assert packed.dtype == torch.uint8
    assert len(packed) < len(every) / 4
