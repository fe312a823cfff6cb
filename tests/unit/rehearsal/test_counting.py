"""Counted operations against hand counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ccd_cli.rehearsal.counting import Count, Kept, counting


def forward_and_backward(work, *inputs):
    """(forward, backward) of the sum of what `work` returns."""
    with counting() as so_far:
        made = work(*inputs)
        forward = so_far()
        made.sum().backward()
        return forward, so_far() - forward


@pytest.mark.parametrize("batch", [1, 3])
def test_a_small_network_by_hand(batch):
    """Convolution 3 -> 4, 3x3, of 9x10 pixels to 7x8; linear 4 -> 5 at every pixel: two FLOPs a multiply-add."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    last = nn.Linear(4, 5)
    forward, backward = forward_and_backward(
        lambda x: last(net(x).flatten(2).transpose(1, 2)), torch.randn(batch, 3, 9, 10)
    )
    convolution, linear = 2 * 7 * 8 * 4 * 3 * 3 * 3, 2 * 7 * 8 * 4 * 5
    assert forward.flops == batch * (convolution + linear)
    assert backward.flops == batch * (convolution + 2 * linear), "nobody asks for the gradient of the images"


@pytest.mark.parametrize(
    ("layer", "shape", "multiply_adds"),
    [
        (nn.Conv2d(8, 16, 3, groups=4), (2, 8, 10, 12), 2 * 8 * 10 * 16 * 2 * 9),
        (nn.Conv2d(6, 6, 5, groups=6, padding=2, stride=2), (1, 6, 8, 8), 4 * 4 * 6 * 25),
        (nn.ConvTranspose2d(8, 4, 2, stride=2), (2, 8, 5, 6), 2 * 5 * 6 * 8 * 4 * 4),
    ],
    ids=["grouped", "depthwise", "transposed"],
)
def test_convolutions_take_twice_as_many_backward(layer, shape, multiply_adds):
    forward, backward = forward_and_backward(layer, torch.randn(shape, requires_grad=True))
    assert forward.flops == 2 * multiply_adds
    assert backward.flops == 4 * multiply_adds


def test_attention_counts_on_a_cpu():
    query = torch.randn(2, 3, 16, 8, requires_grad=True)
    forward, backward = forward_and_backward(lambda q: F.scaled_dot_product_attention(q, q, q), query)
    assert forward.flops == 2 * 3 * 2 * (2 * 16 * 16 * 8)
    assert backward.flops == 2.5 * forward.flops, "scores once more, and two products for each of the two"


def test_operations_are_dispatched_ones():
    with counting() as so_far:
        _ = torch.ones(3) + 1
        assert so_far() == Count(0, 2)


def test_what_is_kept_for_a_backward_pass_counts_once_and_weights_do_not():
    layer = nn.Linear(10, 20)
    x = torch.randn(7, 10)
    with Kept(iter(layer.parameters())) as kept:
        y = layer(x).exp()  # keeps x, and its own result
        (y * 2 + y.square()).sum().backward()  # keeps the result again
        kept.passed()
        assert kept.most == 4 * (7 * 10 + 7 * 20)
        layer(x).sum().backward()
        kept.passed()
    assert kept.most == 4 * (7 * 10 + 7 * 20), "the largest of several"
