"""Which Ray cluster a run joins."""

from __future__ import annotations

import pytest

from ccd_cli.cluster import connection
from ccd_cli.core.errors import CcdError


def test_which_cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert connection.cluster_address() == ""
    monkeypatch.setattr(connection, "_answers", lambda address: address.endswith(":1"))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text("10.0.0.1:1")
    assert connection.cluster_address() == "10.0.0.1:1"
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert connection.cluster_address() == ""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:1")
    assert connection.cluster_address() == "10.0.0.2:1"
    for dead in ("10.0.0.2:2", "auto"):
        (tmp_path / "ray/ray_current_cluster").write_text("10.0.0.1:2")
        monkeypatch.setenv("RAY_ADDRESS", dead)
        with pytest.raises(CcdError, match=f"RAY_ADDRESS={dead}"):
            connection.cluster_address()
    monkeypatch.delenv("RAY_ADDRESS")
    assert connection.cluster_address() == "", "a cluster that is gone is no cluster"
