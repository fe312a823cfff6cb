"""Sample images show what the student says, and leave it as it was."""

import torch
from torch import nn

from ccd_cli.distill.samples import student_maps
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
