"""MLflow: one run of its own for a run of ours, continued on resume; by a client, without the state that its module keeps."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from ccd_cli.config.distill import MlflowLog
from ccd_cli.distill.trackers.base import Opener, Status, Subject

LOCAL = "sqlite:///mlflow.db"
"""Where mlflow itself keeps runs without a server: a file in the current folder, which `mlflow ui` shows."""
PARAMS = 100
"""Parameters in one request, at most."""
LONGEST = 500
"""Characters of a parameter's value that every server takes."""
ENDS: dict[Status, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


def opener(settings: MlflowLog) -> Opener:
    """Return what opens a run."""
    return partial(MlflowTracker, settings)


class MlflowTracker:
    """An open run: numbers as metrics, images, and the recipe as parameters under dotted keys."""

    def __init__(self, settings: MlflowLog, subject: Subject) -> None:
        uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or LOCAL
        self._client = MlflowClient(tracking_uri=uri)
        if subject.identity is not None:
            self.identity = subject.identity
            self._client.update_run(self.identity, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(settings.experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(settings.experiment)
        run = self._client.create_run(experiment, run_name=settings.name or subject.recipe.name)
        self.identity = str(run.info.run_id)
        params = [Param(key, text) for key, text in flat(subject.recipe.model_dump(mode="json"))]
        for first in range(0, len(params), PARAMS):
            self._client.log_batch(self.identity, params=params[first : first + PARAMS])

    def log(self, values: dict[str, Any], step: int) -> None:
        """Log a step."""
        now = int(1000 * time.time())
        numbers = [Metric(k, float(v), now, step) for k, v in values.items() if not isinstance(v, np.ndarray)]
        if numbers:
            self._client.log_batch(self.identity, metrics=numbers)
        for key, value in values.items():
            if isinstance(value, np.ndarray):
                self._client.log_image(self.identity, value, key=key, step=step)

    def close(self, status: Status) -> None:
        """End the run."""
        self._client.set_terminated(self.identity, ENDS[status])


def flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, value as text) of nested tables; lists as JSON."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", (value if isinstance(value, str) else json.dumps(value))[:LONGEST]
