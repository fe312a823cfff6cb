"""Several teachers as one source of labels, all in disparity at unit scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ccd_cli.core.errors import TeacherError
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.data.batch import Batch, TeacherViews
from ccd_cli.data.corruptions import corrupt_labels, missing_pixels, replace_wrong, rescale
from ccd_cli.distill.teaching.members import DepthUnit, Member
from ccd_cli.distill.teaching.passes import Passes
from ccd_cli.distill.teaching.precomputed import PrecomputedLabels
from ccd_cli.losses.completion import complete, notes_of
from ccd_cli.losses.disparity import fit_affine_depth, to_disparity
from ccd_cli.losses.distillation import LabelMaps, Labels
from ccd_cli.losses.masks import flat_maps, saturated_mask
from ccd_cli.losses.normalize import normalize_map, statistics, unit_scale
from ccd_cli.losses.sky import is_sky
from ccd_cli.teachers.base import Teacher

AVERAGE = -1
"""Index that stands for the mean of all teachers."""


@dataclass(frozen=True)
class ViewLabels:
    """Labels of a stack of views: disparity [N,H,W] at unit scale (MAD 1), valid [N,H,W] bool, and who made them.

    `weights` [N,H,W]: how much each pixel counts, None: all alike. `raw`: what they were made of, None for an average.
    `tokens` [T,L,C] are the primary teacher's patch features of the first T views, if they were asked for. `median` and
    `mad` (scalars) are means over the views of the raw label's statistics, in the teacher's own scale of disparity.
    """

    values: Tensor
    valid: Tensor
    tokens: Tensor | None
    teacher: str
    median: Tensor
    mad: Tensor
    weights: Tensor | None = None
    raw: Raw | None = None


@dataclass(frozen=True)
class Raw:
    """Disparity [N,H,W] of one teacher at its own scale, where it is valid (bool), and the patch features that came along.

    `weights` [N,H,W]: how much each pixel counts, None: all alike. Where holes were filled, `measured` [N,H,W] bool is what was no
    hole, and `in_reach` where depth is known (`losses.completion`).

    `sky`: where sky is (values 0 and 1), if the teacher was asked and knows. `notes`: scalars for the log.
    """

    values: Tensor
    valid: Tensor
    tokens: Tensor | None = None
    weights: Tensor | None = None
    measured: Tensor | None = None
    in_reach: Tensor | None = None
    sky: LabelMaps | None = None
    notes: dict[str, Tensor] = field(default_factory=dict)


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
        depth: DepthUnit | None = None,
    ) -> None:
        """`saturated_fraction` None keeps clipped values; `drop_flat` masks whole labels without relief; `seed` is the run's;
        `region_unit` divides labels of patches by the deviation of their region's; `depth`: labels hold depth too, in that unit.
        """
        self.members, self.mixing, self.region_unit, self.depth = list(members), mixing, region_unit, depth
        self._passes = [Passes(member.teacher, member.device, member.batch) for member in members]
        self._errors = {
            i: Passes(member.errors, member.device, member.batch)
            for i, member in enumerate(members)
            if member.errors is not None
        }
        self._fillers = {
            i: Passes(member.fill.teacher, member.device, member.batch)
            for i, member in enumerate(members)
            if member.fill is not None
        }
        self.saturated_fraction, self.drop_flat, self.seed = saturated_fraction, drop_flat, seed
        weights = np.array([member.weight for member in self.members], np.float64)
        self.fractions = weights / weights.sum()

    @property
    def networks(self) -> list[Teacher]:
        """Return all that labels come from: the teachers, then networks that fill holes or whose errors they get."""
        beside = [m.fill.teacher for m in self.members if m.fill is not None]
        beside += [m.errors for m in self.members if m.errors is not None]
        teachers = [member.teacher for member in self.members]
        known = {net.name for net in teachers}
        return [*teachers, *{net.name: net for net in beside if net.name not in known}.values()]

    @property
    def passes(self) -> list[Passes]:
        """Return what asks the networks; for trials before the first step."""
        every = [*self._passes, *self._fillers.values(), *self._errors.values()]
        return [each for each in every if not isinstance(each.teacher, PrecomputedLabels)]

    def draw(self, step: int) -> int:
        """Return the index of the teacher of a step, by weight, or AVERAGE when labels are means of all."""
        if self.mixing != "select":
            return AVERAGE
        generator = np.random.default_rng(step_seed(self.seed, Draw.TEACHER, step))
        return int(generator.choice(len(self.members), p=self.fractions))

    @property
    def _counted(self) -> list[int]:
        """The teachers of which a mean is made: those of weight 0 are there for others to be fitted to."""
        return [i for i, fraction in enumerate(self.fractions) if fraction > 0]

    def needed(self, index: int) -> list[int]:
        """Return the teachers whose maps the labels of teacher `index` (or AVERAGE) are made of."""
        asked = self._counted if index == AVERAGE else [index]
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
        parts = [made.values, made.valid, *(() if made.weights is None else (made.weights,))]
        split = [TeacherViews.split(each, images, patches) for each in parts]
        shared = [each.shared for each in split if each.shared is not None]
        return Labels(
            LabelMaps(*shared) if shared else None,
            LabelMaps(*(each.patches for each in split)),
            made.tokens,
            made.teacher,
            made.median,
            made.mad,
            self._depth(made.raw, index, images, batch.focal) if shared else None,
            _sky(made, images) if shared and any(member.sky for member in self.members) else None,
            {} if made.raw is None else made.raw.notes,
        )

    def _depth(self, raw: Raw | None, index: int, images: int, focal: Tensor | None) -> LabelMaps | None:
        """The depth of the shared views, the first `images` ones, in the student's unit; None where the teacher does not know it.

        `focal` [B]: focal lengths in pixels of the views, NaN where unknown. Depth up to a scale has the geometric mean 1 on each.
        """
        if self.depth is None or raw is None:
            return None
        member = self.members[index]
        if self.depth.metric and not member.metric:
            return None
        if not member.metric and member.teacher.kind == "disparity":
            return None  # its shift is unknown
        values, valid = raw.values[:images], raw.valid[:images]
        weights = None if raw.weights is None else raw.weights[:images]
        valid = valid & (values > 0)
        if raw.in_reach is not None:
            valid = valid & raw.in_reach[:images]
        depth = 1.0 / torch.where(valid, values, 1.0)
        if self.depth.max_depth is not None and raw.measured is not None:  # no fill beyond what the student can say
            valid = valid & (raw.measured[:images] | (depth < self.depth.max_depth))
        if not self.depth.metric:
            mean = (depth.log() * valid).sum((1, 2)) / valid.sum((1, 2)).clamp_min(1)
            depth = depth / mean.exp()[:, None, None]
        elif self.depth.canonical_focal is not None:
            assert focal is not None
            factor = (self.depth.canonical_focal / focal)[:, None, None]
            valid = valid & torch.isfinite(factor)
            depth = depth * torch.where(torch.isfinite(factor), factor, 1.0)
        return LabelMaps(depth, valid, weights)

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
        raw = None
        if index == AVERAGE:
            made = [
                self._disparity(i, views, feature_views if i == 0 else 0, precomputed, noise_seed)
                for i in self._counted
            ]
            tokens, weights, name = made[0].tokens, None, "average"
            fractions, maps = self.fractions[self._counted], [m.values for m in made]
            if self.mixing == "average":  # each is normalized, which makes noise of one that is flat
                values, valid = _average(maps, [self._with_relief(m.values, m.valid) for m in made], fractions)
            else:
                values, valid = _average_raw(maps, [m.valid for m in made], fractions)
            primary = 0 in self._counted
        else:
            raw = self._disparity(index, views, feature_views if index == 0 else 0, precomputed, noise_seed)
            values, valid, tokens, weights = raw.values, raw.valid, raw.tokens, raw.weights
            name, primary = self.members[index].teacher.name, index == 0
        if feature_views and not primary and views is not None:
            tokens = self._passes[0].features(views[:feature_views])
        valid = self._with_relief(values, valid)
        if regions:  # of a flat region there is no unit
            there = valid[:regions].flatten(1).any(1)
            valid = valid & torch.cat([there, there.repeat_interleave(len(valid) // regions - 1)])[:, None, None]
        _, median, mad = normalize_map(values, valid)
        scaled = unit_scale(values, valid) if not regions else _region_scale(values, valid, regions)
        if index != AVERAGE:
            noise = self.members[index].noise
            scaled = rescale(scaled, noise_seed, noise.scale_jitter, noise.shift_jitter)
        return ViewLabels(scaled, valid, tokens, name, median.mean(), mad.mean(), weights, raw)

    def _with_relief(self, values: Tensor, valid: Tensor) -> Tensor:
        """Where maps [N,H,W] are `valid`, without those that are flat if such are to be dropped."""
        return valid & ~flat_maps(values, valid)[:, None, None] if self.drop_flat else valid

    def _disparity(
        self,
        index: int,
        views: Tensor | None,
        feature_views: int,
        precomputed: Mapping[int, Tensor] | None,
        noise_seed: int,
    ) -> Raw:
        """Return the disparity of one teacher at its own scale; clipped values are not valid, holes are filled."""
        member = self.members[index]
        label, tokens, sky = self._ask(index, views, feature_views, precomputed)
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
            far_limit = kind != "disparity" and not member.measured
            valid = saturated_mask(values, valid, self.saturated_fraction, far_limit)
        valid = missing_pixels(valid, noise_seed + index, member.noise.missing)
        weights, measured, in_reach, notes = None, None, None, {}
        if member.fill is not None:
            assert views is not None, "a network needs views"
            filler, rule = self._fillers[index].predict(views).to(values), member.fill
            made = complete(values, valid, filler, str(rule.teacher.kind), rule.min_points, rule.max_error)
            notes = notes_of(made)
            values, valid, measured, in_reach = made.values, made.valid, made.measured, made.in_reach
            if rule.weight < 1:
                weights = torch.where(made.measured, 1.0, rule.weight)
        if member.full_weight_to is not None:
            near = torch.where(values > 0, (values * member.full_weight_to).square().clamp_max(1.0), 1.0)
            weights = near if weights is None else weights * near
        return Raw(values, valid, tokens, weights, measured, in_reach, sky, notes)

    def _ask(
        self, index: int, views: Tensor | None, feature_views: int, precomputed: Mapping[int, Tensor] | None
    ) -> tuple[Tensor, Tensor | None, LabelMaps | None]:
        """Return (map, tokens, sky) of one teacher, the map in its own kind and scale."""
        teacher, wanted = self.members[index].teacher, self.members[index].sky
        if isinstance(teacher, PrecomputedLabels):
            if precomputed is None or index not in precomputed:
                raise TeacherError(f"The maps of the teacher `{teacher.name}` are not known for these images.")
            exact = precomputed[index]
            return exact, None, LabelMaps((exact == 0).float(), torch.isfinite(exact)) if wanted else None
        assert views is not None, "a network needs views"
        made, tokens, score = self._passes[index].predict_with_features(views, feature_views, wanted)
        if score is None:
            return made, tokens, None
        return made, tokens, LabelMaps(is_sky(score).float(), torch.isfinite(score))


def _sky(made: ViewLabels, images: int) -> LabelMaps:
    """What is sky in the shared views, the first `images` ones; unknown everywhere where the teacher does not know it."""
    found = None if made.raw is None else made.raw.sky
    if found is None:
        valid = torch.zeros_like(made.valid[:images])
        return LabelMaps(valid.float(), valid)
    return LabelMaps(found.values[:images], found.valid[:images])


def _average(maps: list[Tensor], valid: list[Tensor], fractions: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the pixel mean of normalized labels, weighted by fraction and by agreement exp(-|d - mean|).

    Two maps are equally far from their mean: of two teachers it is the mean by fraction.
    """
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
