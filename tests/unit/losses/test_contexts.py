"""Contexts: how a label cuts its map."""

import numpy as np
import pytest
import torch

from ccd_cli.core.errors import UsageProblem
from ccd_cli.losses.contexts import chains, check_contexts, layouts, nested_ids


def context_ids(label, mask, segments, contexts="range", variant="ccd"):
    """The context of each pixel at one level."""
    check_contexts(contexts, (segments,), variant)
    return nested_ids(label, mask, contexts, (segments,), variant)


def label_and_mask(shape: tuple[int, int, int] = (2, 23, 31), seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) > 0.25


def test_chains_keep_divisors_together() -> None:
    assert chains((1, 2, 4)) == [(4, 2, 1)]
    assert chains((1, 2, 3, 4)) == [(4, 2, 1), (3,)]
    assert chains((5,)) == [(5,)]


def test_range_ids_are_equal_parts_of_the_value_range() -> None:
    label, mask = label_and_mask()
    ids, total = context_ids(label, mask, 4, "range")
    assert total == 4 and (ids[~mask] == 4).all()
    for i in range(len(label)):
        values = label[i][mask[i]].double()
        wanted = ((values - values.min()) / (values.max() - values.min()) * 4).floor().clamp(max=3)
        assert torch.equal(ids[i][mask[i]].double(), wanted)


def test_quantile_ids_agree_with_numpy() -> None:
    label, mask = label_and_mask()
    label = (label * 8).round()  # ties stay together
    for segments in (2, 4, 8):
        ids, _ = context_ids(label, mask, segments, "quantile")
        for i in range(len(label)):
            values = label[i][mask[i]].double().numpy()
            edges = np.quantile(values, np.linspace(0, 1, segments + 1))[1:-1]
            assert np.array_equal(ids[i][mask[i]].numpy(), np.searchsorted(edges, values, side="right"))


def test_quantile_contexts_have_equal_counts() -> None:
    label, mask = label_and_mask((1, 60, 70))
    counts = torch.bincount(context_ids(label, mask, 4, "quantile")[0].flatten().int(), minlength=5)[:4]
    assert counts.max() - counts.min() <= 1


def test_grid_ids_are_cells() -> None:
    label = torch.zeros(1, 5, 9)
    ids, total = context_ids(label, torch.ones(1, 5, 9, dtype=torch.bool), 2, "grid")
    assert total == 4
    assert ids[0, :, 0].tolist() == [0, 0, 0, 2, 2] and ids[0, 4].tolist() == [2] * 5 + [3] * 4


@pytest.mark.parametrize("contexts", ["range", "quantile", "grid"])
@pytest.mark.parametrize("variant", ["ccd", "hdn"])
def test_slices_of_a_layout_are_the_contexts_of_each_level(contexts: str, variant: str) -> None:
    label, mask = label_and_mask()
    found = layouts(label, mask, contexts, (4, 2, 1), variant)
    for level, segments in enumerate((4, 2, 1)):
        ids, total = context_ids(label, mask, segments, contexts, variant)
        for i, layout in enumerate(found):
            slices = {frozenset(layout.order[a:b].tolist()) for a, b in layout.spans[level]}
            wanted = {frozenset((ids[i].flatten() == k).nonzero()[:, 0].tolist()) for k in range(total)}
            assert slices == wanted - {frozenset()}


def test_many_cells_take_the_sorting_path() -> None:
    label, mask = label_and_mask((2, 64, 64))
    for segments in (8, 16):
        for layout in layouts(label, mask, "grid", (segments, segments // 2), "ccd"):
            assert sum(b - a for a, b in layout.spans[0]) == len(layout.order) == len(set(layout.order.tolist()))
            assert len(layout.spans[0]) == segments**2 and len(layout.spans[1]) == segments**2 // 4


def test_rule_hdn_leaves_out_the_largest_pixel() -> None:
    label, mask = label_and_mask()
    for contexts, missing in (("range", 1), ("quantile", 1), ("grid", 0)):
        for layout, valid in zip(layouts(label, mask, contexts, (4, 2, 1), "hdn"), mask, strict=True):
            assert len(layout.order) == valid.sum() - missing


@pytest.mark.parametrize(
    ("contexts", "segments", "variant"), [("depth", 2, "ccd"), ("range", 0, "ccd"), ("range", 2, "x")]
)
def test_unknown_names_are_refused(contexts: str, segments: int, variant: str) -> None:
    label, mask = label_and_mask()
    with pytest.raises(UsageProblem):
        context_ids(label, mask, segments, contexts, variant)
