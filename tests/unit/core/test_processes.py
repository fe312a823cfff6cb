"""How a process leaves the others: in order after its work, at once after an error where that would wait for them."""

from types import SimpleNamespace

import pytest
import torch

from ccd_cli.core import processes
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.processes import by_first, membership


@pytest.fixture
def left(monkeypatch):
    """Stands in for a process group of a backend; returns how it was left."""
    ways = []
    monkeypatch.setattr(processes, "_in_group", lambda: not ways)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: ways.append("in order"))
    monkeypatch.setattr(
        torch.distributed.distributed_c10d, "_abort_process_group", lambda: ways.append("at once"), raising=False
    )
    return ways


@pytest.mark.parametrize("backend", ["gloo", "nccl"])
def test_after_its_work_a_process_leaves_in_order(left, monkeypatch, backend):
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    with membership():
        assert not left
    assert left == ["in order"]


@pytest.mark.parametrize(("backend", "way"), [("gloo", "in order"), ("nccl", "at once")])
def test_after_an_error_nccl_waits_for_nobody(left, monkeypatch, backend, way):
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    with pytest.raises(CcdError, match="why"), membership():
        raise CcdError("why")
    assert left == [way]


def test_what_fails_while_leaving_does_not_hide_the_error(left, monkeypatch):
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "nccl")
    monkeypatch.delattr(torch.distributed.distributed_c10d, "_abort_process_group")  # an older torch
    with pytest.raises(CcdError, match="why"), membership():
        raise CcdError("why")
    assert left == []


@pytest.mark.parametrize("problem", [UsageProblem("why", "do this"), CcdError("why", "do this")])
def test_what_the_first_process_refuses_ends_all_with_one_exit_code(monkeypatch, problem):
    def refuse():
        raise problem

    sent = []
    monkeypatch.setattr(processes, "gather", lambda value, compute: sent.append(value) or [sent[0]])
    raised = []
    for rank in (0, 1):
        with pytest.raises(CcdError, match="why") as caught:
            by_first(refuse if rank == 0 else pytest.fail, SimpleNamespace(world=2, main=rank == 0))
        raised.append(caught.value)
    assert {(each.exit_code, each.message, each.hint) for each in raised} == {
        (type(problem).exit_code, "why", "do this")
    }
