"""The loss for accelerators: the CPU path's numbers and gradients; no operation per map, no wait for a value."""

from __future__ import annotations

import itertools
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ccd_cli.losses.context_l1 import context_l1
from ccd_cli.losses.normalize import kth_by_sorting, kth_of_each
from ccd_cli.losses.segments import context_l1_batched

LEVELS = {"hybrid": (1, 2, 4), "global": (1,), "local": (4,), "two chains": (2, 3)}


def maps(kind: str, batch: int = 3, size: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Student, label and mask [B,H,W]; NaN outside the mask of both."""
    generator = torch.Generator().manual_seed(3)
    label = torch.rand(batch, size, size + 8, generator=generator).cumsum(1)
    pred = 3 * label.sqrt() + torch.randn(label.shape, generator=generator)
    mask = torch.rand(label.shape, generator=generator) > 0.1
    if kind == "ties":
        pred, label = (pred * 2).round() / 2, label.round()
    if kind == "constant":
        label[0], pred[1] = 2.5, -1.0
    if kind == "empty":
        mask[0], mask[1, 2:] = False, False
        mask[2] = False
        mask[2, 0, :7] = True
    if kind == "full":
        mask[:] = True
    return torch.where(mask, pred, torch.nan), torch.where(mask, label, torch.nan), mask


@pytest.mark.parametrize("variant", ["ccd", "hdn"])
@pytest.mark.parametrize("contexts", ["range", "quantile", "grid"])
@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("kind", ["plain", "ties", "constant", "empty", "full"])
def test_loss_and_gradient_are_the_cpu_paths(kind, levels, contexts, variant):
    if variant == "hdn" and kind in ("constant", "empty", "ties"):
        pytest.skip("without a floor a flat context divides by 1e-6: equality means nothing there")
    pred, label, mask = maps(kind)
    upstream = torch.rand(pred.shape, generator=torch.Generator().manual_seed(9))
    found = []
    for loss in (context_l1, context_l1_batched):
        leaf = pred.clone().requires_grad_()
        made = loss(leaf, label, mask, contexts, LEVELS[levels], variant)
        made.backward(upstream)
        found.append((made.detach(), leaf.grad))
    for one, other in zip(*found, strict=True):
        assert torch.isfinite(other).all()
        assert (one[~mask] == 0).all() and (other[~mask] == 0).all()
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5 * max(1.0, float(one.abs().max())))


@pytest.mark.parametrize("kind", ["plain", "ties", "empty", "full"])
def test_ranks_by_sorting_are_those_of_a_partition(kind):
    pred, _, mask = maps(kind)
    last = (mask.sum(dim=(1, 2)) - 1).clamp_min(0)
    ranks = torch.stack([last // 2, last, torch.zeros_like(last)], dim=1)
    some = mask.any(dim=(1, 2))
    assert torch.equal(
        kth_by_sorting(pred, mask, ranks)[some], kth_of_each(pred, mask, mask.sum(dim=(1, 2)), ranks)[some]
    )


class Counter(TorchDispatchMode):
    """Counts operations, those that wait for a value of the device, and the bytes of tensors beside `inputs`."""

    def __init__(self, *inputs):
        super().__init__()
        self.operations, self.waits, self.alive, self.peak = 0, [], 0, 0
        self.seen = {each.untyped_storage()._cdata for each in inputs}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += 1
        if func.name() in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select"):
            self.waits.append(func.name())
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(each, torch.Tensor):
                self._note(each.untyped_storage())
        return made

    def _note(self, storage):
        if storage._cdata in self.seen:
            return
        self.seen.add(storage._cdata)
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, key, size):
        self.seen.discard(key)
        self.alive -= size


def measured(batch: int, size: int, contexts: str) -> list[Counter]:
    """The forward and the backward pass of maps of three levels on a device without values."""
    pred = torch.rand(batch, size, size, device="meta", requires_grad=True)
    label, mask = torch.rand(batch, size, size, device="meta"), torch.ones(batch, size, size, device="meta") > 0
    upstream = torch.rand(pred.shape, device="meta")
    forward = Counter(pred, label, mask)
    with forward:
        made = context_l1_batched(pred, label, mask, contexts, (1, 2, 4), "ccd")
    backward = Counter(pred, label, mask, upstream, made)
    with backward:
        made.backward(upstream)
    assert not forward.waits + backward.waits
    assert pred.grad.shape == pred.shape
    return [forward, backward]


@pytest.mark.parametrize(("contexts", "most"), [("range", 700), ("quantile", 700), ("grid", 1110)])
def test_operations_do_not_grow_with_the_work(contexts, most):
    counts = {
        sum(each.operations for each in measured(batch, size, contexts))
        for batch, size in itertools.product((1, 8, 40), (32, 560))
    }
    assert len(counts) == 1
    assert counts.pop() <= most


@pytest.mark.parametrize("contexts", ["range", "quantile", "grid"])
def test_memory_is_that_of_a_few_maps(contexts):
    for each in measured(8, 560, contexts):
        assert each.peak <= 6 * 8 * 560 * 560 * 4
