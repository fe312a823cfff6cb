"""Marigold: depth by denoising, through diffusers' own pipeline. Version 1.0 (DDIM), its LCM, version 1.1 (trailing).

Ke et al., "Repurposing Diffusion-Based Image Generators for Monocular Depth Estimation", https://arxiv.org/abs/2312.02145.
Near is 0 and far is 1: the authors' training code maps the near plane to the lower and the far plane to the upper end
of the range. That the published weights keep to it could not be checked without them.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccd_cli.core.errors import CheckpointError, TeacherError, UsageProblem, first_line
from ccd_cli.geometry.kinds import Kind
from ccd_cli.teachers.adapters.base import TeacherFacts
from ccd_cli.teachers.adapters.diffusion import MAX_PIXELS, DiffusionSettings, DiffusionTeacher
from ccd_cli.teachers.adapters.diffusion_parts import INSTALL, empty_prompt, read_index, read_network, read_scheduler
from ccd_cli.teachers.registry import Card

_PIPELINES = ("MarigoldDepthPipeline", "MarigoldPipeline")  # the second: the authors' own name for it
_DEFAULT_SIDE = 768  # pixels of the longer side, where neither the folder nor the card says otherwise


class MarigoldTeacher(DiffusionTeacher):
    """diffusers' `MarigoldDepthPipeline` as a `Teacher`.

    Photos are brought to a longer side of the pipeline's own resolution (768), also upwards; sides are padded to
    multiples of 8 by repeating the edge and cut again, as the pipeline does it. The kind is affine-depth, or disparity
    where the pipeline's `prediction_type` says so.

    Every image starts from the same noise, drawn on the CPU from the settings' seed, so that the result depends on
    the image, the settings and the size alone. The members of an ensemble draw one after another from that source; the
    pipeline aligns them with scipy and takes the median. That search amplifies rounding: on another device an ensemble
    can differ in the third digit.
    Raises `TeacherError` where scipy is missing or the pipeline predicts something unknown, `UsageProblem` for a
    number of steps that the scheduler does not take.
    """

    def __init__(
        self,
        pipeline: Any,
        facts: TeacherFacts,
        settings: DiffusionSettings | None = None,
        resolution: int | None = None,
        photo_resolution: int | None = None,
    ) -> None:
        default = pipeline.default_processing_resolution or photo_resolution or _DEFAULT_SIDE
        networks = {"unet": pipeline.unet, "vae": pipeline.vae}
        super().__init__(facts, networks, resolution, default)
        name = facts.name
        self.settings = settings or DiffusionSettings()
        self.steps = self.settings.steps or pipeline.default_denoising_steps
        self.pipeline = pipeline
        pipeline.set_progress_bar_config(disable=True)
        if self.steps is None:
            raise UsageProblem(f"The files of {name} do not say how many steps it takes.", "Give steps.")
        try:
            pipeline.scheduler.set_timesteps(self.steps)
        except ValueError as error:
            raise UsageProblem(f"{name} does not take {self.steps} steps ({first_line(error)}).") from None
        if self.settings.ensemble > 1 and find_spec("scipy") is None:
            raise TeacherError(f"An ensemble of {name} needs the package 'scipy', which is not installed.", INSTALL)

    def size_for(self, height: int, width: int, longer: int | None) -> tuple[int, int]:
        """The pipeline's rule: the longer side becomes `longer`, the other is rounded down."""
        if longer is None:
            return height, width
        longest = max(height, width)
        return height * longer // longest, width * longer // longest

    def run(self, images: Tensor) -> Tensor:
        """Images [B, 3, h, w] in -1..1 -> maps [B, h, w] in 0..1, each as if it were alone."""
        members = self.settings.ensemble
        if members == 1:  # one batch of the pipeline: in several, its schedulers would draw noise across images
            noise = [self._noise() for _ in images]
            return self._pipe(images, noise, 1, len(images))
        at_once = min(members, max(1, MAX_PIXELS // (images.shape[-2] * images.shape[-1])))
        return torch.cat([self._pipe(one, [self._noise()] * members, members, at_once) for one in images.split(1)])

    def _noise(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.settings.seed)

    def _pipe(self, images: Tensor, noise: list[torch.Generator], members: int, batch: int) -> Tensor:
        made: Tensor = self.pipeline(
            images,
            num_inference_steps=self.steps,
            ensemble_size=members,
            processing_resolution=0,  # the images have their size already
            match_input_resolution=False,
            batch_size=batch,
            generator=noise,
            output_type="pt",
        ).prediction
        return made[:, 0]


def _kind(pipeline: Any) -> Kind:
    if pipeline.config.prediction_type == "disparity":
        return "disparity"
    if pipeline.config.prediction_type == "depth" and pipeline.scale_invariant:
        return "affine-depth" if pipeline.shift_invariant else "depth"
    raise TeacherError(
        f"This pipeline predicts '{pipeline.config.prediction_type}' (scale unknown: {pipeline.scale_invariant}), "
        "which is neither relative depth nor disparity."
    )


def load_marigold(
    path: Path, card: Card, dtype: torch.dtype, resolution: int | None, sha256: str, settings: DiffusionSettings
) -> MarigoldTeacher:
    """Return the Marigold teacher in the folder `path`; see `diffusion.load`.

    The folder is a copy of its repository: model_index.json, unet, vae, scheduler, text_encoder and tokenizer. The text
    encoder is read once, for the embedding of the empty prompt.
    """
    from diffusers import MarigoldDepthPipeline

    index = read_index(path, _PIPELINES)
    unet = read_network("UNet2DConditionModel", path / "unet", dtype)
    vae = read_network(index["vae"][1], path / "vae", dtype)
    if unet.config.in_channels != 2 * vae.config.latent_channels:
        raise CheckpointError(f"{path}/unet is not Marigold's: it does not take the latents of an image and of a map.")
    pipeline: Any = MarigoldDepthPipeline(
        unet=unet,
        vae=vae,
        scheduler=read_scheduler(index["scheduler"][1], path / "scheduler"),
        text_encoder=None,
        tokenizer=None,
        prediction_type=index.get("prediction_type") or "depth",
        scale_invariant=index.get("scale_invariant", True),
        shift_invariant=index.get("shift_invariant", True),
        default_denoising_steps=index.get("default_denoising_steps"),
        default_processing_resolution=index.get("default_processing_resolution"),
    )
    pipeline.image_processor = type(pipeline.image_processor)(
        vae_scale_factor=pipeline.vae_scale_factor,
        do_normalize=False,  # the teacher's part, with the resizing
        do_range_check=False,
    )
    pipeline.empty_text_embedding = empty_prompt(path)
    facts = TeacherFacts(card.name, _kind(pipeline), card.effective_license, sha256)
    return MarigoldTeacher(pipeline, facts, settings, resolution, photo_resolution=card.resolution)
