"""The whole loss on devices that hold no values: what would wait for a GPU, or mix it with the CPU, fails here."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ccd_cli.config.distill import Loss
from ccd_cli.losses.distillation import LabelMaps, Labels, Prediction, distillation_loss
from ccd_cli.losses.masks import flat_maps, saturated_mask
from tests.unit.losses.test_segments import Counter

NORMALIZATIONS = ("global", "hybrid", "local", "none")
FAMILIES = ("range", "quantile", "grid")


def inputs(device: str, batch: int, size: int, dtype: torch.dtype = torch.float32, leaf: bool = True):
    """What a step gives the loss: predictions of the student, labels, boxes."""
    shared, region = (torch.rand(batch, size, size, device=device, dtype=dtype) for _ in range(2))
    tokens = torch.rand(batch, 16, 8, device=device, dtype=dtype)
    if leaf:
        shared, region, tokens = (each.requires_grad_() for each in (shared, region, tokens))
    label, patches = (torch.rand(*shape, size, size, device=device) for shape in ((batch,), (batch, 4)))
    valid = saturated_mask(label, label > 0.1) & ~flat_maps(label, label > 0.1)[:, None, None]
    number = torch.zeros((), device=device)
    labels = Labels(
        LabelMaps(label, valid),
        LabelMaps(patches, patches > 0.1),
        torch.rand(batch, 25, 8, device=device),
        "teacher",
        number,
        number,
    )
    return Prediction(shared, region, tokens), labels, torch.rand(batch, 4, 3, device=device)


def rule(normalization: str, contexts: str, drop_worst: float) -> Loss:
    context = {"normalization": normalization, "contexts": contexts}
    return Loss.model_validate(
        {"shared": context, "local_global": context, "anchor": {"weight": 0.1}, "drop_worst": drop_worst}
    )


def step(batch: int, size: int, config: Loss) -> Counter:
    prediction, labels, boxes = inputs("meta", batch, size)
    with Counter() as counter:
        distillation_loss(prediction, labels, boxes, config)["loss"].backward()
    assert prediction.shared.grad.shape == prediction.shared.shape
    assert prediction.local_global.grad.shape == prediction.local_global.shape
    return counter


@pytest.mark.parametrize("drop_worst", [0.0, 0.1])
@pytest.mark.parametrize("contexts", FAMILIES)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_no_value_is_read_back_and_nothing_is_done_per_map(normalization, contexts, drop_worst):
    config = rule(normalization, contexts, drop_worst)
    counters = [step(batch, size, config) for batch, size in ((1, 32), (8, 64))]
    assert not [wait for counter in counters for wait in counter.waits]
    few, many = (counter.operations for counter in counters)
    assert many <= 1.01 * few


@pytest.mark.parametrize(("normalization", "contexts"), itertools.product(NORMALIZATIONS, FAMILIES))
def test_everything_is_on_the_device_in_float32(normalization, contexts):
    with FakeTensorMode():
        prediction, labels, boxes = inputs("cuda", 2, 32, torch.bfloat16, leaf=False)
        losses = distillation_loss(prediction, labels, boxes, rule(normalization, contexts, 0.1))
    assert {(each.device.type, each.dtype) for each in losses.values()} == {("cuda", torch.float32)}
