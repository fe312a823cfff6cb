"""Reading a Stable Diffusion folder piece by piece: safetensors only, known classes only, every tensor accounted for.

Nothing is downloaded and no code that lies in the folder is run: classes are named here and not looked up by what a
file says, configurations are plain JSON, and pickled weights are refused. Loading a whole pipeline with diffusers'
`from_pretrained` would do the first two by the folder's own words and would fill missing weights with random ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ccd_cli.core.errors import CheckpointError, TeacherError, first_line
from ccd_cli.models.checkpoint import read_state
from ccd_cli.models.files import PICKLE_SUFFIXES, SAFE_SUFFIX
from ccd_cli.models.strict import load_strict

INSTALL = 'Install it with: pip install -e ".[diffusion]"'
ALLOWED: dict[str, tuple[tuple[str, str], ...]] = {  # component: (library, class) that a folder may name
    "unet": (("diffusers", "UNet2DConditionModel"),),
    "vae": (("diffusers", "AutoencoderKL"), ("diffusers", "AutoencoderTiny")),
    "scheduler": (("diffusers", "DDIMScheduler"), ("diffusers", "LCMScheduler")),
    "text_encoder": (("transformers", "CLIPTextModel"),),
    "tokenizer": (("transformers", "CLIPTokenizer"), ("transformers", "CLIPTokenizerFast")),
}
_DANGEROUS = ("auto_map", "quantization_config", "custom_pipeline", "custom_pipelines")  # they name code to import
_JSON_LIMIT = 10_000_000  # bytes
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # of autoencoders
_TEXT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "projection_dim",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)


def require_packages(name: str) -> None:
    """Raise `TeacherError` where the packages that the teacher `name` runs with are not installed."""
    try:
        import diffusers
        import transformers
    except ImportError as error:
        missing = (error.name or "diffusers").split(".")[0]
        raise TeacherError(f"{name} needs the package '{missing}', which is not installed.", INSTALL) from None
    del diffusers, transformers


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`.

    Raises `TeacherError` where there is no such file and `CheckpointError` where it is damaged or names code to load.
    """
    problem = CheckpointError(f"{path} is not a JSON object.", "Download or copy it again.")
    try:
        if path.stat().st_size > _JSON_LIMIT:
            raise problem
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        raise problem from None
    if not isinstance(content, dict):
        raise problem
    if found := [key for key in _DANGEROUS if content.get(key)]:
        raise CheckpointError(f"{path} was not used: its entry '{found[0]}' names code to load.")
    return content


def read_index(folder: Path, pipelines: tuple[str, ...]) -> dict[str, Any]:
    """Return the `model_index.json` of `folder`, whose pipeline must be one of `pipelines`.

    Raises `CheckpointError` where it names a class that is not in `ALLOWED` or holds anything but classes and plain
    values.
    """
    path = folder / "model_index.json"
    index = read_json(path)
    kind = index.get("_class_name")
    if kind not in pipelines:
        raise CheckpointError(f"{path} is of the pipeline {_short(kind)}, not of {pipelines[0]}; it was not used.")
    for key, value in index.items():
        if key in ALLOWED:
            if not isinstance(value, list) or tuple(value) not in ALLOWED[key]:
                raise CheckpointError(f"{path} names a {key} of a class that is not allowed: {_short(value)}.")
        elif isinstance(value, (list, dict)):
            raise CheckpointError(f"{path} names a component that is not allowed: {_short(key)}.")
    if absent := [key for key in ALLOWED if key not in index]:
        raise CheckpointError(f"{path} does not name its {absent[0]}.")
    return index


def weights_file(folder: Path, stem: str, half: bool = False) -> Path:
    """Return the weights `stem`.safetensors of `folder`, or `stem`.fp16.safetensors (preferred where `half`).

    Raises `TeacherError` where there is neither, and `CheckpointError` where there are only pickled or split ones.
    """
    names = [f"{stem}{SAFE_SUFFIX}", f"{stem}.fp16{SAFE_SUFFIX}"]
    for name in reversed(names) if half else names:
        if (folder / name).is_file():
            return folder / name
    present = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    if pickled := [n for n in present if n.endswith(PICKLE_SUFFIXES)]:
        raise CheckpointError(
            f"{folder} holds only pickled weights ({pickled[0]}), which are not read: files like this can run code.",
            f"Put {names[0]} there.",
        )
    if any(n.endswith(".index.json") for n in present):
        raise CheckpointError(f"The weights in {folder} are split over several files, which is not supported.")
    raise _missing(folder / names[0])


