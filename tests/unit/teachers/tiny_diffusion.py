"""A tiny Marigold and GenPercept of the libraries' own classes, with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from torch.nn import functional as F

from ccd_cli.teachers.registry import Card

SIDE = 32  # pixels of the longer side that the tiny Marigold asks for


def unet(channels: int) -> diffusers.UNet2DConditionModel:
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8,
        cross_attention_dim=16,
        attention_head_dim=4,
    )


def scheduler(kind: str):
    common = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
    if kind == "lcm":
        return diffusers.LCMScheduler(**common, prediction_type="v_prediction")
    spacing = "trailing" if kind == "trailing" else "leading"
    return diffusers.DDIMScheduler(
        **common, prediction_type="v_prediction", timestep_spacing=spacing, set_alpha_to_one=False, steps_offset=1
    )


def words(folder: Path) -> transformers.CLIPTokenizer:
    folder.mkdir(parents=True)
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "b</w>": 3, "a": 4, "b": 5}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 77, "pad_token": "<|endoftext|>"}))
    return transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def parts(folder: Path, channels: int):
    torch.manual_seed(3)
    vae = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8, 8, 8, 16],
        norm_num_groups=4,
        sample_size=64,
    )
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=6,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            hidden_act="gelu",
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    network = unet(channels)
    for module in (vae, text, network):  # a fresh network is so near to zero that every photo looks the same to it
        module.eval().requires_grad_(False)
        for name, weight in module.named_parameters():
            if weight.ndim > 1 and "conv_out" not in name:
                weight.mul_(1.5)
    return {"unet": network, "vae": vae, "text_encoder": text, "tokenizer": words(folder)}


def save_marigold(folder: Path, modules, words: Path, kind: str = "ddim", prediction: str = "depth") -> Path:
    """Write a pipeline as it is published."""
    pipeline = diffusers.MarigoldDepthPipeline(
        **modules,
        scheduler=scheduler(kind),
        prediction_type=prediction,
        default_denoising_steps=2,
        default_processing_resolution=SIDE,
    )
    pipeline.save_pretrained(folder)
    shutil.rmtree(folder / "tokenizer")  # as published: plain files instead of a tokenizer.json
    shutil.copytree(words, folder / "tokenizer")
    return folder


def save_genpercept(folder: Path) -> Path:
    """Write both networks with the parts of Stable Diffusion that they share; `folder` is there."""
    modules = parts(folder / "tokenizer", 4)
    for name in ("vae", "text_encoder"):
        modules[name].save_pretrained(folder / name)
    for name in ("unet_depth_v2", "unet_disparity_v2"):
        modules["unet"].save_pretrained(folder / name)
        with torch.no_grad():
            modules["unet"].conv_out.bias.add_(0.3)  # another network
    return folder


def card(family: str, kind: str = "affine-depth", **fields) -> Card:
    values = {
        "name": f"tiny-{family}",
        "family": family,
        "arch": None,
        "adapter": "diffusers",
        "repo": "someone/tiny",
        "file": "",
        "size_bytes": None,
        "parameters": 1,
        "license": "MIT",
        "license_url": "",
        "commercial": True,
        "paper": "",
        "normalization": "to -1..1",
        "multiple": 8,
        "resolution": None,
        "resolution_rule": None,
        "kind": kind,
    }
    return Card(**values | fields)


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 5, 5)).astype(np.float32))
    image = F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 255)
    return np.ascontiguousarray(image[0].permute(1, 2, 0).byte().numpy())


def oracle(folder: Path, image: np.ndarray, steps=None, members: int = 1, seed: int = 0, side=None) -> np.ndarray:
    pipeline = diffusers.MarigoldDepthPipeline.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(seed)
    made = pipeline(
        image[None] if image.ndim == 3 else image,
        num_inference_steps=steps,
        ensemble_size=members,
        processing_resolution=side,
        generator=[noise] * members,
        batch_size=members,
    )
    return made.prediction[0, ..., 0]
