"""A tiny set of photos with depth, and `ccd eval` on it."""

from pathlib import Path

import pytest

from tests.tiny_eval import make_nyu


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_nyu(tmp_path_factory.mktemp("data"))


@pytest.fixture
def evaluate(ccd_here, data):
    return lambda *args: ccd_here("eval", "--data-root", data, *args)
