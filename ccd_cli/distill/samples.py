"""The sample grid of a distillation run: photo, what each teacher says, the student at the start and now."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ccd_cli.core.errors import ImageError
from ccd_cli.data.views import Example
from ccd_cli.distill.plots import plot_samples
from ccd_cli.distill.setup import Job
from ccd_cli.models.depth_net import DepthNet


@dataclass(frozen=True)
class Samples:
    """Photos uint8 [N,S,S,3], their views [1,3,S,S] in 0..1 (one by one, so that memory stays small), teachers' maps."""

    photos: np.ndarray
    views: list[Tensor]
    labels: dict[str, np.ndarray]

    def draw(self, job: Job, step: int) -> np.ndarray:
        """Write `plots/samples.png` and return it as uint8 RGB (H, W, 3)."""
        columns = {f"teacher {name}": maps for name, maps in self.labels.items()}
        if job.first_samples is not None:
            columns["student at the start"] = job.first_samples.float().numpy()
        columns[f"student, step {step}"] = student_maps(job.evaluated, self.views)
        return plot_samples(self.photos, columns, job.folder.plots / "samples.png")


def prepare_samples(job: Job) -> Samples | None:
    """Take squares of the first readable photos and every teacher's maps of them; None where none are wanted.

    The untrained student's maps are kept in the job, and so in its saved state.
    """
    examples: list[Example] = []
    for index in range(len(job.stream)):
        if len(examples) == job.recipe.log.samples:
            break
        with contextlib.suppress(ImageError):
            examples.append(job.stream.example(index))
    if not examples:
        return None
    photos = np.stack([example.square for example in examples])
    pixels = torch.from_numpy(photos).permute(0, 3, 1, 2).float().div(255.0).to(job.runtime.device)
    views = list(pixels.split(1))
    given = [
        {index: torch.from_numpy(values)[None].to(job.runtime.device) for index, values in example.given.items()}
        for example in examples
    ]
    labels = {}
    for index, member in enumerate(job.ensemble.members):
        made = [job.ensemble.label(view, index, given=maps) for view, maps in zip(views, given, strict=True)]
        maps = [torch.where(m.valid, m.values, torch.nan).cpu().numpy() for m in made]
        name = member.teacher.name
        labels[f"{name} ({index + 1})" if name in labels else name] = np.concatenate(maps)
    if job.first_samples is None:
        job.first_samples = torch.from_numpy(student_maps(job.evaluated, views)).half()
    return Samples(photos, views, labels)


@torch.no_grad()
def student_maps(network: DepthNet, views: list[Tensor]) -> np.ndarray:
    """Return the network's disparity of each view, float32 [N,S,S]; its mode stays as it was."""
    was_training = network.training
    network.eval()
    maps = [network(network.normalize(view)).float().cpu() for view in views]
    network.train(was_training)
    return torch.cat(maps).numpy()
