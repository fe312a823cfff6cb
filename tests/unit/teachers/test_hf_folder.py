import json
import pickle

import numpy as np
import pytest
import torch

from ccd_cli.core.errors import CheckpointError, TeacherError
from ccd_cli.teachers.adapters import hf_folder

transformers = pytest.importorskip("transformers")

from ccd_cli.teachers.adapters import hf  # noqa: E402
from tests.unit.teachers.tiny_hf import card_for, photo, save  # noqa: E402


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    return {family: save(root / family, family) for family in ("midas-beit", "depth-anything", "zoedepth")}


def teacher_of(folders, family):
    return hf.load(folders[family], card_for(family))


def edited(folder, **changes):
    path = folder / hf_folder.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def weights_of(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def write_weights(folder, state):
    from safetensors.torch import save_file

    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_missing_files_are_named(tmp_path, name):
    folder = save(tmp_path, "midas-vit")
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {name}"):
        hf.load(folder, card_for("midas-vit"))
    with pytest.raises(CheckpointError, match="is not a folder"):
        hf.load(folder / "nothing", card_for("midas-vit"))


def test_other_networks_are_refused(tmp_path):
    folder = save(tmp_path, "midas-beit")
    with pytest.raises(CheckpointError, match="type 'bert'"):
        hf.load(edited(folder, model_type="bert"), card_for("midas"))
    with pytest.raises(CheckpointError, match="type 'None'"):
        hf.load(edited(folder, model_type=None), card_for("midas"))
    with pytest.raises(CheckpointError, match="backbone 'resnet50'"):
        hf.load(edited(folder, model_type="dpt", backbone="resnet50"), card_for("midas"))
    with pytest.raises(CheckpointError, match="backbone 'timm_backbone'"):
        hf.load(edited(folder, backbone=None, backbone_config={"model_type": "timm_backbone"}), card_for("midas"))
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        hf.load(folder, card_for("midas"))


def test_a_card_that_contradicts_the_folder(folders):
    with pytest.raises(CheckpointError, match="metric maps, its card says disparity"):
        hf.load(folders["zoedepth"], card_for("midas"))
    with pytest.raises(CheckpointError, match="disparity maps, its card says metric"):
        hf.load(folders["depth-anything"], card_for("zoedepth"))


def test_depth_pro_without_its_field_of_view(tmp_path):
    with pytest.raises(CheckpointError, match="no meters"):
        hf.load(edited(save(tmp_path, "depth-pro"), use_fov_model=False), card_for("depth-pro"))


def test_weights_must_be_all_there_and_all_used(tmp_path):
    folder = save(tmp_path, "midas-beit")
    state = weights_of(folder)
    write_weights(folder, {k: v for k, v in state.items() if k != "head.head.0.weight"})
    with pytest.raises(CheckpointError, match=r"missing head\.head\.0\.weight"):
        hf.load(folder, card_for("midas"))
    write_weights(folder, state | {"head.extra": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"unexpected head\.extra"):
        hf.load(folder, card_for("midas"))
    write_weights(folder, state | {"head.head.0.weight": torch.zeros(2, 2)})
    with pytest.raises(CheckpointError, match=r"of another shape head\.head\.0\.weight"):
        hf.load(folder, card_for("midas"))
    write_weights(folder, {f"module.{k}": v for k, v in state.items()})
    with pytest.raises(CheckpointError, match=r"missing .* more; unexpected .* more"):
        hf.load(folder, card_for("midas"))


def test_weights_that_are_never_run_may_be_absent_or_extra(folders, tmp_path):
    """Published folders lack the first fusion layer's residual unit, and may hold constants of older versions."""
    folder = save(tmp_path, "midas-beit")
    state = weights_of(folder)
    unused = [k for k in state if "fusion_stage.layers.0.residual_layer1" in k]
    assert unused
    constant = {
        "backbone.encoder.layer.0.attention.attention.relative_position_bias.relative_position_index": torch.zeros(2),
        "backbone.embeddings.mask_token": torch.zeros(1, 1, 16),
    }
    write_weights(folder, {k: v for k, v in state.items() if k not in unused} | constant)
    image = photo((97, 140))
    made = hf.load(folder, card_for("midas-beit")).predict_photos([image])[0].values
    assert np.array_equal(made, teacher_of(folders, "midas-beit").predict_photos([image])[0].values)


def test_damaged_weights(tmp_path):
    folder = save(tmp_path, "midas-vit")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-4], b"", b"not a safetensors file" * 100):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            hf.load(folder, card_for("midas"))


def test_pickled_weights_are_read_without_running_them(folders, tmp_path):
    folder = save(tmp_path / "folder", "midas-beit")
    torch.save(weights_of(folder), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    image = photo((97, 140))
    made = hf.load(folder, card_for("midas-beit")).predict_photos([image])[0].values
    assert np.array_equal(made, teacher_of(folders, "midas-beit").predict_photos([image])[0].values)

    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"head.head.0.weight": Malicious()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        hf.load(folder, card_for("midas-beit"))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(CheckpointError):
        hf.load(folder, card_for("midas-beit"))
    assert not (tmp_path / "ran").exists()


def test_code_in_a_folder_is_not_run(folders, tmp_path):
    folder = save(tmp_path / "folder", "midas-beit")
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: pass\nclass Config: pass\nclass Processor: pass\n"
    (folder / "mine.py").write_text(code)
    edited(folder, auto_map={"AutoConfig": "mine.Config", "AutoModelForDepthEstimation": "mine.Model"})
    settings = json.loads((folder / hf_folder.PROCESSOR).read_text())
    settings["auto_map"] = {"AutoImageProcessor": "mine.Processor"}
    (folder / hf_folder.PROCESSOR).write_text(json.dumps(settings))
    assert hf.load(folder, card_for("midas-beit")).kind == "disparity"
    assert not (tmp_path / "ran").exists()


def test_loading_prints_nothing(folders, capfd):
    level = transformers.utils.logging.get_verbosity()
    teacher_of(folders, "midas-beit")
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert transformers.utils.logging.get_verbosity() == level


def test_without_transformers_it_says_what_to_install(folders, monkeypatch):
    monkeypatch.setattr(hf_folder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TeacherError) as caught:
        teacher_of(folders, "midas-beit")
    assert caught.value.hint == 'pip install -e ".[transformers]"'
