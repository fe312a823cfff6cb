"""Mistakes are found before anything heavy is imported, all at once, in one style, with the nearest names."""

import json
import subprocess
import sys

import pytest
import yaml

from ccd_cli.terminal.report import RichReport

RECIPE = {
    "name": "x",
    "images": "nowhere",
    "teachers": ["depth-anything-v2-smal", "moge-2-large"],
    "eval": {"pairs": "p.yaml"},
}


def torch_free(tmp_path, *words):
    """Run the command in a process of its own; return its output. It must end without torch."""
    script = (
        "import sys; from ccd_cli.cli.main import cli\n"
        f"try: cli.main({[str(word) for word in words]!r}, standalone_mode=False)\n"
        "except SystemExit as end: print('exit', end.code)\n"
        "except BaseException as error: print('exit', getattr(error, 'exit_code', error))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "False", done.stdout + done.stderr
    return done.stdout + done.stderr


EVAL = "eval --model builtin:tiny --suite"
MAPS = "--prediction-kind disparity --predictions"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("predict nope.jpg --model builtin:tiny", "nope.jpg: no such file"),
        ("predict empty --model builtin:tiny", "no photo or video there"),
        ("predict nope.jpg --model builtin:tiney", "Unknown built-in model 'builtin:tiney'"),
        ("distill live.yaml", "nowhere does not exist"),
        ("distill live.yaml --set images=empty", "no photos in empty"),
        ("distill taught.yaml", "empty holds no finished labels"),
        ("distill taught.yaml --set labels=nowhere", "nowhere holds no finished labels"),
        ("label label.yaml", "nowhere does not exist"),
        ("label label.yaml --set images=empty", "no photos in empty"),
        (f"{EVAL} nyuv2 --data-root nowhere", "no nowhere/nyuv2 and no nowhere/nyuv2.tar"),
        (f"{EVAL} moge --data-root nowhere", "no nowhere/moge/NYUv2"),
        (f"{EVAL} da-2k --data-root nowhere", "no nowhere/da-2k"),
        (f"{EVAL} nope.yaml", "No such file"),
        (f"{EVAL} pairs.yaml", "nothing matches 'a/*.png'"),
        ("eval --suite builtin --model builtin:tiney", "Unknown built-in model 'builtin:tiney'"),
        ("eval --suite builtin --model nope.pth", "no file or folder nope.pth"),
        (f"eval --suite builtin {MAPS} nowhere", "there is no such folder"),
        (f"eval --suite photos.yaml {MAPS} empty", "holds no folder of a set, mine"),
        ("analyze --suite pairs.yaml", "nothing matches 'a/*.png'"),
        ("analyze --model builtin:tiney", "Unknown built-in model 'builtin:tiney'"),
        ("pointcloud nope.jpg --depth empty", "nope.jpg"),
        ("data check nyuv2 --data-root nowhere", "no nowhere/nyuv2"),
    ],
)
def test_what_is_missing_is_said_without_an_import_of_torch(tmp_path, monkeypatch, photos, words, said):
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    (tmp_path / "empty").mkdir()
    files = {
        "live": {**RECIPE, "teachers": ["builtin:tiny"], "eval": {}},
        "taught": {"name": "x", "labels": "empty"},
        "label": {"task": "label", "name": "x", "images": "nowhere", "teachers": ["builtin:tiny"]},
        "pairs": {"name": "mine", "image": "a/*.png", "depth": "b/*.png"},
        "photos": {"name": "mine", "root": str(photos), "image": "*.jpg", "depth": "*.jpg"},
    }
    for name, values in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    assert said in torch_free(tmp_path, *words.split())


