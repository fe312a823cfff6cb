"""A teacher's views in pieces: the same labels, whatever memory allows and wherever the teacher runs."""

from __future__ import annotations

import pytest
import torch

from ccd_cli.config.common import TeacherEntry
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.members import Member
from ccd_cli.distill.teaching.passes import Passes
from ccd_cli.distill.teaching.teachers import own_compute
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.teachers.adapters.native import NativeTeacher
from tests.no_values import DEVICE, NoValues

SIZE = 64


class Small:
    """A teacher that has memory for `most` views at once; it keeps the sizes of its passes."""

    def __init__(self, teacher, most=10**9, error=None):
        self.inner, self.most, self.seen = teacher, most, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def _fits(self, rgb):
        self.seen.append(len(rgb))
        if len(rgb) > self.most:
            raise self.error

    def predict(self, rgb):
        self._fits(rgb)
        return self.inner.predict(rgb)

    def predict_with_features(self, rgb):
        self._fits(rgb)
        return self.inner.predict_with_features(rgb)


@pytest.fixture(scope="module", params=["mobilenetv4_conv_small", "test_vit"])
def teacher(request):
    torch.manual_seed(0)
    network = DepthNet(timm_arch(request.param, features=16))
    for module in network.modules():  # statistics that are not those of the batch
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    return NativeTeacher(network, "one")


@pytest.fixture(scope="module")
def views():
    return torch.randint(0, 256, (7, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("batch", [1, 2, 3, 6])
def test_labels_are_the_same_however_the_views_are_cut(teacher, views, batch):
    whole = TeacherEnsemble([Member(teacher, 1.0)]).label_views(views, 0, feature_views=4)
    small = Small(teacher)
    cut = TeacherEnsemble([Member(small, 1.0, batch=batch)]).label_views(views, 0, feature_views=4)
    assert max(small.seen) <= batch
    assert max(small.seen) - min(small.seen) <= max(1, len(small.seen) - 1), "of even size"
    torch.testing.assert_close(cut.values, whole.values, rtol=1e-4, atol=1e-5)
    assert torch.equal(cut.valid, whole.valid)
    assert cut.tokens.shape == whole.tokens.shape == (4, *whole.tokens.shape[1:])
    torch.testing.assert_close(cut.tokens, whole.tokens, rtol=1e-4, atol=1e-4)
    assert not cut.values.requires_grad
    (cut.values * torch.ones((), requires_grad=True)).sum().backward()  # may enter a graph


def test_bytes_and_fractions_are_the_same_views(teacher, views):
    passes = Passes(teacher)
    assert torch.equal(passes.predict(views), teacher.predict(views.float() / 255))


def test_memory_that_runs_out_halves_the_passes_and_is_remembered(teacher, views):
    small = Small(teacher, most=2)
    passes = Passes(small)
    made = passes.predict(views)
    assert small.seen == [7, 4, 2, 2, 2, 1], "one that fits is not made twice"
    torch.testing.assert_close(made, teacher.predict(views.float() / 255), rtol=1e-4, atol=1e-5)
    small.seen.clear()
    passes.predict(views)
    assert small.seen == [2, 2, 2, 1]


def test_what_cannot_be_halved_is_said(teacher, views):
    with pytest.raises(torch.OutOfMemoryError):
        Passes(Small(teacher, most=0)).predict(views)
    with pytest.raises(CcdError, match="in a pass of 3 views of the teacher one") as caught:
        Passes(Small(teacher, most=2), batch=3).predict(views)
    assert "compute.teacher_batch" in caught.value.hint
    other = Small(teacher, most=0, error=RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        Passes(other).predict(views)
    assert other.seen == [7], "nothing is tried again"


def test_a_teacher_elsewhere_gets_its_views_and_its_labels_come_back(teacher, views):
    """The other device is `meta`, from which no values come back: one way is seen here, the other at its end."""
    there = NativeTeacher(DepthNet(teacher.arch).to("meta"), "there")
    seen, real = [], there.predict
    there.predict = lambda rgb: seen.append((rgb.device.type, rgb.dtype)) or real(rgb)
    with pytest.raises(NotImplementedError, match="meta"):
        Passes(there, device="meta").predict(views)
    assert seen == [("meta", torch.float32)]

    class Exported(Small):
        """It answers on the CPU wherever the views are."""

        def predict(self, rgb):
            return torch.ones(len(rgb), SIZE, SIZE)

    assert Passes(Exported(teacher)).predict(views.to("meta")).device.type == "meta"


def test_a_teacher_on_the_cpu_waits_for_the_views_of_a_student_elsewhere(teacher):
    """A copy to the CPU that nobody waits for is read while it is made."""
    seen = []
    on_cpu = Small(teacher)
    on_cpu.predict = lambda rgb: seen.append((rgb.device.type, float(rgb.max()))) or torch.ones(len(rgb), SIZE, SIZE)
    with NoValues(fill=51):
        made = Passes(on_cpu, device="cpu").predict(torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8, device=DEVICE))
    assert made.device.type == DEVICE and seen == [("cpu", pytest.approx(0.2))]


def test_a_device_gets_the_runs_precision_where_it_computes_in_it(monkeypatch):
    monkeypatch.setattr("ccd_cli.core.compute.cpu_has_bf16", lambda: False)
    run = Compute("cuda:0", "bf16", rank=1, world=2)
    assert all(own_compute(TeacherEntry(model="x", device=name), run) is run for name in (None, "cuda", "cuda:0"))
    assert own_compute(TeacherEntry(model="x", device="cuda:1"), run) == Compute("cuda:1", "bf16", rank=1, world=2)
    assert own_compute(TeacherEntry(model="x", device="cpu"), run).precision == "fp32"
    assert own_compute(TeacherEntry(model="x", device="mps"), Compute("cuda", "fp16")).precision == "fp32"
