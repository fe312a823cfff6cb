"""report.html of `ccd eval`: it needs nothing else, and no name breaks out of it."""

from __future__ import annotations

from html.parser import HTMLParser

from tests.tiny_eval import make_nyu, predict


class Page(HTMLParser):
    """Collects tags, attributes that could run or load something, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.risky: list[tuple[str, str | None]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            outside = name in ("src", "href") and not str(value).startswith("data:image/jpeg;base64,")
            if name.startswith("on") or outside:
                self.risky.append((name, value))

    def handle_data(self, data):
        self.words.append(data)


def test_names_cannot_break_out_of_the_page_or_the_terminal(ccd_here, tmp_path):
    scene, model = 'x"><script>alert(1)<', "[/b]<img src=x onerror=alert(2)>"
    root = make_nyu(tmp_path / "data", scene)
    maps = predict(tmp_path / model, "metric", scene)
    (maps / "nyuv2" / "test" / scene / "pred_0001.npy").write_bytes(b"nothing")
    result = ccd_here("eval", "--data-root", root, "--predictions", maps, "--prediction-kind", "metric")
    assert result.exit_code == 1 and model in result.stderr and "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    page = Page()
    page.feed((tmp_path / "eval-out" / "report.html").read_text())
    assert page.tags.count("script") == 1 and page.risky == []
    assert page.tags.count("img") == 8
    assert any(model in word for word in page.words) and any(scene in word for word in page.words)
    assert [p.name for p in (tmp_path / "eval-out").iterdir() if p.is_dir()] == ["b-img-src-x-onerror-alert-2"]


def test_the_page_needs_nothing_else(evaluate, tmp_path):
    evaluate("--predictions", predict(tmp_path / "maps", "depth"), "--prediction-kind", "depth")
    page = (tmp_path / "eval-out" / "report.html").read_text()
    assert "http://" not in page and "https://" not in page and "Content-Security-Policy" in page
    for word in ("NYUv2", "How it was scored", "Worst and best", "ccd", "Python", "CPUs", "DiverseDepth"):
        assert word in page
    assert len(list((tmp_path / "eval-out" / "maps" / "pictures" / "nyuv2").glob("*.jpg"))) == 12
