"""report.html of `ccd eval`: it needs nothing else, and no name breaks out of it."""

from __future__ import annotations

from tests.page import HOSTILE, Page
from tests.tiny_eval import make_nyu, predict


def test_names_cannot_break_out_of_the_page_or_the_terminal(ccd_here, tmp_path):
    scene, model = HOSTILE, "[/b]<img src=x onerror=alert(2)>"
    root = make_nyu(tmp_path / "data", scene)
    maps = predict(tmp_path / model, "metric", scene)
    (maps / "nyuv2" / "test" / scene / "pred_0001.npy").write_bytes(b"nothing")
    result = ccd_here("eval", "--data-root", root, "--predictions", maps, "--prediction-kind", "metric")
    assert result.exit_code == 1 and model in result.stderr and "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    page = Page(tmp_path / "eval-out" / "report.html")
    assert page.needs_nothing_else() and len(page.images) == page.tags.count("img") == 8
    assert any(model in word for word in page.words) and any(scene in word for word in page.words)
    assert [p.name for p in (tmp_path / "eval-out").iterdir() if p.is_dir()] == ["b-img-src-x-onerror-alert-2"]


def test_the_page_needs_nothing_else(evaluate, tmp_path):
    evaluate("--predictions", predict(tmp_path / "maps", "depth"), "--prediction-kind", "depth")
    page = (tmp_path / "eval-out" / "report.html").read_text()
    assert "http://" not in page and "https://" not in page and "Content-Security-Policy" in page
    for word in ("NYUv2", "How it was scored", "Worst and best", "ccd", "Python", "CPUs", "DiverseDepth"):
        assert word in page
    assert len(list((tmp_path / "eval-out" / "maps" / "pictures" / "nyuv2").glob("*.jpg"))) == 12
