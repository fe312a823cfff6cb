"""Folders of Marigold and GenPercept that are damaged, incomplete, foreign or hostile."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import diffusers  # what is taken from it loads in the test that needs it

from ccd_cli.core.errors import CcdError, CheckpointError, TeacherError
from ccd_cli.teachers.adapters import diffusion_load, diffusion_parts
from tests.unit.teachers.tiny_diffusion import card, oracle, photo

WEIGHTS = "diffusion_pytorch_model.safetensors"


MARIGOLD_FILES = [
    "model_index.json",
    f"unet/{WEIGHTS}",
    "unet/config.json",
    f"vae/{WEIGHTS}",
    "scheduler/scheduler_config.json",
    "text_encoder/model.safetensors",
    "text_encoder/config.json",
]


def load(folder, known, precision="fp32", resolution=None, sha256="", **sampling):
    return diffusion_load.load(folder, known, precision, resolution, sha256, sampling)


@pytest.mark.parametrize("file", MARIGOLD_FILES)
def test_a_missing_file_is_named(copy, file):
    (copy / file).unlink()
    with pytest.raises(TeacherError, match=Path(file).name) as caught:
        load(copy, card("marigold"))
    assert not isinstance(caught.value, CheckpointError)


def test_a_missing_folder_is_named(copy, genpercept, tmp_path):
    shutil.rmtree(copy / "tokenizer")
    with pytest.raises(TeacherError, match="tokenizer"):
        load(copy, card("marigold"))
    folder = Path(shutil.copytree(genpercept, tmp_path / "gen"))
    shutil.rmtree(folder / "unet_depth_v2")
    with pytest.raises(TeacherError, match="unet_depth_v2"):
        load(folder, card("genpercept"))


@pytest.mark.parametrize("file", [f"unet/{WEIGHTS}", f"vae/{WEIGHTS}", "text_encoder/model.safetensors"])
def test_damaged_weights_are_refused(copy, file):
    whole = (copy / file).read_bytes()
    (copy / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load(copy, card("marigold"))


@pytest.mark.parametrize("file", [f"unet/{WEIGHTS}", f"vae/{WEIGHTS}", "text_encoder/model.safetensors"])
def test_every_tensor_must_be_there_and_used(copy, file):
    state = load_file(copy / file)
    first = sorted(state)[0]
    for change, said in (
        ({k: v for k, v in state.items() if k != first}, "missing"),
        (state | {"surplus.weight": torch.zeros(2)}, "unexpected surplus.weight"),
        (state | {first: torch.zeros(*state[first].shape, 2)}, "of another shape"),
    ):
        save_file(change, copy / file)
        with pytest.raises(CheckpointError, match=said):
            load(copy, card("marigold"))


@pytest.mark.parametrize("file", [f"unet/{WEIGHTS}", "text_encoder/model.safetensors"])
def test_pickled_weights_are_not_read(copy, file):
    state = load_file(copy / file)
    (copy / file).unlink()
    torch.save(state, (copy / file).with_suffix(".bin"))
    with pytest.raises(CheckpointError, match="only pickled weights"):
        load(copy, card("marigold"))


def test_split_weights_are_refused(copy):
    (copy / "unet" / WEIGHTS).unlink()
    (copy / "unet" / f"{WEIGHTS}.index.json").write_text('{"weight_map": {"a": "../../evil.bin"}}')
    with pytest.raises(CheckpointError, match="split"):
        load(copy, card("marigold"))


EVIL = [
    ("_class_name", ["evil", "Pipeline"], "pipeline"),
    ("_class_name", "StableDiffusionPipeline", "pipeline"),
    ("unet", ["evil", "UNet2DConditionModel"], "unet"),
    ("vae", ["diffusers", "Evil"], "vae"),
    ("scheduler", "DDIMScheduler", "scheduler"),
    ("scheduler", [["diffusers"], "DDIMScheduler"], "scheduler"),
    ("tokenizer", [None, None], "tokenizer"),
    ("extra", ["evil", "Module"], "extra"),
    ("custom_pipeline", "evil.py", "names code"),
]


@pytest.mark.parametrize(("key", "value", "said"), EVIL)
def test_foreign_classes_are_refused(copy, key, value, said):
    ran = copy.parent / "ran"
    for name in ("evil.py", "pipeline.py", "unet/evil.py", "unet/UNet2DConditionModel.py"):
        (copy / name).write_text(f"open({str(ran)!r}, 'w')\n")
    index = copy / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {key: value}))
    with pytest.raises(CheckpointError, match=said):
        load(copy, card("marigold"))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("unet/config.json", "_class_name", "UNet3DConditionModel"),
        ("unet/config.json", "quantization_config", {"quant_method": "bitsandbytes"}),
        ("unet/config.json", "down_block_types", ["Evil"] * 2),
        ("vae/config.json", "block_out_channels", "many"),
        ("text_encoder/config.json", "auto_map", {"AutoModel": "evil.Model"}),
        ("text_encoder/config.json", "num_attention_heads", 3),
        ("tokenizer/tokenizer_config.json", "auto_map", {"AutoTokenizer": "evil.T"}),
        ("scheduler/scheduler_config.json", "beta_schedule", "evil"),
    ],
)
def test_foreign_configurations_are_refused(copy, file, key, value):
    path = copy / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | {key: value}))
    with pytest.raises(CheckpointError):
        load(copy, card("marigold"))


def test_damaged_configurations_are_refused(copy):
    for file in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json"):
        whole = (copy / file).read_text()
        for broken in (whole[:20], "[]", "\x00", "[" * 100_000):
            (copy / file).write_text(broken)
            with pytest.raises(CheckpointError, match="JSON"):
                load(copy, card("marigold"))
        (copy / file).write_text(whole)
    assert load(copy, card("marigold"))


def test_a_network_of_the_other_family_is_refused(copy, genpercept):
    for name in ("config.json", WEIGHTS):
        (copy / "unet" / name).write_bytes((genpercept / "unet_depth_v2" / name).read_bytes())
    with pytest.raises(CheckpointError, match="not Marigold's"):
        load(copy, card("marigold"))


def test_a_tokenizer_of_another_vocabulary_is_refused(copy):
    for file in ("vocab.json", "tokenizer.json"):
        (copy / "tokenizer" / file).unlink(missing_ok=True)
    vocabulary = {f"{c}</w>": i for i, c in enumerate("abcdefgh")} | {"<|startoftext|>": 8, "<|endoftext|>": 9}
    (copy / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
    (copy / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(CheckpointError, match="does not belong"):
        load(copy, card("marigold"))


def test_half_precision_files_are_found(copy):
    want = load(copy, card("marigold"), "fp16").predict_photos([photo(60, 90)])[0].values
    for file in (f"unet/{WEIGHTS}", f"vae/{WEIGHTS}", "text_encoder/model.safetensors"):
        path = copy / file
        save_file({k: v.half() for k, v in load_file(path).items()}, path.with_suffix(".fp16.safetensors"))
        if not file.startswith("unet"):
            path.unlink()
    assert diffusion_parts.weights_file(copy / "unet", "diffusion_pytorch_model").name == WEIGHTS
    half = diffusion_parts.weights_file(copy / "unet", "diffusion_pytorch_model", half=True)
    assert half.name == "diffusion_pytorch_model.fp16.safetensors"
    made = load(copy, card("marigold"), "fp16").predict_photos([photo(60, 90)])[0].values
    assert np.abs(made - want).max() < 0.02
    assert load(copy, card("marigold")).networks["vae"].dtype == torch.float32


def test_older_names_of_tensors_are_read(copy):
    image = photo(60, 90)
    want = load(copy, card("marigold")).predict_photos([image])[0].values
    path = copy / "vae" / WEIGHTS
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(path)
    for new, old in older.items():
        state = {k.replace(f".{new}.", f".{old}."): v for k, v in state.items()}
    assert any(".proj_attn." in k for k in state)
    save_file(state, path)
    text = copy / "text_encoder" / "model.safetensors"
    prompt = diffusion_parts.empty_prompt(copy)
    for outer in ("", "text_model."):
        plain = {
            outer + k.removeprefix("text_model."): v for k, v in load_file(text).items() if "position_ids" not in k
        }
        save_file(plain | {f"{outer}embeddings.position_ids": torch.arange(77)[None]}, text)
        assert torch.equal(diffusion_parts.empty_prompt(copy), prompt)
    assert np.array_equal(load(copy, card("marigold")).predict_photos([image])[0].values, want)


def test_the_empty_prompt_is_that_of_the_pipeline(marigold):
    pipeline = diffusers.MarigoldDepthPipeline.from_pretrained(marigold(), use_safetensors=True, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline(photo(16, 16)[None], num_inference_steps=1, processing_resolution=0)
    assert torch.allclose(diffusion_parts.empty_prompt(marigold()), pipeline.empty_text_embedding, atol=1e-6)


def test_the_small_autoencoder_is_taken(copy):
    shutil.rmtree(copy / "vae")
    torch.manual_seed(0)
    widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    diffusers.AutoencoderTiny(**widths).save_pretrained(copy / "vae")
    index = copy / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"vae": ["diffusers", "AutoencoderTiny"]}))
    image = photo(60, 90)
    (made,) = load(copy, card("marigold")).predict_photos([image])
    np.testing.assert_allclose(made.values, oracle(copy, image), atol=1e-4)


def test_nothing_is_printed(marigold, capfd):
    teacher = load(marigold(), card("marigold"), ensemble=3)
    teacher.predict_photos([photo(60, 90)])
    assert capfd.readouterr() == ("", "")


def test_every_problem_is_a_plain_sentence(copy):
    (copy / "unet" / WEIGHTS).unlink()
    with pytest.raises(CcdError) as caught:
        load(copy, card("marigold"))
    assert caught.value.message == f"There is no unet/{WEIGHTS} in {copy}."
