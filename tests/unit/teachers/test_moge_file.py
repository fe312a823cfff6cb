import pickle
import warnings

import pytest
import torch

from ccd_cli.core.errors import CheckpointError, TeacherError
from ccd_cli.teachers.adapters import moge
from tests.unit.teachers.tiny_moge import CARD, CONFIGS, VERSIONS, as_rgb, photo, saved


@pytest.fixture(scope="module", autouse=True)
def package():
    pytest.importorskip("moge.model.v2", reason="the extra `moge` is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("moge")
    return {version: saved(root / f"{version}.pt", version) for version in VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_card_of_the_other_generation(files, version):
    other = CARD["v2" if version == "v1" else "v1"]
    with pytest.raises(CheckpointError, match="its card says MoGe-"):
        moge.load(files[version], other)


@pytest.mark.parametrize("version", VERSIONS)
def test_weights_must_be_all_there_and_all_used(files, tmp_path, version):
    content = torch.load(files[version], weights_only=True)
    config, state = content["model_config"], content["model"]
    first = next(k for k in state if "backbone" in k and "mask_token" not in k)

    def load(weights):
        torch.save({"model_config": config, "model": weights}, tmp_path / "m.pt")
        return moge.load(tmp_path / "m.pt", CARD[version])

    with pytest.raises(CheckpointError, match=f"missing {first}"):
        load({k: v for k, v in state.items() if k != first})
    with pytest.raises(CheckpointError, match=r"unexpected head\.extra"):
        load(state | {"head.extra": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=f"of another shape {first}"):
        load(state | {first: torch.zeros(2, 2)})
    constants = [k for k in state if k.endswith(("image_mean", "image_std", "mask_token"))]
    assert len(constants) == 3
    made = load({k: v for k, v in state.items() if k not in constants} | {"normal_head.extra": torch.zeros(2)})
    assert made.model.state_dict().keys() <= state.keys()


def test_other_files_are_refused(files, tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(CheckpointError, match="no file"):
        moge.load(path, CARD["v1"])
    whole = files["v1"].read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text" * 100):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            moge.load(path, CARD["v1"])
    for content, problem in (
        ({"weight": torch.zeros(2)}, "no model_config"),
        ([torch.zeros(2)], "no model_config"),
        ({"model_config": {"encoder": "load"}, "model": {"a": torch.zeros(2)}}, "no encoder 'load'"),
        ({"model_config": {"encoder": {"backbone": "importlib"}}, "model": {"a": torch.zeros(2)}}, "no encoder"),
        ({"model_config": CONFIGS["v1"], "model": {"a": [1, 2]}}, "table of tensors"),
        ({"model_config": CONFIGS["v1"] | {"dim_upsample": "x"}, "model": {"a": torch.zeros(2)}}, "refuses"),
        ({"model_config": CONFIGS["v2"] | {"points_head": None}, "model": {"a": torch.zeros(2)}}, "without its points"),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=problem):
            moge.load(path, CARD["v1"])


def test_nothing_in_a_file_is_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"model_config": Malicious(), "model": {}}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious()))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(CheckpointError):
            moge.load(tmp_path / name, CARD["v1"])
    assert not (tmp_path / "ran").exists()


def test_loading_and_running_print_nothing(files, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moge.load(files["v1"], CARD["v1"]).predict(as_rgb(photo((56, 84))))
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_without_the_package_it_says_what_to_install(files, monkeypatch):
    monkeypatch.setattr(moge.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TeacherError) as caught:
        moge.load(files["v1"], CARD["v1"])
    assert caught.value.hint == 'pip install -e ".[moge]"'