def test_predict_of_nothing_says_what_failed(ccd_here):
    done = ccd_here("predict", "nope.jpg", "~nosuchuser/b.png", "--model", "builtin:tiny", "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["model"] == "builtin:tiny"
    assert document["done"] == []
    assert [each["input"] for each in document["failed"]] == ["nope.jpg", "~nosuchuser/b.png"]


def test_a_bad_home_in_a_list_costs_only_its_line(ccd_here, photos, tmp_path):
    (tmp_path / "list.txt").write_text(f"{photos / '0.jpg'}\n~nosuchuser/b.png\n")
    done = ccd_here("predict", "list.txt", "--model", "builtin:tiny", "--save", "npy", "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert len(document["done"]) == 1
    assert len(document["failed"]) == 1


def test_check_finds_what_the_run_would(ccd_here, tmp_path):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    found = json.loads(ccd_here("recipes", "check", "r.yaml", "--json").stdout)["problems"]
    assert [each["key"] for each in found] == ["images", "eval.pairs: file", "teachers.0.model"]
    assert "Did you mean depth-anything-v2-small" in found[2]["problem"]
    (tmp_path / "p.yaml").write_text("name: mine\nimage: a/*.png\ndepth: b/*.png\n")
    changes = ("--set", f"images={tmp_path}", "--set", "teachers=[moge-2-large]")
    found = json.loads(ccd_here("recipes", "check", "r.yaml", *changes, "--json").stdout)["problems"]
    assert [each["key"] for each in found] == ["images", "eval.pairs"]
    assert "nothing matches" in found[1]["problem"]


def test_all_that_is_missing_is_one_error_with_one_command(ccd_here, photos):
    done = ccd_here("distill", "indoor", "--set", f"images={photos}")
    assert done.exit_code == 1
    assert done.stderr.count("error:") == 1
    for name in ("depth-anything-3-mono-large", "depth-anything-v1-large", "depth-anything-v2-small"):
        assert name in done.stderr
    assert "ccd teachers pull --recipe indoor" in done.stderr
    other = ccd_here("distill", "indoor", "--set", f"images={photos}", "--set", "teachers=[depth-anything-v2-large]")
    assert "ccd teachers pull depth-anything-v2-large depth-anything-v2-small --allow-noncommercial" in other.stderr
    noted = ccd_here("recipes", "check", "indoor")
    assert noted.exit_code == 0
    assert "ccd teachers pull --recipe indoor" in noted.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["predct", "a.jpg"], "Did you mean predict"),
        (["teachers", "pul"], "Did you mean pull"),
        (["recipes", "chek", "x"], "Did you mean check"),
        (["recipes", "show", "indor"], "indoor"),
        (["teachers", "info", "moge-2-larg"], "moge-2-large"),
        (["eval", "--suite", "zero-shoot"], "Did you mean zero-shot"),
        (["predict", "a.jpg", "--modell", "x"], "--model"),
        (["predict"], "INPUT"),
        (["predict", "a.jpg", "--batch", "²"], "neither auto nor a number"),
    ],
)
def test_one_style_and_the_nearest_names(ccd_here, words, meant):
    done = ccd_here(*words)
    assert done.exit_code in (1, 2)
    assert done.stderr.startswith("ccd: error: ")
    assert meant in done.stderr
    assert "Usage:" not in done.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        # the same code for the same kind of mistake: a word that names nothing
        ("predct imgs", "predict"),
        ("recipes chek", "check"),
        ("predict imgs --modle x", "--model"),
        ("predict imgs --model depth-anything-v2-smal", "depth-anything-v2-small"),
        ("predict imgs --model builtin:tinny", "builtin:tiny"),
        ("predict imgs --model empy", ""),
        ("predict imgs --model ./empy", "empty"),
        ("predict imgs --model nope.pth", ""),
        ("predict imgs --device cdua", "cuda"),
        ("predict imgs --runtime opnvino", "openvino"),
        ("predict imgs --precision pf32", "fp32"),
        ("predict imgs --model builtin:tiny --arch depth-anything-v2-smal", "depth-anything-v2-small"),
        ("predict imgs --save colr", "color"),
        ("predict imgs --cmap infernoo", "inferno"),
        ("predict imgs --pointcloud --format plyy", "ply"),
        ("eval --suite zero-shoot", "zero-shot"),
        ("eval --suite builtin --model depth-anything-v2-smal", "depth-anything-v2-small"),
        ("eval --suite builtin --alignment medain", "median"),
        ("eval --suite builtin --device cdua", "cuda"),
        ("analyze --suite bulitin", "builtin"),
        ("analyze --model moge-2-larg", "moge-2-large"),
        ("export depth-anything-v2-smal --format onnx", "depth-anything-v2-small"),
        ("export builtin:tiny --format onx", "onnx"),
        ("export builtin:tiny --format onnx --precision int9", "int8"),
        ("bench predict --model depth-anything-v2-smal", "depth-anything-v2-small"),
        ("bench predict --model builtin:tiny --runtime torhc", "torch"),
        ("teachers info moge-2-larg", "moge-2-large"),
        ("teachers pull moge-2-larg", "moge-2-large"),
        ("teachers verify moge-2-larg", "moge-2-large"),
        ("teachers remove moge-2-larg", "moge-2-large"),
        ("teachers pull --recipe indor", "indoor"),
        ("recipes show indor", "indoor"),
        ("recipes new x --from indor", "indoor"),
        ("recipes explain optim.stepz", "optim.steps"),
        ("recipes schema --task distil", "distill"),
        ("distill indor", "indoor"),
        ("distill quickstart --set optim.stepz=3", "steps"),
        ("distill quickstart --set optim.schedule=cosin", "cosine"),
        ("distill quickstart --set teachers=builtin:globl", "builtin:global"),
        ("distill quickstart --device cdua", "cuda"),
        ("distill quickstart --precision fp23", "fp32"),
        ("label label/quickstar", "label/quickstart"),
        ("label label/quickstart --set shrad=3", "shard"),
        ("label label/quickstart --engine lcoal", "local"),
        ("data check nyuv3", "nyuv2"),
        ("data prepare nyuv3 --from empty", "nyuv2"),
        ("eval --suite typo.yaml", "depth"),
        ("pointcloud imgs --kind dispartiy", "disparity"),
        ("completion bsh", "bash"),
        ("inspect nowhere", ""),
    ],
)
def test_a_misspelt_word_is_wrong_usage_whatever_it_names(ccd_here, tmp_path, words, meant):
    (tmp_path / "imgs").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "typo.yaml").write_text("name: mine\nimage: a/*.png\ndepht: b/*.png\n")
    done = ccd_here(*words.split())
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("ccd: error: ")
    assert not meant or any(word in done.stderr.lower() for word in ("did you mean", "nearest")), done.stderr
    assert meant in done.stderr.lower().replace("did you mean", "nearest").rpartition("nearest")[2], done.stderr


