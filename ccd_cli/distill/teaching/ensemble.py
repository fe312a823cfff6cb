"""Several teachers as one source of labels, all in disparity at unit scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ccd_cli.config.common import Noise
from ccd_cli.core.errors import TeacherError
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.data.batch import Batch, TeacherViews
from ccd_cli.data.corruptions import corrupt_labels, replace_wrong, rescale
from ccd_cli.distill.teaching.passes import Passes
from ccd_cli.distill.teaching.precomputed import PrecomputedLabels
from ccd_cli.losses.disparity import fit_affine_depth, to_disparity
from ccd_cli.losses.distillation import LabelMaps, Labels
from ccd_cli.losses.masks import flat_maps, saturated_mask
from ccd_cli.losses.normalize import normalize_map, statistics, unit_scale
from ccd_cli.teachers.base import Teacher

AVERAGE = -1
"""Index that stands for the mean of all teachers."""


@dataclass(frozen=True)
class ViewLabels:
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
    """A loaded teacher, its weight, for affine depth the index of the teacher it is fitted to, and noise for its labels.

    `errors` is the network whose errors `noise.errors_of` puts there. `device` and `batch`: see `Passes`.
    """

    teacher: Teacher
    weight: float
    fit_to: int | None = None
    noise: Noise = field(default_factory=Noise)
    errors: Teacher | None = None
    device: str | None = None
    batch: int | None = None


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


class TeacherEnsemble:
    """Draws and asks teachers; see the recipe's `teachers`, `mixing` and `masks`."""

    def __init__(
        self,
        members: Sequence[Member],
        mixing: str = "select",
        saturated_fraction: float | None = 0.01,
        drop_flat: bool = True,
        seed: int = 0,
        region_unit: bool = False,
    ) -> None:
        """`saturated_fraction` None keeps clipped values; `drop_flat` masks whole labels without relief; `seed` is the run's;
        `region_unit` divides labels of patches by the deviation of their region's.
        """
        self.members, self.mixing, self.region_unit = list(members), mixing, region_unit
        self._passes = [Passes(member.teacher, member.device, member.batch) for member in members]
        self._errors = {
            i: Passes(member.errors, member.device, member.batch)
            for i, member in enumerate(members)
            if member.errors is not None
        }
        self.saturated_fraction, self.drop_flat, self.seed = saturated_fraction, drop_flat, seed
        weights = np.array([member.weight for member in self.members], np.float64)
        self.fractions = weights / weights.sum()

    @property
    def networks(self) -> list[Teacher]:
        """Return all that labels come from: the teachers, then networks whose errors they get; for licenses and hashes."""
        errors = [member.errors for member in self.members if member.errors is not None]
        return [*(member.teacher for member in self.members), *{net.name: net for net in errors}.values()]

    @property
    def passes(self) -> list[Passes]:
        """Return what asks the networks; for trials before the first step."""
        every = [*self._passes, *self._errors.values()]
        return [each for each in every if not isinstance(each.teacher, PrecomputedLabels)]

    def draw(self, step: int) -> int:
        """Return the index of the teacher of a step, by weight, or AVERAGE when labels are means of all."""
        if self.mixing != "select":
            return AVERAGE
        generator = np.random.default_rng(step_seed(self.seed, Draw.TEACHER, step))
        return int(generator.choice(len(self.members), p=self.fractions))

    def needed(self, index: int) -> list[int]:
        """Return the teachers whose maps the labels of teacher `index` (or AVERAGE) are made of."""
        asked = range(len(self.members)) if index == AVERAGE else [index]
        fits = [self.members[i].fit_to for i in asked]
        return sorted({*asked, *(fit for fit in fits if fit is not None)})

    def label(self, batch: Batch, index: int, features: bool = False, noise_seed: int = 0) -> Labels:
        """Label a batch with teacher `index` or AVERAGE; see `label_views`. `features`: those of the shared views."""
        images, patches = batch.boxes.shape[:2]
        made = self.label_views(
            None if batch.teacher is None else batch.teacher.stack(),
            index,
            images if features else 0,
            {teacher: maps.stack() for teacher, maps in batch.precomputed.items()},
            noise_seed,
            images if self.region_unit else 0,
        )
        values, valid = (TeacherViews.split(each, images, patches) for each in (made.values, made.valid))
        shared = None
        if values.shared is not None and valid.shared is not None:
            shared = LabelMaps(values.shared, valid.shared)
        return Labels(
            shared, LabelMaps(values.patches, valid.patches), made.tokens, made.teacher, made.median, made.mad
        )

    @torch.no_grad()
    def label_views(
        self,
        views: Tensor | None,
        index: int,
        feature_views: int = 0,
        precomputed: Mapping[int, Tensor] | None = None,
        noise_seed: int = 0,
        regions: int = 0,
    ) -> ViewLabels:
        """Label views [N,3,H,W], uint8 or in 0..1, with teacher `index`, or with the mean of all of them for AVERAGE.

        The primary teacher's features of the first `feature_views` views come along; they cost nothing where the primary
        teacher labels, else one encoder pass over those views. precomputed holds the maps [N,H,W] of the teachers (by
        index) that are `PrecomputedLabels`, in their own kind and scale, NaN where unknown; with such teachers alone, views
        may be None. noise_seed decides the errors of teachers that have `noise`. With `regions` R > 0 the first R views are the
        regions of the others, which follow region by region and are divided by their region's deviation.
        """
        tokens = None
        if index == AVERAGE:
            made = [
                self._disparity(i, views, feature_views if i == 0 else 0, precomputed, noise_seed)
                for i in range(len(self.members))
            ]
            tokens = made[0][2]
            mean = _average if self.mixing == "average" else _average_raw
            raw, valid = mean([m[0] for m in made], [m[1] for m in made], self.fractions)
            name = "average"
        else:
            raw, valid, tokens = self._disparity(
                index, views, feature_views if index == 0 else 0, precomputed, noise_seed
            )
            name = self.members[index].teacher.name
            if feature_views and index != 0 and views is not None:
                tokens = self._passes[0].features(views[:feature_views])
        if self.drop_flat:
            valid = valid & ~flat_maps(raw, valid)[:, None, None]
        _, median, mad = normalize_map(raw, valid)
        values = unit_scale(raw, valid) if not regions else _region_scale(raw, valid, regions)
        if index != AVERAGE:
            noise = self.members[index].noise
            values = rescale(values, noise_seed, noise.scale_jitter, noise.shift_jitter)
        return ViewLabels(values, valid, tokens, name, median.mean(), mad.mean())

    def _disparity(
        self,
        index: int,
        views: Tensor | None,
        feature_views: int,
        precomputed: Mapping[int, Tensor] | None,
        noise_seed: int,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return (disparity, valid, tokens) of one teacher at its own scale; clipped values are not valid."""
        member = self.members[index]
        label, tokens = self._ask(index, views, feature_views, precomputed)
        kind = str(member.teacher.kind)
        if member.fit_to is not None:
            label, kind = fit_affine_depth(label, self._ask(member.fit_to, views, 0, precomputed)[0]), "depth"
        values, valid = to_disparity(label, kind)
        if index in self._errors:
            assert views is not None, "the errors of a network need views"
            wrong = self._errors[index].predict(views).to(values)
            values = replace_wrong(values, valid, wrong, member.noise.errors_over)
        values = corrupt_labels(values, valid, noise_seed + index, member.noise.outliers, member.noise.blur)
        if self.saturated_fraction is not None:
            valid = saturated_mask(values, valid, self.saturated_fraction, far_limit=kind != "disparity")
        return values, valid, tokens

    def _ask(
        self, index: int, views: Tensor | None, feature_views: int, precomputed: Mapping[int, Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return (map, tokens) of one teacher in its own kind and scale."""
        teacher = self.members[index].teacher
        if isinstance(teacher, PrecomputedLabels):
            if precomputed is None or index not in precomputed:
                raise TeacherError(f"The maps of the teacher `{teacher.name}` are not known for these images.")
            return precomputed[index], None
        assert views is not None, "a network needs views"
        return self._passes[index].predict_with_features(views, feature_views)


def _average(maps: list[Tensor], valid: list[Tensor], fractions: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the pixel mean of normalized labels, weighted by fraction and by agreement exp(-|d - mean|)."""
    normal = torch.stack([normalize_map(m, v)[0] for m, v in zip(maps, valid, strict=True)])
    seen = torch.stack(valid).float()
    normal = torch.where(seen > 0, normal, 0.0)
    center = (normal * seen).sum(0) / seen.sum(0).clamp_min(1.0)
    weight = (
        seen
        * torch.exp(-(normal - center).abs())
        * torch.from_numpy(fractions).to(normal, non_blocking=True)[:, None, None, None]
    )
    total = weight.sum(0)
    return (normal * weight).sum(0) / total.clamp_min(1e-12), total > 0


def _average_raw(maps: list[Tensor], valid: list[Tensor], fractions: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the pixel mean of labels in their teachers' own scales, by fraction, where all of them are valid."""
    weights = torch.from_numpy(fractions).to(maps[0], non_blocking=True)[:, None, None, None]
    everywhere = torch.stack(valid).all(0)
    return torch.where(everywhere, (torch.stack(maps) * weights).sum(0), 0.0), everywhere


def _region_scale(raw: Tensor, valid: Tensor, regions: int) -> Tensor:
    """Return labels [R+R*P,H,W] over the mean absolute deviation of their region, one of the first R."""
    scale = statistics(raw[:regions], valid[:regions])[2]
    patches = len(raw) // regions - 1
    return raw / torch.cat([scale, scale.repeat_interleave(patches)])[:, None, None]
