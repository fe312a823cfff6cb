"""The sum of the terms, against the terms one by one."""

import pytest
import torch

from ccd_cli.config.distill import Loss
from ccd_cli.geometry.boxes import sample_boxes
from ccd_cli.losses.distillation import match_grid, objective
from ccd_cli.losses.gradient import gradient_loss
from ccd_cli.losses.terms import anchor_loss, feature_loss, normalized_l1, reduce_loss

COUNT, PATCHES, SIZE = 2, 3, 32


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    maps = torch.rand(COUNT, SIZE, SIZE, requires_grad=True)
    values = torch.rand(COUNT + COUNT * PATCHES, SIZE, SIZE)
    valid = torch.rand_like(values) > 0.1
    boxes = torch.tensor([0.1, 0.2, 0.6]).expand(COUNT, PATCHES, 3)
    tokens, targets = torch.randn(COUNT, 4, 6, requires_grad=True), torch.randn(COUNT, 4, 6)
    return maps, tokens, values, valid, boxes, targets


def test_loss_is_the_weighted_sum_of_its_parts(inputs):
    maps, tokens, values, valid, boxes, targets = inputs
    rule = Loss.model_validate(
        {"anchor": {"weight": 0.25}, "local_global": {"weight": 0.5, "normalization": "global"}, "drop_worst": 0.1}
    )
    got = objective(maps, tokens, values, valid, boxes, rule, targets)
    seen = sample_boxes(maps, boxes, SIZE)
    shared = reduce_loss(normalized_l1(maps, values[:COUNT], valid[:COUNT], "hybrid"), valid[:COUNT], 0.1)
    local = reduce_loss(normalized_l1(seen, values[COUNT:], valid[COUNT:], "global"), valid[COUNT:], 0.1)
    gradient = gradient_loss(maps, values[:COUNT], valid[:COUNT])
    feature, anchor = feature_loss(tokens, targets), anchor_loss(maps, values[:COUNT], valid[:COUNT])
    want = shared + 0.5 * local + 2.0 * gradient + 1.0 * feature + 0.25 * anchor
    assert got["loss"].item() == pytest.approx(want.item(), rel=1e-6)
    assert {"shared", "local_global", "gradient", "feature", "anchor", "drift", "student_median", "student_mad"} < set(
        got
    )
    got["loss"].backward()
    assert torch.isfinite(maps.grad).all()
    assert maps.grad.abs().sum() > 0
    assert tokens.grad.abs().sum() > 0


def test_contexts_that_are_off_cost_and_count_nothing(inputs):
    maps, tokens, values, valid, boxes, _ = inputs
    only_local = Loss.model_validate(
        {"shared": {"weight": 0.0}, "local_global": {"weight": 1.0}, "gradient": {"weight": 0.0}}
    )
    got = objective(maps, tokens, values[COUNT:], valid[COUNT:], boxes, only_local)
    assert "shared" not in got
    assert "feature" not in got  # no target was given
    assert got["loss"].item() == pytest.approx(got["local_global"].item())
    only_shared = Loss.model_validate({"local_global": {"weight": 0.0}, "gradient": {"weight": 0.0}})
    got = objective(maps, None, values[:COUNT], valid[:COUNT], boxes[:, :0], only_shared)
    assert got["loss"].item() == pytest.approx(got["shared"].item())


def test_own_region_is_the_last_view(inputs):
    maps, _, values, valid, boxes, _ = inputs
    views = torch.cat([maps.detach(), torch.rand(COUNT, SIZE, SIZE)])
    rule = Loss.model_validate({"gradient": {"weight": 0.0}})
    got = objective(views, None, values, valid, boxes, rule)
    seen = sample_boxes(views[COUNT:], boxes, SIZE)
    want = reduce_loss(normalized_l1(seen, values[COUNT:], valid[COUNT:], "hybrid"), valid[COUNT:])
    assert got["local_global"].item() == pytest.approx(want.item(), rel=1e-6)


def test_scale_and_shift_of_the_student_do_not_matter_without_the_anchor(inputs):
    maps, _, values, valid, boxes, _ = inputs
    rule = Loss()
    a = objective(maps.detach(), None, values, valid, boxes, rule)
    b = objective(maps.detach() * 37 + 5, None, values, valid, boxes, rule)
    for part in ("loss", "shared", "local_global", "gradient"):
        assert a[part].item() == pytest.approx(b[part].item(), rel=2e-3)
    assert (b["drift"] - a["drift"]).item() == pytest.approx(3.611, abs=1e-2)  # log 37


def test_labels_without_a_valid_pixel_still_give_a_finite_step(inputs):
    maps, _, values, valid, boxes, _ = inputs
    got = objective(maps, None, values, torch.zeros_like(valid), boxes, Loss())
    got["loss"].backward()
    assert got["loss"].item() == 0
    assert (maps.grad == 0).all()


def test_features_of_another_grid_are_resized(inputs):
    maps, _, values, valid, boxes, _ = inputs
    coarse = torch.randn(COUNT, 4, 6)
    fine = match_grid(coarse, 16)
    plain = torch.nn.functional.interpolate(
        coarse.transpose(1, 2).reshape(COUNT, 6, 2, 2), size=(4, 4), mode="bilinear"
    )
    assert torch.allclose(fine, plain.flatten(2).transpose(1, 2), atol=1e-6)
    assert match_grid(coarse, 4) is coarse
    got = objective(maps, fine, values, valid, boxes, Loss(), coarse)
    assert got["feature"].item() == pytest.approx(0.0, abs=1e-6)


def test_labels_of_whole_views_that_are_only_for_features_are_left_out(inputs):
    maps, tokens, values, valid, boxes, targets = inputs
    rule = Loss.model_validate({"shared": {"weight": 0.0}, "gradient": {"weight": 0.0}})
    got = objective(maps, tokens, values, valid, boxes, rule, targets)
    again = objective(maps, tokens, values[COUNT:], valid[COUNT:], boxes, rule, targets)
    assert got["local_global"].item() == again["local_global"].item()
    assert got["feature"].item() == pytest.approx(feature_loss(tokens, targets).item())
