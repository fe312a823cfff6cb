import copy

import pytest
import torch

from ccd_cli.core.errors import UsageProblem
from ccd_cli.models.arch import get_arch, timm_arch
from ccd_cli.models.depth_net import DepthNet, farthest_sky, fill_sky, finite_sky
from ccd_cli.models.dpt import activate

STUDENTS = {
    "conv": timm_arch("mobilenetv4_conv_small_035", features=32),
    "convnext": timm_arch("test_convnext", features=16),
    "vit": timm_arch("vit_tiny_patch16_224", features=32),
    "short vit": timm_arch("test_vit", features=16, taps=(2, 5), out_channels=(24, 16)),
    "published": get_arch("depth-anything-v2-small"),
    "metric": timm_arch("test_convnext", features=16, kind="metric", activation="sigmoid", max_depth=10.0),
    "exp": timm_arch("test_convnext", features=16, kind="depth", activation="exp", sky=True),
    "softplus": timm_arch("test_vit", features=16, activation="softplus"),
}


@pytest.mark.parametrize("name", STUDENTS)
def test_a_scratch_student_is_alive_from_the_first_step(name):
    arch = STUDENTS[name]
    for seed in range(1 if name == "published" else 3):
        torch.manual_seed(seed)
        model = DepthNet(arch)
        images = model.normalize(torch.rand(2, 3, 3 * arch.multiple, 5 * arch.multiple))
        depth, sky, tokens = model.forward_all(images)
        assert depth.shape == (2, 3 * arch.multiple, 5 * arch.multiple)
        assert depth.dtype == torch.float32
        assert (depth > 0).float().mean() > 0.9
        assert depth.std() > 1e-3 * depth.mean()
        assert tokens.shape == (2, model.features(images).shape[1], model.feature_width)
        loss = (depth - torch.rand_like(depth)).abs().mean() + (0 if sky is None else sky.mean())
        loss.backward()
        for part in (model.encoder_parameters(), model.head_parameters()):
            grads = [p.grad for p in part]
            assert grads
            assert all(g is not None and torch.isfinite(g).all() and g.abs().sum() > 0 for g in grads)


def test_parameters_are_split_without_gap_or_overlap():
    model = DepthNet(get_arch("depth-anything-v2-small"))
    encoder, head = ({id(p) for p in part} for part in (model.encoder_parameters(), model.head_parameters()))
    left = [n for n, p in model.named_parameters() if id(p) not in encoder | head]
    assert not encoder & head
    assert left == [f"head.fuse.3.side.conv{i}.{k}" for i in (1, 2) for k in ("weight", "bias")]
    assert not any(p.requires_grad for n, p in model.named_parameters() if n in left)


def test_a_constant_output_is_not_the_price_of_being_alive():
    torch.manual_seed(0)
    model = DepthNet(STUDENTS["conv"])
    dead = DepthNet(STUDENTS["conv"])
    with torch.no_grad():
        dead.head.final[1].bias.fill_(-10.0)
    images = torch.randn(1, 3, 64, 64)
    dead(images).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in dead.parameters())  # what the initialization avoids
    assert model(images).std() > 0


def test_few_steps_reduce_a_loss():
    torch.manual_seed(0)
    model = DepthNet(STUDENTS["conv"])
    images = torch.randn(2, 3, 64, 96)
    target = torch.linspace(0.5, 2.0, 96).expand(2, 64, 96)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        loss = (model(images) - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_autocast_and_channels_last_change_little():
    torch.manual_seed(0)
    for name in ("conv", "short vit"):
        model = DepthNet(STUDENTS[name]).eval()
        images = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            plain = model(images)
            last = copy.deepcopy(model).to(memory_format=torch.channels_last)
            assert torch.allclose(last(images.contiguous(memory_format=torch.channels_last)), plain, atol=1e-4)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                half = model(images)
        assert half.dtype == torch.float32
        assert (half - plain).abs().max() < 0.1
        assert len(half.unique()) > 300  # bfloat16 between 0.5 and 1 has 128 values


def test_with_features_is_the_same_pass():
    torch.manual_seed(0)
    model = DepthNet(STUDENTS["short vit"]).eval()
    images = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        depth, tokens = model.forward_with_features(images)
        assert torch.equal(depth, model(images))
        assert torch.equal(tokens, model.features(images))
    assert tokens.shape == (2, 6, 64)


def test_normalize_uses_the_archs_statistics_and_no_file_stores_them():
    model = DepthNet(timm_arch("test_convnext", mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.1)))
    got = model.normalize(torch.full((1, 3, 1, 1), 0.5)).flatten()
    assert torch.allclose(got, torch.tensor([0.0, 0.4, 2.0]))
    assert not {"mean", "std"} & set(model.state_dict())


@pytest.mark.parametrize("shape", [(1, 3, 65, 64), (1, 3, 64, 0), (3, 64, 64), (1, 1, 64, 64)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UsageProblem, match="multiples of 32"):
        DepthNet(STUDENTS["convnext"])(torch.zeros(shape))


def loop_fill(depth, sky):
    out = depth.clone()
    for i in range(len(depth)):
        marked = sky[i] >= 0.3
        if marked.sum() > 10 and (~marked).sum() > 10:
            out[i][marked] = torch.quantile(depth[i][~marked], 0.99)
    return out


def test_fill_sky_is_a_plain_loop_over_images():
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(7, 13, 17, generator=generator) * 5
    sky = torch.rand(7, 13, 17, generator=generator)
    sky[1] = 0.0  # no sky
    sky[2] = 1.0  # nothing but sky
    sky[3] = 0.0
    sky[3].view(-1)[:10] = 1.0  # ten pixels of sky are too few
    sky[4] = 1.0
    sky[4].view(-1)[:11] = 0.0  # eleven other pixels are enough
    sky[5] = 0.3  # the threshold itself is sky
    sky[5, :6] = 0.29
    filled = fill_sky(depth, sky)
    assert torch.allclose(filled, loop_fill(depth, sky), atol=1e-6)
    for unchanged in (1, 2, 3):
        assert torch.equal(filled[unchanged], depth[unchanged])
    assert not torch.equal(filled[4], depth[4])
    assert filled.shape == depth.shape
    assert torch.equal(fill_sky(depth[:1], sky[:1])[0], filled[0])  # no image looks at another
    assert torch.equal(finite_sky(depth, sky, "depth"), filled)
    assert finite_sky(depth, None, "depth") is depth
    low = finite_sky(depth, sky, "disparity")
    marked = sky >= 0.3
    for i in range(len(depth)):
        assert (low[i][marked[i]] == depth[i].min()).all() and torch.equal(low[i][~marked[i]], depth[i][~marked[i]])
    far = farthest_sky(depth, sky, "metric")
    assert torch.equal(torch.isinf(far), marked) and torch.equal(far[~marked], depth[~marked])
    assert torch.equal(farthest_sky(depth, sky, "disparity"), low)


def test_a_network_whose_output_is_zero_everywhere_still_learns_to_rise():
    x = torch.tensor([-2.0, -1.0, 0.5, 2.0], requires_grad=True)
    made = activate(x, "relu", None)
    assert torch.equal(made.detach(), torch.relu(x.detach()))
    made.backward(torch.tensor([-1.0, 1.0, 1.0, -1.0]))  # the first should rise, the second is as low as it gets
    assert x.grad.tolist() == [-1.0, 0.0, 1.0, -1.0]
    assert not activate(x.detach(), "relu", None).requires_grad
