"""Activation checkpointing: the same numbers, fewer bytes kept for the backward pass, a plain refusal where it is not offered."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ccd_cli.core.errors import UsageProblem
from ccd_cli.models.arch import get_arch, timm_arch
from ccd_cli.models.checkpointing import checkpoint_encoder
from ccd_cli.models.depth_net import DepthNet

ENCODERS = {
    "dinov2": (lambda: get_arch("depth-anything-v2-small"), 28),
    "vit": (lambda: timm_arch("test_vit", features=16), 32),
    "pyramid with batch norms": (lambda: timm_arch("tf_efficientnet_lite0", features=16), 64),
    "pyramid with layer norms": (lambda: timm_arch("test_convnext", features=16), 64),
    "attention pyramid": (lambda: timm_arch("mvitv2_tiny", features=16), 64),
}


def one_pass(net: DepthNet, images: torch.Tensor) -> tuple[float, dict[str, torch.Tensor], int]:
    """(loss, gradients, bytes of distinct storages that the forward pass keeps for the backward pass, parameters apart)."""
    held, own = {}, {p.untyped_storage().data_ptr() for p in net.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(5)  # of drop path
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps, tokens = net.forward_with_features(images)
    loss = (maps * torch.linspace(0, 1, maps.numel()).view_as(maps)).mean() + tokens.square().mean()
    loss.backward()
    return loss.item(), {name: p.grad for name, p in net.named_parameters() if p.grad is not None}, sum(held.values())


@pytest.mark.parametrize("name", ENCODERS)
def test_losses_gradients_and_statistics_stay_and_the_bytes_fall(name):
    arch, side = ENCODERS[name][0](), ENCODERS[name][1]
    torch.manual_seed(0)
    plain = DepthNet(arch).train()
    saving = copy.deepcopy(plain)
    checkpoint_encoder(saving)
    images = torch.randn(2, 3, side, 2 * side)
    loss, gradients, held = one_pass(plain, images)
    loss_2, gradients_2, held_2 = one_pass(saving, images)
    assert loss_2 == pytest.approx(loss, rel=1e-6)
    assert gradients.keys() == gradients_2.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradients_2[key], gradient, rtol=1e-6, atol=1e-6)
    assert held_2 < 0.8 * held
    for key, value in plain.named_buffers():
        torch.testing.assert_close(dict(saving.named_buffers())[key], value, rtol=0, atol=0)
    assert all(m.momentum > 0 for m in saving.modules() if isinstance(m, nn.BatchNorm2d))


def test_statistics_move_at_all():
    net = DepthNet(timm_arch("tf_efficientnet_lite0", features=16)).train()
    before = [buffer.clone() for buffer in net.encoder.buffers()]
    checkpoint_encoder(net)
    one_pass(net, torch.randn(2, 3, 64, 64))
    assert not any(torch.equal(a, b) for a, b in zip(before, net.encoder.buffers(), strict=True))


def test_an_encoder_without_it_is_refused():
    net = DepthNet(timm_arch("test_vit", features=16))

    def refuse(enable: bool = True) -> None:
        assert not enable, "gradient checkpointing not supported"  # the words of timm's models

    net.encoder.set_grad_checkpointing = refuse
    with pytest.raises(UsageProblem, match=r"student\.checkpointing: the encoder 'test_vit' does not offer"):
        checkpoint_encoder(net)
