"""What a run begins with follows from its recipe alone."""

from types import SimpleNamespace

import torch

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.distill.setup import begin
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet


def projection(seed, before):
    """The first weights of the learned projection after `before` random numbers were drawn elsewhere."""
    recipe = DistillRecipe.model_validate({"name": "x", "seed": seed, "teachers": ["a"]})
    student = DepthNet(timm_arch("mobilenetv4_conv_small", features=16))
    torch.rand(before)
    teacher = SimpleNamespace(feature_width=student.feature_width + 3)
    run = SimpleNamespace(
        recipe=recipe,
        compute=SimpleNamespace(device=torch.device("cpu"), precision="fp32", world=1),
        ensemble=SimpleNamespace(members=[SimpleNamespace(teacher=teacher)]),
        features=True,
    )
    return begin(run, student).projection.weight


def test_the_projections_first_weights_follow_from_the_recipes_seed():
    assert torch.equal(projection(0, 1), projection(0, 1000))
    assert not torch.equal(projection(0, 1), projection(1, 1))
