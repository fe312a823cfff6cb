"""Several teachers as one source of labels, all in disparity at unit scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ccd_cli.core.domain import fit_affine_depth, to_disparity
from ccd_cli.core.errors import TeacherError
from ccd_cli.core.label_masks import flat_maps, saturated_mask
from ccd_cli.core.normalize import normalize_map, unit_scale
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.truth import Truth

EVERYONE = -1
"""Index that stands for the mean of all teachers."""


@dataclass(frozen=True)
class Labels:
    """Labels of a stack of views: disparity [N,H,W] at unit scale (MAD 1), valid [N,H,W] bool, and who made them.

    `tokens` [T,L,C] are the primary teacher's patch features of the first T views, if they were asked for. `median` and
    `mad` (scalars) are means over the views of the raw label's statistics, in the teacher's own scale of disparity.
    """

    values: Tensor
    valid: Tensor
    tokens: Tensor | None
    teacher: str
    median: Tensor
    mad: Tensor


@dataclass(frozen=True)
class Member:
    """A loaded teacher, its weight, and for affine depth the index of the teacher it is fitted to."""

    teacher: Teacher
    weight: float
    fit_to: int | None = None


def reference_for(kinds: Sequence[str], index: int, names: Sequence[str], fit_to: str | None) -> int | None:
    """Return the index of the teacher that an affine-depth teacher is fitted to; None for other kinds.

    Raises TeacherError, before any time is spent, where there is none of kind depth or metric.
    """
    if kinds[index] != "affine-depth":
        if fit_to is not None:
            raise TeacherError(f"{names[index]} has kind {kinds[index]} and needs no `fit_to`.", "Remove the key.")
        return None
    wanted = [i for i, kind in enumerate(kinds) if kind in ("depth", "metric") and fit_to in (None, names[i])]
    if not wanted:
        named = f"'{fit_to}' has kind {kinds[list(names).index(fit_to)]}" if fit_to else "the recipe has none"
        raise TeacherError(
            f"{names[index]} gives affine depth (unknown shift), which becomes disparity only by a fit to a teacher of kind "
            f"depth or metric; {named}.",
            "Add one, for instance depth-anything-3-mono-large, or use a teacher of kind disparity.",
        )
    return wanted[0]


class Panel:
    """Draws and asks teachers; see the recipe's `teachers`, `mixing` and `masks`."""

    def __init__(
        self,
        members: Sequence[Member],
        mixing: str = "select",
        saturated_share: float | None = 0.01,
        drop_flat: bool = True,
    ) -> None:
        """`saturated_share` None keeps plateaus; `drop_flat` masks whole labels without relief."""
        self.members, self.mixing = list(members), mixing
        self.saturated_share, self.drop_flat = saturated_share, drop_flat
        weights = np.array([member.weight for member in self.members], np.float64)
        self._shares = weights / weights.sum()

    def draw(self, seed: int) -> int:
        """Return the index of the teacher of a step, by weight, or EVERYONE when mixing is `average`."""
        if self.mixing == "average":
            return EVERYONE
        return int(np.random.default_rng(seed).choice(len(self.members), p=self._shares))

    @torch.no_grad()
    def label(self, views: Tensor, index: int, feature_views: int = 0, truth: Tensor | None = None) -> Labels:
        """Label views [N,3,H,W] in 0..1 with teacher `index`, or with the mean of all of them for EVERYONE.

        The primary teacher's features of the first `feature_views` views come along; they cost nothing where the primary
        teacher labels, else one encoder pass over those views. truth [N,H,W] is the true disparity of the views, which
        is what the teacher `Truth` answers.
        """
        tokens = None
        if index == EVERYONE:
            made = [self._disparity(i, views, feature_views if i == 0 else 0, truth) for i in range(len(self.members))]
            tokens = made[0][2]
            raw, valid = _average([m[0] for m in made], [m[1] for m in made], self._shares)
            name = "average"
        else:
            raw, valid, tokens = self._disparity(index, views, feature_views if index == 0 else 0, truth)
            name = self.members[index].teacher.name
            if feature_views and index != 0:
                tokens = self.members[0].teacher.features(views[:feature_views])
        if self.saturated_share is not None:
            valid = saturated_mask(raw, valid, self.saturated_share)
        if self.drop_flat:
            valid = valid & ~flat_maps(raw, valid)[:, None, None]
        _, median, mad = normalize_map(raw, valid)
        return Labels(unit_scale(raw, valid), valid, tokens, name, median.mean(), mad.mean())

    def _disparity(
        self, index: int, views: Tensor, feature_views: int, truth: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return (disparity, valid, tokens) of one teacher at its own scale."""
        member = self.members[index]
        if isinstance(member.teacher, Truth):
            if truth is None:
                raise TeacherError("The true depth of these images is not known.")
            return *to_disparity(truth, "disparity"), None
        tokens = None
        if feature_views:
            label, tokens = member.teacher.predict_with_features(views)
            tokens = None if tokens is None else tokens[:feature_views]
        else:
            label = member.teacher.predict(views)
        kind = str(member.teacher.kind)
        if member.fit_to is not None:
            reference = self.members[member.fit_to].teacher.predict(views)
            label, kind = fit_affine_depth(label, reference), "depth"
        return *to_disparity(label, kind), tokens


def _average(maps: list[Tensor], valid: list[Tensor], shares: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the pixel mean of normalised labels, weighted by share and by agreement exp(-|d - mean|)."""
    normal = torch.stack([normalize_map(m, v)[0] for m, v in zip(maps, valid, strict=True)])
    seen = torch.stack(valid).float()
    normal = torch.where(seen > 0, normal, 0.0)
    centre = (normal * seen).sum(0) / seen.sum(0).clamp_min(1.0)
    weight = (
        seen
        * torch.exp(-(normal - centre).abs())
        * torch.tensor(shares, dtype=normal.dtype, device=normal.device)[:, None, None, None]
    )
    total = weight.sum(0)
    return (normal * weight).sum(0) / total.clamp_min(1e-12), total > 0
