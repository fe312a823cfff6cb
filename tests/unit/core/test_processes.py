"""How a process leaves the others: in order after its work, at once after an error where that would wait for them."""

import pytest
import torch

from ccd_cli.core import processes
from ccd_cli.core.errors import CcdError
from ccd_cli.core.processes import membership


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
