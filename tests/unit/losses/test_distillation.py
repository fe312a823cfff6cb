"""The sum of the terms, against the terms one by one."""

import pytest
import torch

from ccd_cli.config.distill import Loss
from ccd_cli.data.batch import StudentViews, TeacherViews
from ccd_cli.geometry.boxes import sample_boxes
from ccd_cli.losses.distillation import LabelMaps, Labels, Prediction, distillation_loss, match_grid
from ccd_cli.losses.gradient import gradient_loss
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.losses.terms import anchor_loss, drift, feature_loss, normalized_l1, reduce_loss

COUNT, PATCHES, SIZE = 2, 3, 32


def objective(maps, tokens, values, valid, boxes, rule, target_tokens=None, projection=None):
    """The loss on packed tensors, as it was first written.

    Returns `loss` and its named parts, unweighted and differentiable, and the detached `drift` and student statistics.
    maps [B*V,S,S]: the student's disparity of its views, all shared crops first. values, valid [B+B*P,S,S] or [B*P,S,S]:
    labels of the student's first views (where the teacher saw them), then of the patches. boxes [B,P,3]: the patches'
    footprints in the student's last view. tokens [B*V,L,C] and target_tokens [B,L',C']: patch features of square grids.
    """
    count = len(boxes)
    maps = maps.float()
    parts = {}
    first = len(values) - count * boxes.shape[1]
    pairs = []  # (student, label, valid) a context, the shared one first
    if rule.shared.weight:
        pairs.append((maps[:count], values[:count], valid[:count]))
        parts["shared"] = _context(*pairs[-1], rule.shared, rule.drop_worst)
    if rule.local_global.weight:
        seen = sample_boxes(maps[-count:], boxes, values.shape[-1])
        pairs.append((seen, values[first:], valid[first:]))
        parts["local_global"] = _context(*pairs[-1], rule.local_global, rule.drop_worst)
    main = pairs[0]
    if rule.gradient.weight:
        parts["gradient"] = gradient_loss(*main, scales=rule.gradient.scales)
    if rule.feature.weight and tokens is not None and target_tokens is not None:
        own = tokens[: len(target_tokens)].float()
        target = match_grid(target_tokens.float(), own.shape[1])
        parts["feature"] = feature_loss(own if projection is None else projection(own), target, rule.feature.margin)
    if rule.anchor.weight:
        parts["anchor"] = anchor_loss(*main)
    loss = torch.stack([getattr(rule, name).weight * part for name, part in parts.items()]).sum()
    _, median, mad = normalize_map(main[0].detach(), main[2])
    figures = {"drift": drift(*(t.detach() for t in main)), "student_median": median.mean(), "student_mad": mad.mean()}
    return {"loss": loss, **parts, **figures}


def _context(student, label, valid, rule, drop_worst):
    pixels = normalized_l1(student, label, valid, rule.normalization, rule.contexts, tuple(rule.levels))
    return reduce_loss(pixels, valid, drop_worst)


def named(maps, tokens, values, valid, boxes, target_tokens=None):
    """Return (prediction, labels, boxes) with the names of what the stacks hold."""
    count, patches = boxes.shape[:2]
    views = StudentViews(maps[:count], maps[count:] if len(maps) > count else None)
    prediction = Prediction(*views.split(maps), None if tokens is None else tokens[:count])
    split, known = (TeacherViews.split(each, count, patches) for each in (values, valid))
    shared = None if split.shared is None else LabelMaps(split.shared, known.shared)
    labels = LabelMaps(split.patches, known.patches)
    statistics = torch.tensor(0.0), torch.tensor(1.0)
    return prediction, Labels(shared, labels, target_tokens, "teacher", *statistics), boxes


def loss_of(maps, tokens, values, valid, boxes, config, target_tokens=None):
    return distillation_loss(*named(maps, tokens, values, valid, boxes, target_tokens), config)


CONFIGS = {
    "paper": {"local_global": {"weight": 0.5, "normalization": "local"}},
    "all": {"anchor": {"weight": 0.25}, "drop_worst": 0.1, "local_global": {"weight": 0.5, "normalization": "global"}},
    "local-global": {"shared": {"weight": 0.0}, "anchor": {"weight": 0.1}},
    "shared": {"local_global": {"weight": 0.0}, "gradient": {"weight": 0.0}},
}


