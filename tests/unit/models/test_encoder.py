import pytest
import torch

from ccd_cli.core.errors import UsageProblem
from ccd_cli.models.arch import get_arch, timm_arch
from ccd_cli.models.encoder import build_encoder, encode, has_detail, level_channels, resample_positions, tap_indices


def test_positions_are_the_embeddings_themselves_at_37_by_37():
    embedding = torch.randn(1, 1370, 8)
    assert resample_positions(embedding, 37, 37) is embedding


@pytest.mark.parametrize(("height", "width"), [(5, 7), (37, 36), (40, 40), (74, 111), (1, 1)])
def test_positions_are_resampled_with_the_authors_scale(height, width):
    embedding = torch.randn(1, 1370, 8)
    got = resample_positions(embedding, height, width)
    grid = embedding[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    scale = [(side + 0.1) / 37 for side in (height, width)]
    want = torch.nn.functional.interpolate(grid, scale_factor=scale, mode="bicubic", antialias=False)
    assert got.shape == (1, 1 + height * width, 8)
    assert torch.equal(got[:, 0], embedding[:, 0])
    assert torch.allclose(got[:, 1:], want.flatten(2).transpose(1, 2))


def test_at_its_own_grid_our_dinov2_path_is_timms():
    torch.manual_seed(0)
    arch = get_arch("depth-anything-v2-small")
    net = build_encoder(arch).eval()
    images = torch.randn(1, 3, 518, 518)
    with torch.no_grad():
        levels, tokens = encode(net, arch, images)
        want = net.forward_intermediates(images, indices=list(arch.taps), norm=True, intermediates_only=True)
    assert [tuple(x.shape) for x in levels] == [(1, 384, 37, 37)] * 4
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(levels, want, strict=True))
    assert torch.equal(tokens, levels[-1].flatten(2).transpose(1, 2))


def test_gradient_checkpointing_changes_nothing_but_memory():
    torch.manual_seed(0)
    arch = get_arch("depth-anything-v2-small")
    net = build_encoder(arch)
    images = torch.randn(1, 3, 28, 42)
    grads = []
    for enable in (False, True):
        net.set_grad_checkpointing(enable)
        net.zero_grad()
        encode(net, arch, images)[1].square().mean().backward()
        grads.append(net.patch_embed.proj.weight.grad.clone())
    assert torch.allclose(*grads, atol=1e-6)
    assert grads[0].abs().sum() > 0


def test_pyramids_keep_the_deepest_levels_and_the_one_of_stride_2():
    small = [32, 16, 24, 32, 336]
    for name, channels in {"mobilenetv4_conv_small_035": small, "test_convnext": [24, 32, 48, 64]}.items():
        arch = timm_arch(name)
        net = build_encoder(arch).eval()
        assert level_channels(net, arch) == channels
        levels, tokens = encode(net, arch, torch.zeros(1, 3, 64, 96))
        sizes = [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
        assert [tuple(x.shape[-2:]) for x in levels] == sizes[-len(channels) :]
        assert has_detail(net, arch) == (len(channels) == 5)
        assert tokens.shape == (1, 6, channels[-1])


def test_vit_taps_end_with_the_last_block():
    for name, depth in {"vit_tiny_patch16_224": 12, "test_vit": 6}.items():
        arch = timm_arch(name)
        net = build_encoder(arch)
        taps = tap_indices(net, arch)
        assert taps[-1] == depth - 1
        assert len(taps) == 4


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        (timm_arch("mobilenetv4_conv_smal"), "mobilenetv4_conv_small"),
        (timm_arch("swin_tiny_patch4_window7_224"), "cannot be used"),
        (timm_arch("test_resnet", layout="vit", out_channels=(8, 8, 8, 8)), "cannot be used|not a plain ViT"),
        (timm_arch("test_vit", layout="pyramid"), "no pyramid"),
        (timm_arch("test_vit", multiple=14), "do not divide"),
    ],
)
def test_encoders_that_do_not_fit_are_refused_by_name(arch, reason):
    with pytest.raises(UsageProblem, match=reason) as caught:
        build_encoder(arch)
    assert arch.encoder in caught.value.message


def test_a_tap_beyond_the_last_block_is_refused():
    import timm

    arch = timm_arch("test_vit", taps=(0, 9), out_channels=(8, 8))
    with pytest.raises(UsageProblem, match="block 9"):
        tap_indices(timm.create_model("test_vit"), arch)
