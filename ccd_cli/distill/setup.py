"""Everything that `ccd distill` checks and loads before its loop: cheap checks first, no time spent before an error."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.load import to_yaml
from ccd_cli.core.errors import TeacherError, TrainingStopped, UsageProblem
from ccd_cli.core.files import check_free_space, cut_json_lines, exclusive_lock, write_text
from ccd_cli.core.report import Report
from ccd_cli.core.runtime import Runtime, Signals, choose_runtime
from ccd_cli.core.seeding import step_seed
from ccd_cli.data.source import Source
from ccd_cli.data.views import Stream
from ccd_cli.distill.ensemble import TeacherEnsemble
from ccd_cli.distill.guards import Guard
from ccd_cli.distill.inputs import make_label_stream, make_source, make_stream, worker_count
from ccd_cli.distill.optimizer import make_optimizer
from ccd_cli.distill.run_folder import RunFolder, load_state
from ccd_cli.distill.student import build_student, pretrained_license, student_arch
from ccd_cli.distill.teachers import find_teachers, load_ensemble, open_labels
from ccd_cli.distill.validation import Validation, open_validation
from ccd_cli.labels.shards import ShardReader
from ccd_cli.media.photos import bad_headers
from ccd_cli.models.arch import Arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.files import sha256_file
from ccd_cli.teachers.load import ModelRef, resolve_model


@dataclass
class Job:
    """All that the loop needs. `step` is the last finished step; it and the networks change as the loop runs."""

    recipe: DistillRecipe
    folder: RunFolder
    runtime: Runtime
    stream: Stream
    workers: int
    ensemble: TeacherEnsemble
    student: DepthNet
    mean: DepthNet | None
    projection: nn.Module | None
    features: bool
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    guard: Guard
    validation: Validation | None
    license_sources: list[str]
    untrained: DepthNet
    hashes: dict[str, str]
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] | None = None
    first_samples: torch.Tensor | None = None

    @property
    def evaluated(self) -> DepthNet:
        """The network that is scored and kept: the running mean of weights if there is one."""
        return self.student if self.mean is None else self.mean

    @property
    def how_to_go_on(self) -> str:
        """The words after an interruption."""
        return f"Go on with: ccd distill RECIPE --resume --out {self.folder.path}"

    def check_skipped(self) -> None:
        """Raise TrainingStopped when more photos than the recipe allows cannot be read."""
        check_bad(len(self.stream.bad), self.stream.files, self.recipe.images.max_skipped)


def check_bad(bad: int, photos: int, limit: float) -> None:
    """Raise TrainingStopped when more than the share `limit` of the photos cannot be read."""
    if bad > limit * photos:
        raise TrainingStopped(
            f"{bad} of {photos} photos cannot be read, more than images.max_skipped {limit:.3g} allows.",
            "Remove them (those of a begun run are in its skipped.jsonl), or raise it: --set images.max_skipped=0.1",
        )


def prepare(
    recipe: DistillRecipe,
    folder: RunFolder,
    resume: bool,
    device: str,
    precision: str,
    threads: int | None,
    report: Report,
    signals: Signals,
    stack: ExitStack,
) -> Job:
    """Check and load everything; raises CcdError with one plain line for whatever is wrong."""
    labels = open_labels(recipe)
    images = make_source(recipe) if labels is None else labels
    teachers, fits = find_teachers(recipe, labels)
    if recipe.mixing == "average" and len(teachers) == 1:
        raise UsageProblem("mixing: average needs more than one teacher.", "Use mixing: select.")
    arch, weights = _student_source(recipe)
    _keep_apart(folder, [ref.path for ref in [*teachers, weights] if isinstance(ref, ModelRef)])
    validation = open_validation(recipe)
    runtime = choose_runtime(device, precision, threads)
    if recipe.optim.batch % runtime.world:
        raise UsageProblem(
            f"optim.batch {recipe.optim.batch} cannot be shared by {runtime.world} processes.",
            "Use a multiple of their number.",
        )

    student = build_student(arch, recipe.student.init, weights.path if weights else None, step_seed(recipe.seed, 0))
    weights_bytes = sum(p.numel() for p in student.parameters()) * 4
    copies = (
        11 if recipe.optim.ema else 9
    )  # weights, two moments (and mean) in the state, twice while it is replaced; student
    check_free_space(folder.path, weights_bytes * copies, "The run")
    folder.path.mkdir(parents=True, exist_ok=True)
    if runtime.main:
        stack.enter_context(exclusive_lock(folder.lock, f"Another process is writing {folder.path}."))
    state = load_state(folder) if resume else None
    _same_machine(state, runtime, threads, images, report)

    report.note(f"{len(images)} photos; student {arch.name}; {runtime.describe()}")
    ensemble = load_ensemble(recipe, teachers, fits, runtime, report)
    hashes = {m.teacher.name: m.teacher.checkpoint_sha256 for m in ensemble.members} | _hash_of(weights)
    _same_weights(state, hashes)
    bad = bad_headers(images.photos, recipe.seed, worker_count(recipe), report) if isinstance(images, Source) else []
    check_bad(len(bad), images.files, recipe.images.max_skipped)
    if runtime.main and not resume:
        folder.clear()
        write_text(folder.recipe, to_yaml(recipe))
    stream: Stream
    if isinstance(images, Source):
        stream = make_stream(recipe, images, folder, bad)
    else:
        stream = make_label_stream(recipe, images, ensemble, folder)
    if signals.received is not None:
        raise signals.interruption(
            "Stopped before the first step.", f"Start with: ccd distill RECIPE --resume --out {folder.path}"
        )
    job = _assemble(recipe, folder, runtime, stream, ensemble, student, validation, weights, hashes, report)
    if state is not None:
        _restore(job, state)
        report.note(f"Going on after step {job.step} of {recipe.optim.steps}")
    if runtime.main:
        cut_json_lines(folder.metrics, job.step)
        folder.card.unlink(missing_ok=True)
    return job


def _assemble(
    recipe: DistillRecipe,
    folder: RunFolder,
    runtime: Runtime,
    stream: Stream,
    ensemble: TeacherEnsemble,
    student: DepthNet,
    validation: Validation | None,
    weights: ModelRef | None,
    hashes: dict[str, str],
    report: Report,
) -> Job:
    """Move the student to its device and make all that trains it."""
    untrained = copy.deepcopy(student).eval().requires_grad_(False)
    student = student.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for parameter in student.encoder_parameters():
        parameter.requires_grad_(not recipe.student.freeze_encoder)
    student.train()
    projection = None
    width = ensemble.members[0].teacher.feature_width
    features = recipe.loss.feature.weight > 0 and width is not None
    if recipe.loss.feature.weight > 0 and recipe.labels is not None:
        report.note("The feature term is off: labels hold no encoder's features.")
    if features and width != student.feature_width:
        if recipe.loss.feature.projection:
            projection = nn.Linear(student.feature_width, width or 1, bias=False).to(runtime.device)
        else:
            features = False
            report.note(
                f"The feature term is off: the student's encoder is {student.feature_width} wide, the primary teacher's {width} "
                "(loss.feature.projection learns a map between them)."
            )
    head = [*student.head_parameters(), *(projection.parameters() if projection else ())]
    optimizer = make_optimizer(
        head, student.encoder_parameters(), recipe.optim.lr, recipe.optim.encoder_lr, recipe.optim.weight_decay
    )
    guards = recipe.guards
    return Job(
        recipe=recipe,
        folder=folder,
        runtime=runtime,
        stream=stream,
        workers=worker_count(recipe),
        ensemble=ensemble,
        student=student,
        mean=copy.deepcopy(student).eval().requires_grad_(False) if recipe.optim.ema else None,
        projection=projection,
        features=features,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16"),
        guard=Guard(guards.drift_limit, guards.drift_window, guards.nonfinite_limit),
        validation=validation,
        license_sources=[m.teacher.license for m in ensemble.members] + _first_license(recipe, weights),
        untrained=untrained,
        hashes=hashes,
    )


def _keep_apart(folder: RunFolder, sources: list[Path]) -> None:
    """Raise UsageProblem where a teacher, or the student's first weights, lie in the folder that the run writes."""
    for path in sources:
        if path.resolve().is_relative_to(folder.path.resolve()):
            raise UsageProblem(
                f"{path} lies in the run's own folder and would be written over.", "Choose another --out."
            )


