"""Sample images show what the student says, and leave it as it was."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from ccd_cli.data.views import Sample
from ccd_cli.distill.samples import _drawn_first, student_maps
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet


def test_drawing_samples_leaves_frozen_statistics_frozen():
    torch.manual_seed(0)
    student = DepthNet(timm_arch("test_efficientnet", features=16, resolution=64)).train()
    norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.eval()
    maps = student_maps(student, [torch.rand(2, 3, 64, 64)])
    assert maps.shape == (2, 64, 64)
    assert norms and not any(module.training for module in norms)
    assert student.training, "all else trains on"


def test_a_resumed_run_that_draws_more_asks_the_untrained_student_again():
    torch.manual_seed(0)
    untrained, student = (DepthNet(timm_arch("test_efficientnet", features=16, resolution=64)).eval() for _ in range(2))
    photos = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)

    class Stream:
        def __len__(self):
            return len(photos)

        def sample(self, index):
            return Sample(photos[index], {})

    run = SimpleNamespace(
        recipe=SimpleNamespace(log=SimpleNamespace(samples=1)),
        stream=Stream(),
        compute=SimpleNamespace(device=torch.device("cpu")),
        ensemble=SimpleNamespace(members=[]),
        untrained=untrained,
    )
    state = SimpleNamespace(first_samples=None, evaluated=untrained)
    _drawn_first(run, state)
    first, state.evaluated = state.first_samples, student  # trained on
    assert len(_drawn_first(run, state).views) == 1 and torch.equal(state.first_samples, first)
    run.recipe.log.samples = 3
    assert len(_drawn_first(run, state).views) == len(state.first_samples) == 3
    assert torch.equal(state.first_samples[0], first[0])
