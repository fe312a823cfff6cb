"""The sample grid of a distillation run: image, labels of every teacher, the student at the start and now."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ccd_cli.core.errors import ImageError
from ccd_cli.data.views import Sample
from ccd_cli.distill.plots import plot_samples
from ccd_cli.distill.state import Run, TrainState, whole_student
from ccd_cli.losses.disparity import disparity_of
from ccd_cli.models.depth_net import DepthNet


@dataclass(frozen=True)
class Samples:
    """Images uint8 [N,S,S,3], their views [1,3,S,S] in 0..1 (one by one, so that memory stays small), teachers' maps."""

    photos: np.ndarray
    views: list[Tensor]
    labels: dict[str, np.ndarray]

    def draw(self, run: Run, state: TrainState) -> np.ndarray:
        """Write `plots/samples.png` and return it as uint8 RGB (H, W, 3)."""
        columns = {f"teacher {name}": maps for name, maps in self.labels.items()}
        if state.first_samples is not None:
            columns["student at the start"] = state.first_samples.float().numpy()
        columns[f"student, step {state.step}"] = student_maps(state.evaluated, self.views)
        return plot_samples(self.photos, columns, run.folder.plots / "samples.png")


def prepare_samples(run: Run, state: TrainState) -> Samples | None:
    """Take squares of the first readable images and every teacher's maps of them; None where none are wanted.

    The untrained student's maps become part of the state. Only the first process draws; all of them take part.
    """
    if not run.recipe.log.samples:
        return None
    with whole_student(run, state):
        return _drawn_first(run, state) if run.compute.main else None


def _drawn_first(run: Run, state: TrainState) -> Samples | None:
    found: list[Sample] = []
    for index in range(len(run.stream)):
        if len(found) == run.recipe.log.samples:
            break
        with contextlib.suppress(ImageError):
            found.append(run.stream.sample(index))
    if not found:
        return None
    device = run.compute.device
    photos = np.stack([sample.square for sample in found])
    pixels = torch.from_numpy(photos).permute(0, 3, 1, 2).float().div(255.0).to(device)
    views = list(pixels.split(1))
    precomputed = [
        {index: torch.from_numpy(values)[None].to(device) for index, values in sample.precomputed.items()}
        for sample in found
    ]
    labels = {}
    for index, member in enumerate(run.ensemble.members):
        made = [
            run.ensemble.label_views(view, index, precomputed=maps)
            for view, maps in zip(views, precomputed, strict=True)
        ]
        name = member.teacher.name
        raws = [each.raw for each in made]
        known = [torch.where(r.measured, r.values, torch.nan) for r in raws if r is not None and r.measured is not None]
        if known:  # holes were filled
            labels[f"{name}, as measured"] = torch.cat(known).cpu().numpy()
            name = f"{name}, filled"
        maps = [torch.where(m.valid, m.values, torch.nan).cpu().numpy() for m in made]
        labels[f"{name} ({index + 1})" if name in labels else name] = np.concatenate(maps)
    if state.first_samples is None:
        state.first_samples = torch.from_numpy(student_maps(state.evaluated, views)).half()
    elif len(state.first_samples) != len(views):  # a resumed run that is to draw another number
        state.first_samples = torch.from_numpy(student_maps(run.untrained.to(device), views)).half()
    return Samples(photos, views, labels)


@torch.no_grad()
def student_maps(network: DepthNet, views: list[Tensor]) -> np.ndarray:
    """Return the network's disparity of each view, float32 [N,S,S]; the mode of each of its modules stays as it was."""
    modes = [(module, module.training) for module in network.modules()]  # frozen batch normalization is one of its own
    network.eval()
    maps = [disparity_of(network(network.normalize(view)).float(), network.arch.kind).cpu() for view in views]
    for module, mode in modes:
        module.training = mode
    return torch.cat(maps).numpy()