def read_network(name: str, folder: Path, dtype: torch.dtype, config: Mapping[str, Any] | None = None) -> Any:
    """Return the diffusers network `name` in `folder`, frozen, in evaluation mode and as `dtype`, on the CPU.

    `config` is used where the folder holds no config.json. Every tensor must be there, fit and be used. Raises
    `TeacherError` for missing files and `CheckpointError` for unusable ones.
    """
    import diffusers

    file = folder / "config.json"
    values = dict(config) if config is not None and not file.exists() else read_json(file)
    if values.get("_class_name", name) != name:
        raise CheckpointError(f"{file} is of the class {_short(values['_class_name'])}, not {name}; it was not used.")
    path = weights_file(folder, "diffusion_pytorch_model", dtype == torch.float16)
    network = _blank(lambda: getattr(diffusers, name).from_config(_public(values)), file)
    state = read_state(path)
    return _fill(
        network, {_new_attention(n): t for n, t in state.items()} if name == "AutoencoderKL" else state, path, dtype
    )


def read_scheduler(name: str, folder: Path) -> Any:
    """Return the diffusers scheduler `name` (one of `ALLOWED`) that `folder`/scheduler_config.json describes."""
    import diffusers

    file = folder / "scheduler_config.json"
    values = read_json(file)
    return _build(lambda: getattr(diffusers, name).from_config(_public(values)), file)


@torch.no_grad()
def empty_prompt(folder: Path) -> Tensor:
    """Return the CLIP embedding [1, 2, C] float32 of the empty prompt, from `folder`/text_encoder and /tokenizer.

    Not padded (start and end token only), last hidden state after the final norm: as Marigold and GenPercept take it.
    The network is not kept: this is all that they use it for.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    text, words = folder / "text_encoder", folder / "tokenizer"
    absent = [name for name in ("vocab.json", "merges.txt") if not (words / name).is_file()]
    if absent and not (words / "tokenizer.json").is_file():  # newer repositories hold that one instead
        raise _missing(words / absent[0])
    for name in ("vocab.json", "tokenizer_config.json"):
        if (words / name).is_file():
            read_json(words / name)
    tokenizer = _build(lambda: CLIPTokenizer.from_pretrained(words, local_files_only=True), words)
    ids = tokenizer("", padding="do_not_pad", truncation=True, max_length=77, return_tensors="pt").input_ids

    file = text / "config.json"
    values = read_json(file)
    path = weights_file(text, "model")
    config = _build(lambda: CLIPTextConfig(**{k: values[k] for k in _TEXT_FIELDS if k in values}), file)
    network = _blank(lambda: CLIPTextModel(config), file)
    # The outer name came and went between versions of transformers; old files hold the positions 0, 1, 2, ... too.
    outer = "text_model."
    own = {n.removeprefix(outer): n for n in network.state_dict()}
    state = {n.removeprefix(outer): t for n, t in read_state(path).items() if not n.endswith(".position_ids")}
    _fill(network, {own.get(n, n): t for n, t in state.items()}, path, torch.float32)
    if int(ids.max()) >= config.vocab_size:
        raise CheckpointError(f"{words} does not belong to {text}: its tokens exceed the vocabulary.")
    embedding: Tensor = network(ids)[0]
    return embedding


def _blank(build: Any, file: Path) -> nn.Module:
    """A network without memory for its weights: all of them are about to be read, random ones would take seconds."""
    with torch.device("meta"):
        network: nn.Module = _build(build, file)
    return network


def _build(build: Any, file: Path) -> Any:
    try:
        return build()
    except Exception as error:  # whatever a configuration of wrong values makes the libraries raise
        raise CheckpointError(f"{file} does not describe a usable component ({first_line(error)}).") from None


def _fill(network: nn.Module, state: Mapping[str, Tensor], path: Path, dtype: torch.dtype) -> nn.Module:
    load_strict(network, state, path, dtype=dtype)
    for name, buffer in list(network.named_buffers()):
        if buffer.is_meta and name.endswith("position_ids"):  # a constant that files leave out
            owner = network.get_submodule(name.rpartition(".")[0])
            owner.register_buffer("position_ids", torch.arange(buffer.shape[-1])[None], persistent=False)
    if any(t.is_meta for t in chain(network.parameters(), network.buffers())):
        raise CheckpointError(f"{path} is of a layout that this version does not know.")
    return network.eval().requires_grad_(False)


def _new_attention(name: str) -> str:
    """Stable Diffusion's own autoencoder files are older than diffusers' present names of attention layers."""
    owner, _, leaf = name.rpartition(".")
    parent, _, layer = owner.rpartition(".")
    return f"{parent}.{_OLD_ATTENTION[layer]}.{leaf}" if ".attentions." in name and layer in _OLD_ATTENTION else name


def _public(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.startswith("_")}


def _missing(path: Path) -> TeacherError:
    return TeacherError(
        f"There is no {path.parent.name}/{path.name} in {path.parent.parent}.", "The download is not complete."
    )


def _short(value: object) -> str:
    return f"'{str(value)[:80]}'"
