"""The normalized losses: equal to two plain ways of writing them, invariant, safe, equal to the HDN authors' code."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from ccd_cli.core.errors import UsageProblem
from ccd_cli.losses.terms import normalized_l1, reduce_loss

FAMILIES = ("range", "quantile", "grid")
NORMALIZED = ("global", "hybrid", "local")
TESTS = Path(__file__).resolve().parents[2]


def _load_plain() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain_losses", TESTS / "benchmarks" / "plain_losses.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plain = _load_plain()


def case(kind: str, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """pred, label, mask of one kind of difficulty; the batch mixes a full, a holed and a nearly empty map."""
    generator = torch.Generator().manual_seed(seed)
    shape = {"odd": (3, 37, 53), "sparse": (3, 24, 24), "tiny": (2, 5, 6)}.get(kind, (3, 32, 40))
    label = torch.randn(shape, generator=generator).exp()
    pred = 3 * label + 0.5 * torch.randn(shape, generator=generator) - 2
    mask = torch.rand(shape, generator=generator) > (0.9 if kind == "sparse" else 0.2)
    mask[0] = True
    if kind == "ties":
        pred, label = (2 * pred).round() / 2, (4 * label).round() / 4
    if kind == "flat":
        label[:, :16], pred[:, 8:24] = label.min(), 1.5
    return pred, label, mask


def loss_and_gradient(loss_map: Tensor, pred: Tensor, seed: int = 5) -> tuple[Tensor, Tensor]:
    """The loss map and the gradient of its sum under random weights."""
    weights = torch.rand(loss_map.shape, generator=torch.Generator().manual_seed(seed))
    (gradient,) = torch.autograd.grad((loss_map * weights).sum() + 0 * pred.sum(), pred)
    return loss_map.detach(), gradient


@pytest.mark.parametrize("kind", ["plain", "odd", "sparse", "tiny", "ties", "flat"])
@pytest.mark.parametrize("contexts", FAMILIES)
@pytest.mark.parametrize("normalization", NORMALIZED)
@pytest.mark.parametrize("variant", ["ccd", "hdn"])
def test_fused_equals_both_plain_versions(kind: str, contexts: str, normalization: str, variant: str) -> None:
    pred, label, mask = case(kind)
    if kind == "flat" and variant == "hdn":
        pytest.skip("without a floor a flat context divides by 1e-6: equality means nothing there")
    levels = plain.levels_of(normalization, (1, 2, 4))
    results = []
    for loss in (plain.indexed, plain.whole_map, None):
        leaf = pred.clone().requires_grad_()
        if loss is None:
            loss_map = normalized_l1(leaf, label, mask, normalization, contexts, (1, 2, 4), variant)
        else:
            loss_map = loss(leaf, label, mask, contexts, levels, variant, exclude_largest=normalization != "global")
        results.append(loss_and_gradient(loss_map, leaf))
    (b_loss, b_gradient), (a_loss, a_gradient), (loss, gradient) = results
    assert torch.allclose(loss, b_loss, atol=1e-5) and torch.allclose(loss, a_loss, atol=1e-5)
    scale = b_gradient.abs().max().clamp_min(1)
    assert ((gradient - b_gradient).abs().max() / scale).item() < 1e-5
    if kind in ("plain", "odd", "sparse"):  # with ties `nanmedian` gives the median's gradient to one holder of several
        assert ((gradient - a_gradient).abs().max() / scale).item() < 1e-5


@pytest.mark.parametrize("contexts", FAMILIES)
def test_levels_that_do_not_nest(contexts: str) -> None:
    pred, label, mask = case("odd")
    leaf, other = pred.clone().requires_grad_(), pred.clone().requires_grad_()
    levels = (1, 2, 3, 4)
    loss, gradient = loss_and_gradient(normalized_l1(leaf, label, mask, "hybrid", contexts, levels), leaf)
    wanted, wanted_gradient = loss_and_gradient(plain.indexed(other, label, mask, contexts, levels, "ccd"), other)
    assert torch.allclose(loss, wanted, atol=1e-5)
    assert torch.allclose(gradient, wanted_gradient, atol=1e-5 * wanted_gradient.abs().max().item())


@pytest.mark.parametrize("contexts", FAMILIES)
@pytest.mark.parametrize("normalization", NORMALIZED)
def test_gradient_against_finite_differences(contexts: str, normalization: str) -> None:
    generator = torch.Generator().manual_seed(2)
    label = torch.rand(2, 9, 12, generator=generator, dtype=torch.float64)
    pred = torch.rand(2, 9, 12, generator=generator, dtype=torch.float64).requires_grad_()
    mask = torch.rand(2, 9, 12, generator=generator) > 0.1

    def loss(x: Tensor) -> Tensor:
        return normalized_l1(x, label, mask, normalization, contexts, (1, 2))

    assert torch.autograd.gradcheck(loss, (pred,), eps=1e-8, atol=1e-5)


@pytest.mark.parametrize("contexts", FAMILIES)
@pytest.mark.parametrize("normalization", NORMALIZED)
@pytest.mark.parametrize(("scale", "shift"), [(0.01, 0.0), (30.0, -4.0), (1.0, 100.0)])
def test_student_scale_and_shift_do_not_matter(contexts: str, normalization: str, scale: float, shift: float) -> None:
    pred, label, mask = case("plain")
    wanted = normalized_l1(pred, label, mask, normalization, contexts)
    assert torch.allclose(normalized_l1(scale * pred + shift, label, mask, normalization, contexts), wanted, atol=2e-4)
    same = normalized_l1(scale * label + shift, label, mask, normalization, contexts)
    assert same.abs().max() < 2e-4


def test_none_is_the_raw_difference() -> None:
    pred, label, mask = case("plain")
    assert torch.equal(normalized_l1(pred, label, mask, "none"), torch.where(mask, (pred - label).abs(), 0.0))


@pytest.mark.parametrize("normalization", [*NORMALIZED, "none"])
@pytest.mark.parametrize("contexts", FAMILIES)
@pytest.mark.parametrize("variant", ["ccd", "hdn"])
def test_invalid_pixels_give_no_loss_and_no_gradient(normalization: str, contexts: str, variant: str) -> None:
    pred, label, mask = case("plain")
    clean = normalized_l1(pred, label, mask, normalization, contexts, variant=variant)
    pred, label = pred.masked_fill(~mask, torch.nan).requires_grad_(), label.masked_fill(~mask, torch.nan)
    loss_map = normalized_l1(pred, label, mask, normalization, contexts, variant=variant)
    reduce_loss(loss_map, mask).backward()
    assert torch.equal(loss_map, clean) and (loss_map[~mask] == 0).all()
    assert pred.grad is not None and pred.grad.isfinite().all() and (pred.grad[~mask] == 0).all()


@pytest.mark.parametrize("normalization", [*NORMALIZED, "none"])
@pytest.mark.parametrize("contexts", FAMILIES)
def test_nothing_valid_gives_a_zero_that_backpropagates(normalization: str, contexts: str) -> None:
    pred = torch.full((2, 6, 6), torch.nan, requires_grad=True)
    mask = torch.zeros(2, 6, 6, dtype=torch.bool)
    loss = reduce_loss(normalized_l1(pred, pred.detach(), mask, normalization, contexts), mask)
    loss.backward()
    assert loss.item() == 0 and pred.grad is not None and (pred.grad == 0).all()


@pytest.mark.parametrize("contexts", FAMILIES)
@pytest.mark.parametrize("flat", ["pred", "label", "both"])
def test_flat_maps_neither_explode_nor_give_nan(contexts: str, flat: str) -> None:
    pred, label, mask = case("plain")
    if flat != "label":
        pred = torch.full_like(pred, 0.3)
    if flat != "pred":
        label = torch.full_like(label, 7.0)
    pred.requires_grad_()
    loss_map = normalized_l1(pred, label, mask, "hybrid", contexts)
    reduce_loss(loss_map, mask).backward()
    assert loss_map.isfinite().all() and loss_map.mean() < 3
    assert pred.grad is not None and pred.grad.isfinite().all() and pred.grad.abs().sum() < 10


def test_noise_on_a_flat_context_is_not_blown_up() -> None:
    """A sky of one value: with the floor the student's rounding noise there costs next to nothing."""
    _, label, _ = case("plain")
    label[:, :10] = 0.0
    noise = 1e-5 * torch.randn(label.shape, generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(label, dtype=torch.bool)
    loss = normalized_l1(label + noise, label, mask, "local", "grid", (4,))
    assert loss[:, :8].max() < 0.05
    assert normalized_l1(label + noise, label, mask, "local", "grid", (4,), "hdn")[:, :8].max() > 0.5


def test_contexts_under_16_pixels_are_skipped() -> None:
    pred, label, mask = case("plain")
    mask[1] = False
    mask[1].view(-1)[:15] = True
    loss = normalized_l1(pred, label, mask, "hybrid")
    assert (loss[1] == 0).all() and loss[0].sum() > 0
    assert normalized_l1(pred, label, mask, "hybrid", variant="hdn")[1].sum() > 0


def test_runs_are_bit_identical() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.rand(2, 200, 300, generator=generator)
    mask, noise = torch.rand(2, 200, 300, generator=generator) > 0.1, torch.rand(2, 200, 300, generator=generator)
    runs = []
    for _ in range(3):
        pred = (label + noise).requires_grad_()
        loss = reduce_loss(normalized_l1(pred, label, mask, "hybrid"), mask)
        loss.backward()
        runs.append((loss.item(), pred.grad))
    assert all(loss == runs[0][0] and torch.equal(gradient, runs[0][1]) for loss, gradient in runs)


def test_half_precision_is_computed_in_float32() -> None:
    pred, label, mask = case("plain")
    half = pred.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss_map = normalized_l1(half, label, mask, "hybrid")
    assert loss_map.dtype == torch.float32
    assert torch.equal(loss_map, normalized_l1(half.detach().float(), label, mask, "hybrid"))
    loss_map.sum().backward()
    assert half.grad is not None and half.grad.dtype == torch.bfloat16


def test_transposed_maps_are_accepted() -> None:
    pred, label, mask = case("odd")
    turned = [x.transpose(1, 2) for x in (pred.requires_grad_(), label, mask)]
    loss = normalized_l1(*turned, "hybrid")
    assert torch.allclose(loss.transpose(1, 2), normalized_l1(pred, label, mask, "hybrid"), atol=1e-5)
    loss.sum().backward()
    assert pred.grad is not None and pred.grad.isfinite().all()


def test_unknown_names_and_shapes_are_refused() -> None:
    pred, label, mask = case("tiny")
    with pytest.raises(UsageProblem, match="normalization"):
        normalized_l1(pred, label, mask, "median")
    with pytest.raises(UsageProblem, match="contexts"):
        normalized_l1(pred, label, mask, "hybrid", "depth")
    with pytest.raises(UsageProblem, match="distinct"):
        normalized_l1(pred, label, mask, "hybrid", levels=(1, 1))
    with pytest.raises(ValueError, match="shape"):
        normalized_l1(pred[0], label, mask, "hybrid")
    with pytest.raises(ValueError, match="bool"):
        normalized_l1(pred, label, mask.float(), "hybrid")


HDN = np.load(TESTS / "golden" / "losses" / "hdn.npz")
RESULTS = [
    (name, key)
    for name in ("small", "sparse", "large")
    for key in ("ssi", *(f"hdn_{c}_3levels" for c in ("dr", "dp", "ds")))
]


@pytest.mark.parametrize(("name", "result"), [r for r in RESULTS if "_".join(r) in HDN.files])
def test_agrees_with_the_hdn_authors(name: str, result: str) -> None:
    pred, label, mask = (torch.from_numpy(HDN[f"{name}_{part}"])[:, 0] for part in ("pred", "gt", "mask"))
    contexts = {"dr": "range", "dp": "quantile", "ds": "grid"}.get(result[4:6], "range")
    loss_map = normalized_l1(pred, label, mask, "global" if result == "ssi" else "hybrid", contexts, variant="hdn")
    assert reduce_loss(loss_map, mask).item() == pytest.approx(float(HDN[f"{name}_{result}"]), abs=1e-6)
