"""Bringing labels to disparity."""

import numpy as np
import pytest
import torch

from ccd_cli.core.errors import TeacherError
from ccd_cli.losses.disparity import fit_affine_depth, to_disparity


def test_depth_and_metric_become_one_over_d():
    depth = torch.tensor([[[1.0, 2.0, 4.0], [0.0, float("nan"), float("inf")]]])
    for kind in ("depth", "metric"):
        disparity, valid = to_disparity(depth, kind)
        assert disparity[0, 0].tolist() == [1.0, 0.5, 0.25]
        assert valid[0].tolist() == [[True, True, True], [False, False, True]]
        assert disparity[0, 1].tolist() == [0.0, 0.0, 0.0]


def test_disparity_stays_and_affine_depth_is_refused():
    disparity, valid = to_disparity(torch.tensor([[[3.0, float("nan")]]]), "disparity")
    assert disparity.tolist() == [[[3.0, 0.0]]]
    assert valid.tolist() == [[[True, False]]]
    with pytest.raises(TeacherError, match="affine"):
        to_disparity(torch.ones(1, 2, 2), "affine-depth")


def test_affine_fit_recovers_scale_and_shift_despite_outliers():
    rng = np.random.default_rng(0)
    true = torch.from_numpy(rng.uniform(1, 20, (3, 40, 40)))
    affine = (true - 2.5) / 30
    corrupted = affine.clone()
    corrupted[:, :8] = torch.from_numpy(rng.uniform(0, 1, (3, 8, 40)))  # a fifth of every map is wrong
    fitted = fit_affine_depth(corrupted, true)
    assert torch.allclose(fitted[:, 8:], true[:, 8:].float(), rtol=1e-2)


def test_affine_fit_refuses_a_map_of_the_wrong_order():
    true = torch.linspace(1, 10, 400).reshape(1, 20, 20)
    assert torch.isnan(fit_affine_depth(-true, true)).all()
    assert torch.isnan(fit_affine_depth(torch.full_like(true, 0.3), true)).all()
