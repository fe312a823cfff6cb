"""Teachers that label on a device without values: no wait for a GPU, no tensor left on the CPU, one copy of the maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ccd_cli.config.common import Fill, Noise
from ccd_cli.data.batch import TeacherViews
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.members import Member
from ccd_cli.distill.teaching.precomputed import ground_truth
from ccd_cli.label.labelers import LoadedTeacher, TruthLabels
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.teachers.adapters.base import to_host
from ccd_cli.teachers.adapters.native import NativeTeacher
from tests.no_values import DEVICE, NoValues, Waited
from tests.unit.distill.test_step_on_a_device import IMAGES, PATCHES, SIZE, batch

THERE = torch.device(DEVICE)
FAMILIES = ("midas-vit", "depth-pro", "depth-anything")
"""Others pass too, but for those with BEiT (of MiDaS and ZoeDepth), whose table transformers indexes with a tensor of the CPU."""


def teacher(kind, resolution=None):
    return NativeTeacher(DepthNet(timm_arch("test_vit", features=16, kind=kind)).to(THERE), kind, resolution=resolution)


def quiet(device):
    return device.transfers == [] and device.blocking == []


@pytest.mark.parametrize("resolution", [None, 96])
def test_crops_are_labeled_in_one_pass_and_come_back_in_one_copy(resolution):
    loaded = LoadedTeacher(teacher("disparity", resolution), {}, THERE, 5)
    with NoValues() as device:
        maps = loaded.predict([np.zeros((SIZE, SIZE, 3), np.uint8)] * 5)
    assert maps.shape == (5, SIZE, SIZE) and maps.dtype == np.float32
    assert device.transfers == [((5, SIZE, SIZE), torch.float32)] and device.blocking == []
    assert device.uploads == [(5, 3, SIZE, SIZE)]


@pytest.mark.parametrize("kind", ["disparity", "metric", "affine-depth"])
def test_holes_of_ground_truth_are_filled_in_one_pass_and_come_back_in_one_copy(kind):
    filler = LoadedTeacher(teacher(kind), {}, THERE, 5)
    labels = TruthLabels("metric", {}, 5, filler, Fill(model="filler"))
    with NoValues(wide=True) as device:  # the fit is in float64
        maps, fills = labels.label([np.zeros((SIZE, SIZE, 3), np.uint8)] * 5, [np.ones((SIZE, SIZE), np.float32)] * 5)
    assert maps.shape == (5, SIZE, SIZE) and maps.dtype == np.float32 and len(fills) == 5
    assert device.transfers == [((5, SIZE * SIZE + 3), torch.float32)] and device.blocking == []


@pytest.mark.parametrize(("mixing", "region_unit"), [("select", True), ("average", False), ("average-raw", False)])
def test_an_ensemble_asks_the_device_for_nothing(mixing, region_unit):
    members = [
        Member(teacher("disparity"), 0.4, noise=Noise(scale_jitter=0.5, shift_jitter=0.1)),
        Member(teacher("depth"), 0.3),
        Member(teacher("affine-depth"), 0.2, fit_to=1),
        Member(ground_truth(), 0.1),
    ]
    ensemble = TeacherEnsemble(members, mixing, region_unit=region_unit)
    made = batch(DEVICE)
    maps = torch.zeros(IMAGES, 1 + PATCHES, SIZE, SIZE, device=DEVICE)
    made.precomputed[3] = TeacherViews(maps[:, 0], maps[:, 1:])
    for index in range(4) if mixing == "select" else (-1,):
        with NoValues(wide=True) as device:  # the fit of affine depth is in float64
            labels = ensemble.label(made, index, features=True, noise_seed=7)
        assert quiet(device), (index, device.transfers, device.blocking)
        assert labels.patches.values.shape == (IMAGES, PATCHES, SIZE, SIZE)
        assert labels.patches.values.dtype == torch.float32 and labels.patches.values.device == THERE


def test_a_wait_in_a_teacher_is_found(monkeypatch):
    real = NativeTeacher.predict
    monkeypatch.setattr(NativeTeacher, "predict", lambda self, rgb: real(self, rgb) / rgb.max().item())
    with pytest.raises(Waited), NoValues():
        LoadedTeacher(teacher("disparity"), {}, THERE, 1).predict([np.zeros((SIZE, SIZE, 3), np.uint8)])


@pytest.mark.parametrize("family", FAMILIES)
def test_teachers_of_transformers_wait_only_for_their_maps(family, tmp_path):
    pytest.importorskip("transformers")
    from ccd_cli.teachers.adapters import hf
    from tests.unit.teachers.tiny_hf import card_for, photo, save

    there = hf.load(save(tmp_path / family, family), card_for(family)).to(THERE)
    with NoValues() as device:
        made = there.predict(torch.zeros(2, 3, 84, 84, device=DEVICE))
    assert made.shape == (2, 84, 84) and quiet(device)
    photos = [photo((97, 140), 0), photo((97, 140), 1)]
    with NoValues() as device:
        maps = there.predict_photos(photos)
    assert [each.values.shape for each in maps] == [(97, 140)] * 2
    assert [shape for shape, _ in device.transfers] == [(2 * 97 * 140 + 2,)] and device.blocking == []


def test_maps_of_several_sizes_come_to_the_host_as_they_are(monkeypatch):
    maps = [torch.rand(2, 3), torch.rand(4, 5), torch.rand(1)]
    assert all(np.array_equal(a, b) for a, b in zip(to_host(maps), maps, strict=True))
    there = [each.to(THERE) for each in maps]
    with NoValues() as device:
        assert [each.shape for each in to_host(there)] == [(2, 3), (4, 5), (1,)]
    assert device.transfers == [((27,), torch.float32)]
