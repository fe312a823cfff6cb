"""Pixels that count less: every term against a plain version."""

import pytest
import torch

from ccd_cli.config.distill import Loss
from ccd_cli.losses.distillation import LabelMaps, Labels, Prediction, distillation_loss, whole_batch
from ccd_cli.losses.gradient import gradient_counts, gradient_loss
from ccd_cli.losses.log_depth import log_gradient_loss, log_l1_loss, silog_loss
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.losses.terms import normalized_l1, reduce_loss


@pytest.fixture
def maps():
    torch.manual_seed(0)
    student, label = torch.rand(2, 12, 12) + 0.5, torch.rand(2, 12, 12) + 0.5
    return student, label, torch.rand(2, 12, 12) < 0.8, torch.rand(2, 12, 12)


def pairs(maps, weights):
    """Sum of |difference| times the lesser weight over neighbors, and the sum of weights, pixel by pixel."""
    total, count = 0.0, 0.0
    for b in range(maps.shape[0]):
        for y in range(maps.shape[1]):
            for x in range(maps.shape[2]):
                count += weights[b, y, x]
                for v, u in ((y, x + 1), (y + 1, x)):
                    if v < maps.shape[1] and u < maps.shape[2]:
                        weight = min(weights[b, y, x], weights[b, v, u])
                        total += weight * abs(maps[b, y, x] - maps[b, v, u])
    return total / count


def test_each_term_against_a_plain_weighted_one(maps):
    student, label, valid, weights = maps
    w = torch.where(valid, weights, 0.0).double()
    pixels = normalized_l1(student, label, valid, "global")
    assert reduce_loss(pixels, valid, weights=weights) == pytest.approx(((pixels * w).sum() / w.sum()).item(), rel=1e-5)
    d = student.double().log() - label.double().log()
    assert log_l1_loss(student, label, valid, weights=weights) == pytest.approx(
        ((d.abs() * w).sum() / w.sum()).item(), rel=1e-5
    )
    wanted = []
    for b in range(2):
        mean, square = ((each[b] * w[b]).sum() / w[b].sum() for each in (d, d * d))
        wanted.append((square - 0.5 * mean**2).sqrt())
    assert silog_loss(student, label, valid, 0.5, weights=weights) == pytest.approx(sum(wanted).item() / 2, rel=1e-5)
    assert log_gradient_loss(student, label, valid, 1, weights=weights) == pytest.approx(pairs(d, w).item(), rel=1e-5)
    difference = normalize_map(student, valid)[0] - normalize_map(label, valid)[0]
    assert gradient_loss(student, label, valid, 1, weights=weights) == pytest.approx(
        pairs(torch.where(valid, difference, 0.0).double(), w).item(), rel=1e-5
    )
    with pytest.raises(ValueError, match="weights"):
        reduce_loss(pixels, valid, 0.1, weights=weights)


def test_equal_weights_change_nothing_and_zero_is_a_hole(maps):
    student, label, valid, _ = maps
    ones, holes = torch.ones_like(student), (torch.arange(12) % 3 > 0).float().expand(2, 12, 12)
    for term in (gradient_loss, silog_loss, log_l1_loss, log_gradient_loss):
        plain = term(student, label, valid)
        assert term(student, label, valid, weights=2 * ones) == pytest.approx(plain.item(), rel=1e-5)
        if term is not gradient_loss:  # which normalizes over holes too
            cut = term(student, label, valid & (holes > 0))
            assert term(student, label, valid, weights=holes) == pytest.approx(cut.item(), rel=1e-5)
    assert torch.equal(gradient_counts(valid.float()).long(), gradient_counts(valid))


def test_parts_of_a_batch_give_the_loss_of_the_whole(maps):
    student, label, valid, weights = maps
    config = Loss.model_validate(
        {"local_global": {"weight": 0}, "depth": {"weight": 1, "l1": 0.5}, "feature": {"weight": 0}}
    )

    def labels(part):
        each = LabelMaps(label[part], valid[part], weights[part])
        none = LabelMaps(label[part, None][:, :0], valid[part, None][:, :0])
        return Labels(each, none, None, "x", label.mean(), label.mean(), each)

    def loss(part, whole=None):
        prediction = Prediction(student[part], student[part], depth=student[part])
        return distillation_loss(prediction, labels(part), torch.zeros(1, 0, 3), config, whole)["loss"]

    parts = [slice(0, 1), slice(1, 2)]
    whole = whole_batch([labels(part) for part in parts], config, lambda value: value)
    assert sum(loss(part, whole) for part in parts) / 2 == pytest.approx(loss(slice(0, 2)).item(), rel=1e-5)
