"""Strict loading: everything there, everything fits, everything used, or nothing is loaded."""

import re

import pytest
import torch
from torch import nn

from ccd_cli.core.errors import CheckpointError
from ccd_cli.models.strict import load_strict


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_whole_states_are_loaded_in_the_types_of_the_module_or_as_asked():
    module, state = network(), {n: t.double() + 1 for n, t in network().state_dict().items()}
    load_strict(module, state, "a.pth")
    loaded = module.state_dict()
    assert loaded["0.weight"].dtype == torch.float32 and loaded["1.num_batches_tracked"].dtype == torch.int64
    assert all(torch.equal(loaded[n], state[n].to(loaded[n].dtype)) for n in state)
    with torch.device("meta"):
        blank = nn.Linear(2, 3)
    half = dict(nn.Linear(2, 3).state_dict())
    load_strict(blank, half, "a.pth", dtype=torch.float16)
    assert blank.weight.dtype == torch.float16 and torch.equal(blank.weight, half["weight"].half())


def test_one_message_lists_all_and_nothing_is_loaded():
    module, state = network(), {n: t + 1 for n, t in network().state_dict().items()}
    del state["0.bias"]
    state |= {"extra": torch.zeros(1), "0.weight": torch.zeros(7)}
    with pytest.raises(CheckpointError) as caught:
        load_strict(module, state, "a.pth", shown=lambda name: f"<{name}>")
    assert caught.value.message == (
        "a.pth does not fit the network: missing <0.bias>; unexpected <extra>; "
        "of another shape <0.weight> ([7] instead of [3, 2])."
    )
    assert all(torch.equal(module.state_dict()[n], t) for n, t in network().state_dict().items())


def test_a_long_list_is_cut_and_names_may_be_excused():
    module = network()
    with pytest.raises(CheckpointError, match=r"missing 0\.weight, 0\.bias, .* and 2 more\.$"):
        load_strict(module, {}, "a.pth")
    state = {n: t + 1 for n, t in module.state_dict().items() if not n.startswith("1.")} | {"head.x": torch.zeros(1)}
    before = module[1].weight.clone()
    load_strict(module, state, "a.pth", may_lack=re.compile(r"^1\."), may_hold=re.compile(r"^head\."))
    assert torch.equal(module[0].weight, state["0.weight"]) and torch.equal(module[1].weight, before)