def _hash_of(weights: ModelRef | None) -> dict[str, str]:
    return {} if weights is None else {f"student weights {weights.name}": sha256_file(weights.path)}


def _same_weights(state: dict[str, Any] | None, hashes: dict[str, str]) -> None:
    """Raise UsageProblem where a resumed run would go on with other teachers than it began with."""
    if state is not None and state["hashes"] != hashes:
        changed = sorted(name for name in {*state["hashes"], *hashes} if state["hashes"].get(name) != hashes.get(name))
        raise UsageProblem(
            f"Weights have changed since the run began: {', '.join(changed)}.",
            "Restore them, or start anew with --overwrite or another --out.",
        )


def _first_license(recipe: DistillRecipe, weights: ModelRef | None) -> list[str]:
    """Return the license of the weights that the student begins from, timm's own included; none for random ones."""
    if weights is not None:
        return [weights.license]
    return (
        [pretrained_license(recipe.student.encoder)]
        if recipe.student.init == "encoder" and recipe.student.encoder
        else []
    )


def _student_source(recipe: DistillRecipe) -> tuple[Arch, ModelRef | None]:
    """Return the student's architecture and where its first weights come from, checked to be there."""
    chosen = recipe.student
    arch = student_arch(chosen.arch, chosen.encoder, chosen.features, chosen.init)
    if recipe.crops.size % arch.multiple:
        near = round(recipe.crops.size / arch.multiple) * arch.multiple
        raise UsageProblem(
            f"crops.size {recipe.crops.size} is not a multiple of {arch.multiple}, which {arch.name} needs.",
            f"Use {near}.",
        )
    if chosen.init == "scratch" or (chosen.arch == "timm" and chosen.weights is None):
        return arch, None
    source = chosen.weights or chosen.arch
    try:
        return arch, resolve_model(source, None if chosen.arch == "timm" or chosen.init == "encoder" else chosen.arch)
    except TeacherError as error:
        raise TeacherError(
            f"The student begins from {source}: {error.message}",
            f"{error.hint} Or train from nothing: --set student.init=scratch",
        ) from error