def test_no_estimate_before_the_first_unit_is_done(capsys):
    report = RichReport(verbose=True)
    report.begin("Working", 10, 3)
    report._last_line -= 60
    report.advance(3)
    report._last_line -= 60
    report.advance(5)
    lines = capsys.readouterr().err.splitlines()
    assert "ETA" not in lines[0]
    assert "ETA" in lines[1]
    report.advance(10, loss=0.5)
    report.end()
    report.end()
    assert capsys.readouterr().err.splitlines() == ["Working 10/10  loss 0.5"], "the last line says how far it came"
    report.begin("Short", 2)
    report.advance(2)
    report.end()
    assert capsys.readouterr().err == "", "work without a line ends without one"


def test_verify_tells_of_weights_placed_by_hand(ccd_here, tmp_path):
    folder = tmp_path / "home/teachers/depth-anything-v2-small"
    folder.mkdir(parents=True)
    (folder / "depth_anything_v2_vits.pth").write_bytes(b"abc")
    done = ccd_here("teachers", "verify", "--json")
    (row,) = json.loads(done.stdout)
    assert (row["name"], row["ok"]) == ("depth-anything-v2-small", None)
    assert "placed by hand" in row["problems"][0]
    assert "ba7816bf8f01cfea414140de5dae2223" in row["problems"][0]  # sha256 of abc
    assert "placed by hand" in done.stderr


@pytest.mark.parametrize("image", ["rgb/*", "rgb/*.*"])
def test_a_suite_of_mixed_suffixes_says_so(ccd_here, tmp_path, photos, image):
    for name, source in (("a.jpg", "0.jpg"), ("b.png", "1.png")):
        for folder in ("rgb", "depth"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / (name if folder == "rgb" else f"{name[0]}.png")).write_bytes(
                (photos / source).read_bytes()
            )
    suite = {"name": "mine", "image": image, "depth": "depth/*.png", "pair": "match"}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(suite))
    done = ccd_here("eval", "--suite", "s.yaml", "--model", "builtin:tiny")
    assert done.exit_code == 1
    assert "suffixes that differ" in done.stderr
    assert ".jpg, .png" in done.stderr
    assert "No set of" not in done.stderr
