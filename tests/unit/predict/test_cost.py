"""What a forward pass will take: said before it starts."""

import re
import time

import numpy as np
import pytest

from ccd_cli.core.compute import Compute
from ccd_cli.core.report import Silent
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.predict import cost
from ccd_cli.teachers.adapters.native import NativeTeacher
from ccd_cli.teachers.model import Model

CPU = Compute("cpu", "fp32")


@pytest.fixture
def model():
    arch = timm_arch("test_convnext", features=16, resolution=64)
    return lambda asked: Model(NativeTeacher(DepthNet(arch), "small"), asked, arch.resolution)


def warnings(model, batch=1, size=(480, 640)):
    report = Silent()
    cost.warn_of_cost(model, CPU, size, batch, report)
    return report.warnings


def test_memory_that_is_not_there_is_said(model, monkeypatch):
    monkeypatch.setattr(cost, "available_memory", lambda: 100_000_000)
    monkeypatch.setattr(cost, "_timed", lambda *_: 0.001)
    needed = 480 * 640 * (250 + 7 * 16)  # 111 MB
    assert needed > 100_000_000
    (said,) = warnings(model(480))
    assert "640x480" in said
    assert "0.1 GB" in said
    assert "--resolution" in said
    assert warnings(model(416)) == []
    (said,) = warnings(model(224), batch=8)
    assert "for 8 images at once" in said
    assert "--batch" in said


def test_a_pass_of_minutes_is_said(model, monkeypatch):
    monkeypatch.setattr(cost, "available_memory", lambda: 10**15)
    monkeypatch.setattr(cost, "_timed", lambda *_: 1.0)
    (said,) = warnings(model(3200))
    assert "about 36 seconds" in said  # 3200 x 4256 pixels at the time of 544 x 704: sides are multiples of 32
    (said,) = warnings(model(8192))
    assert "about 4 minutes" in said
    assert warnings(model(None)) == warnings(model(1024)) == []


def test_a_small_pass_is_not_timed(model, monkeypatch):
    monkeypatch.setattr(cost, "_timed", lambda *_: pytest.fail("timed"))
    assert warnings(model(None)) == []


def test_the_probe_is_a_real_pass(model):
    assert 0 < cost._timed(model(640), (480, 640)) < 30


@pytest.mark.slow
def test_what_is_told_is_what_it_takes(model, monkeypatch):
    slow = model(2048)
    monkeypatch.setattr(cost, "LONG_S", 0.0)
    monkeypatch.setattr(cost, "duration", lambda seconds: f"{seconds:.3f}")
    slow.teacher.predict_photos([np.zeros((64, 64, 3), np.uint8)], 64, [None])
    (said,) = warnings(slow)
    told = float(re.search(r"about ([\d.]+) per forward pass", said)[1])
    begun = time.monotonic()
    slow.teacher.predict_photos([np.zeros((480, 640, 3), np.uint8)], 2048, [None])
    taken = time.monotonic() - begun
    assert taken / 6 < told < taken * 6  # a busy machine; from a pass of 64 pixels it was a hundred times too long
