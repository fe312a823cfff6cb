"""A batch in parts, over micro-steps or processes, has the loss and the gradients of the whole batch."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ccd_cli.config.distill import Loss
from ccd_cli.losses.distillation import LabelMaps, Labels, Prediction, counts, distillation_loss, whole_batch
from ccd_cli.losses.log_depth import log_gradient_loss, log_l1_loss, silog_loss

IMAGES, PATCHES, SIDE = 4, 2, 32
FRACTIONS = (1.0, 0.6, 0.3, 0.0)  # of the pixels of each image's labels that are valid


def batch():
    """Labels of which some are nearly empty and one is flat, so that means of means are wrong."""
    torch.manual_seed(0)
    maps = torch.rand(IMAGES * (1 + PATCHES), SIDE, SIDE).cumsum(1)
    share = torch.tensor(FRACTIONS).repeat(1 + PATCHES)[:, None, None]
    valid = torch.rand(len(maps), SIDE, SIDE) < share
    maps[1] = 3.0
    student = torch.randn(IMAGES, SIDE, SIDE, requires_grad=True)
    boxes = torch.rand(IMAGES, PATCHES, 3) * 0.3 + torch.tensor([0.0, 0.0, 0.4])
    shape = (IMAGES, PATCHES, SIDE, SIDE)
    tokens = torch.randn(IMAGES, 16, 8, requires_grad=True), torch.randn(IMAGES, 16, 8)
    shared = LabelMaps(maps[:IMAGES], valid[:IMAGES])
    return student, tokens, shared, LabelMaps(maps[IMAGES:].view(shape), valid[IMAGES:].view(shape)), boxes


def losses(config, parts, averages=None):
    """Return the loss over `parts` (slices of images), and the gradients; `averages` plays the mean over processes."""
    student, (tokens, target), shared, patches, boxes = batch()
    made = []
    for part in parts:
        labels = Labels(
            LabelMaps(shared.values[part], shared.valid[part]),
            LabelMaps(patches.values[part], patches.valid[part]),
            target[part],
            "t",
            torch.zeros(()),
            torch.ones(()),
            LabelMaps(0.5 + shared.values[part], shared.valid[part]),
            LabelMaps((shared.values[part] > 5).float(), shared.valid[part]),
        )
        depth = student[part].exp()
        made.append(
            (Prediction(student[part], student[part], tokens[part], depth, -student[part]), labels, boxes[part])
        )
    whole = (
        None if len(parts) == 1 else whole_batch([each[1] for each in made], config, averages or (lambda mean: mean))
    )
    found = [distillation_loss(*each, config, whole) for each in made]
    means = {name: sum(each[name] for each in found) / len(found) for name in found[0]}
    means["loss"].backward()
    return {k: v.detach() for k, v in means.items()}, (student.grad, tokens.grad)


CONFIGS = [
    {"feature": {"weight": 0.0}},
    {"feature": {"weight": 0.0}, "drop_worst": 0.1, "anchor": {"weight": 0.5}},
    {"feature": {"weight": 0.0}, "gradient": {"weight": 2.0, "form": "mean"}, "shared": {"normalization": "global"}},
    {"feature": {"weight": 0.0}, "shared": {"weight": 0.0}, "local_global": {"weight": 1.0, "normalization": "local"}},
    {"feature": {"weight": 0.0}, "depth": {"weight": 3.0, "l1": 0.5}},
    {"feature": {"weight": 0.0}, "sky": {"weight": 3.0}},
    {
        "depth": {"weight": 1.0, "focus": 0.85},
        **{name: {"weight": 0.0} for name in ("shared", "local_global", "feature", "gradient")},
    },
]


@pytest.mark.parametrize("values", CONFIGS)
@pytest.mark.parametrize("cuts", [(0, 2, 4), (0, 1, 2, 3, 4)])
def test_parts_have_the_loss_and_the_gradient_of_the_whole(values, cuts):
    config = Loss.model_validate(values)
    wanted, gradients = losses(config, [slice(0, IMAGES)])
    parts = [slice(a, b) for a, b in pairwise(cuts)]
    got, own = losses(config, parts)
    for name in (
        "loss",
        "shared",
        "local_global",
        "gradient",
        "anchor",
        "depth",
        "sky",
        "drift",
        "student_median",
        "student_mad",
    ):
        if name in wanted:
            assert got[name].item() == pytest.approx(wanted[name].item(), rel=1e-5, abs=1e-7), name
    assert torch.allclose(own[0], gradients[0], rtol=1e-4, atol=1e-7)


def test_the_mean_of_means_is_not_the_loss():
    """What the counts are for: without them these parts disagree with the whole."""
    config = Loss.model_validate(CONFIGS[0])
    wanted, _ = losses(config, [slice(0, IMAGES)])
    alone = [losses(config, [slice(i, i + 1)])[0]["loss"] for i in range(IMAGES)]
    assert abs(torch.stack(alone).mean() - wanted["loss"]) > 0.01


def test_feature_tokens_are_counted_over_processes():
    config = Loss.model_validate({"feature": {"weight": 1.0}, "local_global": {"weight": 0.0}})
    wanted = losses(config, [slice(0, IMAGES)])[0]["feature"]
    _, (tokens, target), *_ = batch()
    below = [(torch.cosine_similarity(tokens[i], target[i], dim=-1) <= config.feature.margin).sum() for i in range(4)]
    mean = torch.stack(below).float().mean()
    got = losses(config, [slice(i, i + 1) for i in range(4)], lambda each: mean if each.ndim == 0 else each)[0][
        "feature"
    ]
    assert got.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_counts_are_those_of_the_labels():
    _, (_, target), shared, patches, _ = batch()
    labels = Labels(shared, patches, target, "t", torch.zeros(()), torch.ones(()))
    found = counts(labels, Loss.model_validate({"drop_worst": 0.5}))
    per_map = shared.valid.sum(dim=(1, 2))
    assert found["shared"] == (per_map - (per_map * 0.5).long()).sum()
    assert found["gradient"].tolist() == [int(shared.valid[:, :: 2**k, :: 2**k].sum()) for k in range(4)]
    assert found["maps"] == 2  # one is flat, one is empty


def test_depth_alone_is_its_three_terms():
    config = Loss.model_validate(CONFIGS[6] | {"depth": {"weight": 2.0, "focus": 0.85, "l1": 0.3, "gradient": 0.7}})
    student, (tokens, target), shared, patches, boxes = batch()
    truth = LabelMaps(0.5 + shared.values, shared.valid)
    labels = Labels(shared, patches, target, "t", torch.zeros(()), torch.ones(()), truth)
    found = distillation_loss(Prediction(student, student, tokens, student.exp()), labels, boxes, config)
    maps = (student.exp(), truth.values, truth.valid)
    parts = silog_loss(*maps, 0.85) + 0.3 * log_l1_loss(*maps) + 0.7 * log_gradient_loss(*maps)
    assert found["depth"].item() == pytest.approx(parts.item(), rel=1e-6)
    assert found["loss"].item() == pytest.approx(2 * parts.item(), rel=1e-6)
    assert not {"shared", "local_global", "gradient", "feature"} & set(found)
