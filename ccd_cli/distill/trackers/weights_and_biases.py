"""Weights & Biases (the package wandb): one run of its own for a run of ours, continued on resume."""

from __future__ import annotations

import os
import secrets
from functools import partial
from typing import Any

import numpy as np
import wandb

from ccd_cli.config.distill import WandbLog
from ccd_cli.core.errors import CcdError
from ccd_cli.distill.trackers.base import Opener, Status, Subject

LOCAL = ("offline", "disabled", "dryrun")
"""Values of `mode`, and of WANDB_MODE, under which nothing is sent."""


def opener(settings: WandbLog) -> Opener:
    """Return what opens a run. Raises CcdError where it would be sent and nobody is logged in; never asks on the terminal."""
    mode = settings.mode or os.environ.get("WANDB_MODE", "online")
    if mode not in LOCAL and not wandb.login(prompt=False, verify=False):
        raise CcdError(
            "log.wandb: there is no login for Weights & Biases on this machine.",
            "Run `wandb login`, set WANDB_API_KEY, or choose log.wandb.mode=offline (`wandb sync` sends it later).",
        )
    return partial(WandbTracker, settings)


class WandbTracker:
    """An open run. Numbers, images and the recipe are logged; no code, no console output, no facts of the machine."""

    def __init__(self, settings: WandbLog, subject: Subject) -> None:
        self.identity = subject.identity or secrets.token_hex(4)
        quiet = wandb.Settings(
            console="off",
            silent=True,
            save_code=False,
            disable_git=True,
            disable_job_creation=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            name=settings.name or subject.recipe.name,
            group=settings.group,
            tags=settings.tags,
            mode=settings.mode,  # None: WANDB_MODE, else online
            dir=str(subject.folder),
            id=self.identity,
            resume="allow",
            config=subject.recipe.model_dump(mode="json"),
            settings=quiet,
        )

    def log(self, values: dict[str, Any], step: int) -> None:
        """Log a step; steps that the run has already are dropped by wandb: they are the same."""
        images = {key: wandb.Image(value) for key, value in values.items() if isinstance(value, np.ndarray)}
        self._run.log({**values, **images}, step=step)

    def close(self, status: Status) -> None:
        """Finish the run; only a failed one is marked so."""
        self._run.finish(exit_code=1 if status == "failed" else 0)
