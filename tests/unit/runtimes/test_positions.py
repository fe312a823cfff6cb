"""Position embeddings by matrix products: what timm's own interpolation gives, at any size."""

import pytest
import torch
from timm.layers import resample_abs_pos_embed

from ccd_cli.models.portable import _fit_antialiased


@pytest.mark.parametrize("size", [[10, 10], [6, 9], [13, 7], [32, 40], [10, 20], [3, 2]])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_it_is_timms_interpolation(size, prefix):
    embedding = torch.randn(1, prefix + 100, 8, generator=torch.Generator().manual_seed(0))
    theirs = resample_abs_pos_embed(embedding, size, num_prefix_tokens=prefix)
    ours = _fit_antialiased(embedding, size, num_prefix_tokens=prefix)
    assert ours.shape == theirs.shape and (ours - theirs).abs().max() < 5e-6
