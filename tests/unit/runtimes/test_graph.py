"""Networks as ONNX graphs: every size by one graph, the same numbers as torch, and no size that is written into it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ccd_cli.core.errors import CcdError
from ccd_cli.models.arch import get_arch, timm_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.encoder import resample_positions
from ccd_cli.models.portable import Portable, fit_positions
from ccd_cli.runtimes import onnx_graph
from ccd_cli.runtimes.sessions import open_session

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIZES = ((1, 6, 9), (2, 8, 4), (1, 15, 3))
"""Batch, height and width in multiples: none is one that the exporter saw."""


def network(arch):
    torch.manual_seed(0)
    return DepthNet(arch).eval()


def largest(net, session, batch, rows, columns):
    step = net.arch.multiple
    images = torch.rand(batch, 3, rows * step, columns * step, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = Portable(net)(images).numpy()
    made = session(images.numpy())
    assert made.shape == wanted.shape == (batch, rows * step, columns * step)
    return np.abs(made - wanted).max() / np.ptp(wanted)


@pytest.mark.parametrize(
    "arch",
    [
        timm_arch("mobilenetv4_conv_small", features=16),
        timm_arch("tf_efficientnet_lite0", features=16),  # TensorFlow's padding
        replace(get_arch("depth-anything-v2-metric-indoor-small"), name="metric"),
        replace(get_arch("depth-anything-v2-small"), name="sky", sky=True, kind="depth", activation="exp"),
        timm_arch("mobilenetv4_conv_small", features=16, name="sky, disparity", sky=True, sky_rule="infinite"),
    ],
    ids=lambda arch: arch.name,
)
def test_one_graph_serves_every_size(arch, tmp_path):
    net = network(replace(arch, deepest_unit=False))
    onnx_graph.write_onnx(net, tmp_path / "net.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    session = open_session("onnxruntime", tmp_path / "net.onnx", threads=1)
    for size in SIZES:
        assert largest(net, session, *size) < 1e-4


@pytest.mark.parametrize("size", [pytest.param(None, marks=pytest.mark.slow), (96, 144)])
def test_timm_vits_by_the_newer_exporter(tmp_path, size, capfd):
    """Their position embeddings are resized by an operation that the older exporter does not have."""
    net = network(timm_arch("test_vit", features=16))
    onnx_graph.write_onnx(net, tmp_path / "net.onnx", size)
    session = open_session("onnxruntime", tmp_path / "net.onnx", threads=1)
    for shape in SIZES if size is None else [(1, 6, 9)]:
        assert largest(net, session, *shape) < 1e-4
    assert capfd.readouterr() == ("", "")


def test_positions_are_those_of_the_network():
    embedding = torch.randn(1, 1 + 37 * 37, 8, generator=torch.Generator().manual_seed(0))
    for height, width in ((37, 37), (12, 20), (50, 9)):
        assert torch.allclose(
            fit_positions(embedding, height, width), resample_positions(embedding, height, width), atol=1e-4
        )


def test_one_size(tmp_path):
    net = network(timm_arch("mobilenetv4_conv_small", features=16))
    onnx_graph.write_onnx(net, tmp_path / "net.onnx", (96, 160))
    session = open_session("onnxruntime", tmp_path / "net.onnx", threads=1)
    assert largest(net, session, 1, 3, 5) < 1e-4
    with pytest.raises(Exception, match=r"(?i)dimension|shape"):
        session(np.zeros((1, 3, 64, 160), np.float32))


class _Sized(nn.Module):
    """A step whose number follows from the image's width, as Python takes it: the recorder writes it as a constant."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return [level * float(int(images.shape[-1])) for level in self.inner(images)]


def test_a_size_that_is_written_into_the_graph_is_found(tmp_path):
    """Two passes differ, and the newer exporter cannot describe it either or describes it for every size."""
    net = network(timm_arch("mobilenetv4_conv_small", features=16))
    net.encoder = _Sized(net.encoder)
    try:
        onnx_graph.write_onnx(net, tmp_path / "net.onnx")
    except CcdError as error:
        assert "cannot be exported" in error.message and "--size fixed" in error.hint
    else:
        session = open_session("onnxruntime", tmp_path / "net.onnx", threads=1)
        assert max(largest(net, session, *size) for size in SIZES) < 1e-4


def test_more_weights_than_one_file_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "LARGEST", 1000)
    with pytest.raises(CcdError, match="one ONNX file holds 2 GB"):
        onnx_graph.write_onnx(network(timm_arch("mobilenetv4_conv_small", features=16)), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
