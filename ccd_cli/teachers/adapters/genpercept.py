"""GenPercept: Stable Diffusion 2.1 turned into a network that predicts in one deterministic step.

Xu et al., "What Matters When Repurposing Diffusion Models for General Dense Perception Tasks?",
https://arxiv.org/abs/2403.06090. Its pipeline is not in diffusers; the parts it is made of are.

    z = mean of the VAE's encoding of the image in -1..1, times the scaling factor (0.18215)
    p = - UNet(z, timestep 1, embedding of the empty prompt)
    map = (clip(mean over channels of the VAE's decoding of p / scaling factor, -1, 1) + 1) / 2

The minus is the prediction of the clean latent by a DDIM step with beta_start = beta_end = 1 and v-prediction, which is
how the authors write it. Their training code maps near to 0 and far to 1 for depth and the other way round for
disparity.

Not checked, for want of the published weights: that their names are those of Stable Diffusion 2.1's UNet in diffusers (the
authors' code loads them into it), and what the maps look like.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from ccd_cli.core.errors import CheckpointError, UsageProblem
from ccd_cli.teachers.adapters.base import TeacherFacts
from ccd_cli.teachers.adapters.diffusion import DiffusionSettings, DiffusionTeacher
from ccd_cli.teachers.adapters.diffusion_parts import empty_prompt, read_network
from ccd_cli.teachers.adapters.sizes import nearest_size
from ccd_cli.teachers.registry import Card

TIMESTEP = 1
MULTIPLE = 8  # pixels to a latent
SD21_UNET: dict[str, Any] = {  # Stable Diffusion 2.1's, where it is not diffusers' default
    "sample_size": 96,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "block_out_channels": [320, 640, 1280, 1280],
    "use_linear_projection": True,
}


class GenPerceptTeacher(DiffusionTeacher):
    """GenPercept's one step as a `Teacher`; no noise, no steps, no ensemble.

    Images are seen at their own size, or with `resolution` (photos: or `photo_resolution`) as the longer side; in either
    case each side is then rounded to the nearest multiple of 8 and the image resized to that, never padded or cut.
    `prompt` is the embedding [1, T, C] of the empty prompt.
    """

    antialias_maps = True

    def __init__(
        self,
        unet: Any,
        vae: Any,
        prompt: Tensor,
        facts: TeacherFacts,
        resolution: int | None = None,
        photo_resolution: int | None = None,
    ) -> None:
        networks = {"unet": unet, "vae": vae}
        super().__init__(facts, networks, resolution, photo_resolution)
        self.unet = unet
        self.vae = vae
        self.prompt = prompt

    def size_for(self, height: int, width: int, longer: int | None) -> tuple[int, int]:
        """Each side, scaled so that the longer one becomes `longer` (None: not scaled), to the nearest multiple of 8."""
        if longer is not None:
            longest = max(height, width)
            height, width = round(height * longer / longest), round(width * longer / longest)
        return nearest_size(height, width, MULTIPLE)

    def run(self, images: Tensor) -> Tensor:
        """Images [B, 3, h, w] in -1..1, sides multiples of 8 -> maps [B, h, w] in 0..1."""
        scale = self.vae.config.scaling_factor
        prompt = self.prompt.to(images.device, self.unet.dtype).expand(len(images), -1, -1)
        latent = self.vae.encode(images.to(self.vae.dtype)).latent_dist.mean * scale
        predicted = -self.unet(latent, TIMESTEP, encoder_hidden_states=prompt).sample
        decoded: Tensor = self.vae.decode(predicted / scale).sample
        return (decoded.mean(dim=1).clip(-1, 1) + 1) / 2


def load_genpercept(
    path: Path, card: Card, dtype: torch.dtype, resolution: int | None, sha256: str, settings: DiffusionSettings
) -> GenPerceptTeacher:
    """Return the GenPercept teacher in the folder `path`; see `diffusion.load`.

    The folder holds the UNet (in `unet_depth_v2` or `unet_disparity_v2`, or where the card's option `unet` says; its
    config.json may be absent) and Stable Diffusion 2.1's vae, text_encoder and tokenizer. Raises `UsageProblem` for
    settings other than one step and no ensemble.
    """
    if settings.steps not in (None, 1) or settings.ensemble != 1:
        raise UsageProblem(f"{card.name} predicts in one deterministic step: remove steps and ensemble.")
    usual = f"unet_{'disparity' if card.kind == 'disparity' else 'depth'}_v2"
    folder = path / PurePosixPath(str(getattr(card, "options", {}).get("unet") or usual)).name
    unet = read_network("UNet2DConditionModel", folder, dtype, SD21_UNET)
    vae = read_network("AutoencoderKL", path / "vae", dtype)
    if unet.config.in_channels != vae.config.latent_channels:
        raise CheckpointError(f"{folder} is not GenPercept's: it does not take the latents of one image.")
    prompt = empty_prompt(path)
    if prompt.shape[-1] != unet.config.cross_attention_dim:
        raise CheckpointError(f"{path}/text_encoder does not belong to {folder.name}: its width is {prompt.shape[-1]}.")
    facts = TeacherFacts(card.name, card.kind, card.effective_license, sha256)
    return GenPerceptTeacher(unet, vae, prompt, facts, resolution, card.resolution)