def _same_machine(
    state: dict[str, Any] | None, runtime: Runtime, threads: int | None, images: Source | ShardReader, report: Report
) -> None:
    """Take up the thread count of the saved state, and refuse or tell of what keeps a resumed run from being exact."""
    if state is None:
        return
    if state["source_hash"] != images.digest:
        what = "list of photos has" if isinstance(images, Source) else "labels have"
        raise UsageProblem(
            f"The {what} changed since the run began ({state['photos']} photos then, {len(images)} now).",
            "Restore it, or start anew with --overwrite or another --out.",
        )
    if threads is None:
        torch.set_num_threads(state["threads"])
    elif threads != state["threads"]:
        report.warn(f"The run began with {state['threads']} threads: with {threads} its sums round differently.")
    if (
        state["device"] != runtime.device.type
        or state["precision"] != runtime.precision
        or state["world"] != runtime.world
    ):
        then = f"{state['device']}, {state['precision']}, {state['world']} processes"
        report.warn(f"The run began on {then}: going on as {runtime.describe()} is not bit for bit the same.")


def _restore(job: Job, state: dict[str, Any]) -> None:
    """Put a saved state into the job."""
    job.student.load_state_dict(state["student"])
    if job.mean is not None:
        job.mean.load_state_dict(state["mean"])
    if job.projection is not None:
        job.projection.load_state_dict(state["projection"])
    job.optimizer.load_state_dict(state["optimizer"])
    job.scaler.load_state_dict(state["scaler"])
    job.guard.restore(state["guard"])
    job.step, job.history, job.best = state["step"], state["history"], state["best"]
    job.first_samples = state["first_samples"]
    for path, reason in state["bad"]:
        job.stream.mark_bad(Path(path), reason)