@pytest.mark.parametrize("own_region", [False, True])
@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_named_tensors_give_what_the_packed_ones_gave_bit_for_bit(name, features, own_region):
    config, generator = Loss.model_validate(CONFIGS[name]), torch.Generator().manual_seed(len(name))
    patches = 0 if name == "shared" else PATCHES
    whole = COUNT if config.shared.weight or features else 0  # what the teacher saw beside the patches
    views = COUNT * (1 + own_region)
    maps = torch.rand(views, SIZE, SIZE, generator=generator)
    values = torch.rand(whole + COUNT * patches, SIZE, SIZE, generator=generator)
    valid = torch.rand(values.shape, generator=generator) > 0.1
    boxes = torch.rand(COUNT, patches, 3, generator=generator) * 0.3 + torch.tensor([0.0, 0.0, 0.4])
    tokens = torch.randn(views, 4, 6, generator=generator)
    targets = torch.randn(COUNT, 9, 5, generator=generator) if features else None
    projection = torch.nn.Linear(6, 5, bias=False)
    results = []
    for packed in (True, False):
        projection.zero_grad()
        student, own = maps.clone().requires_grad_(), tokens.clone().requires_grad_()
        if packed:
            got = objective(student, own, values, valid, boxes, config, targets, projection)
        else:
            prediction, labels, _ = named(student, projection(own[:COUNT]), values, valid, boxes, targets)
            got = distillation_loss(prediction, labels, boxes, config)
            assert (got.pop("label_median"), got.pop("label_mad")) == (labels.median, labels.mad)
        got["loss"].backward()
        gradients = [student.grad, own.grad if features else None, projection.weight.grad if features else None]
        results.append((got, gradients))
    (a, a_gradients), (b, b_gradients) = results
    assert list(a) == list(b)
    assert all(torch.equal(a[key], b[key]) for key in a)
    for one, two in zip(a_gradients, b_gradients, strict=True):
        assert one is two is None or torch.equal(one, two)


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
    got = loss_of(maps, tokens, values, valid, boxes, rule, targets)
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
    got = loss_of(maps, tokens, values[COUNT:], valid[COUNT:], boxes, only_local)
    assert "shared" not in got
    assert "feature" not in got  # no target was given
    assert got["loss"].item() == pytest.approx(got["local_global"].item())
    only_shared = Loss.model_validate({"local_global": {"weight": 0.0}, "gradient": {"weight": 0.0}})
    got = loss_of(maps, None, values[:COUNT], valid[:COUNT], boxes[:, :0], only_shared)
    assert got["loss"].item() == pytest.approx(got["shared"].item())


def test_own_region_is_the_last_view(inputs):
    maps, _, values, valid, boxes, _ = inputs
    views = torch.cat([maps.detach(), torch.rand(COUNT, SIZE, SIZE)])
    rule = Loss.model_validate({"gradient": {"weight": 0.0}})
    got = loss_of(views, None, values, valid, boxes, rule)
    seen = sample_boxes(views[COUNT:], boxes, SIZE)
    want = reduce_loss(normalized_l1(seen, values[COUNT:], valid[COUNT:], "hybrid"), valid[COUNT:])
    assert got["local_global"].item() == pytest.approx(want.item(), rel=1e-6)


def test_scale_and_shift_of_the_student_do_not_matter_without_the_anchor(inputs):
    maps, _, values, valid, boxes, _ = inputs
    rule = Loss()
    a = loss_of(maps.detach(), None, values, valid, boxes, rule)
    b = loss_of(maps.detach() * 37 + 5, None, values, valid, boxes, rule)
    for part in ("loss", "shared", "local_global", "gradient"):
        assert a[part].item() == pytest.approx(b[part].item(), rel=2e-3)
    assert (b["drift"] - a["drift"]).item() == pytest.approx(3.611, abs=1e-2)  # log 37


def test_labels_without_a_valid_pixel_still_give_a_finite_step(inputs):
    maps, _, values, valid, boxes, _ = inputs
    got = loss_of(maps, None, values, torch.zeros_like(valid), boxes, Loss())
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
    got = loss_of(maps, fine, values, valid, boxes, Loss(), coarse)
    assert got["feature"].item() == pytest.approx(0.0, abs=1e-6)


def test_labels_of_whole_views_that_are_only_for_features_are_left_out(inputs):
    maps, tokens, values, valid, boxes, targets = inputs
    rule = Loss.model_validate({"shared": {"weight": 0.0}, "gradient": {"weight": 0.0}})
    got = loss_of(maps, tokens, values, valid, boxes, rule, targets)
    again = loss_of(maps, tokens, values[COUNT:], valid[COUNT:], boxes, rule, targets)
    assert got["local_global"].item() == again["local_global"].item()
    assert got["feature"].item() == pytest.approx(feature_loss(tokens, targets).item())
