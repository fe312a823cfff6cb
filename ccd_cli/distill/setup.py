"""Everything that `ccd distill` checks and loads before its loop: cheap checks first, no time spent before an error."""

from __future__ import annotations

import copy
import math
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ccd_cli.benchmarks.own.doubts import doubts_before_a_run
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.load import to_yaml
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import ImageError, UsageProblem
from ccd_cli.core.files import check_free_space, write_text
from ccd_cli.core.lock import exclusive_lock
from ccd_cli.core.processes import plain_process_errors
from ccd_cli.core.report import Report
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.data.source import Source
from ccd_cli.distill import checkpoint
from ccd_cli.distill.compiled import compile_networks
from ccd_cli.distill.guards import Guard, check_unreadable
from ccd_cli.distill.images import (
    how_many,
    open_images,
    open_pairs_of,
    open_pairs_of_labels,
    open_stream,
    worker_count,
)
from ccd_cli.distill.optimizer import encoder_rates, make_optimizer
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.distill.state import Run, Trained, TrainState, whole_student
from ccd_cli.distill.student import build_student, find_student, first_license
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.precomputed import PrecomputedLabels
from ccd_cli.distill.teaching.teachers import (
    check_devices,
    find_filler,
    find_teachers,
    load_ensemble,
    open_labels,
    try_out,
)
from ccd_cli.distill.trackers.feeds import openers
from ccd_cli.distill.validation import Validation, open_validation
from ccd_cli.labels.format import old_format_note
from ccd_cli.labels.shards import ShardReader
from ccd_cli.media.not_read import NotRead
from ccd_cli.media.photos import bad_headers
from ccd_cli.models.arch import Arch
from ccd_cli.models.checkpointing import checkpoint_encoder
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.parallel import replicate, shard
from ccd_cli.teachers.load import ModelRef


@dataclass(frozen=True)
class Inputs:
    """What a recipe names, found and checked but not loaded; `fits` are the teachers that others are fitted to."""

    images: Source | ShardReader
    teachers: list[ModelRef | PrecomputedLabels]
    fits: list[int | None]
    arch: Arch
    weights: ModelRef | None
    validation: Validation | None
    warnings: list[str]


def prepare(
    recipe: DistillRecipe,
    folder: RunFolder,
    settings: DistillSettings,
    compute: Compute,
    report: Report,
    stack: ExitStack,
) -> tuple[Run, TrainState]:
    """Check and load everything; raises CcdError with one plain line for whatever is wrong.

    The first process holds the folder's lock until `stack` closes. A dry folder is neither made nor written.
    """
    inputs = find_inputs(recipe, folder)
    check_devices(recipe, compute)
    openers(recipe.log)  # what is missing is said now
    for warning in inputs.warnings:
        report.warn(warning)
    if recipe.optim.batch % compute.world:
        raise UsageProblem(
            f"optim.batch {recipe.optim.batch} cannot be shared by {compute.world} processes.",
            "Use a multiple of their number.",
        )
    if compute.world > 1 and recipe.compute.compile in ("student", "both"):
        raise UsageProblem(
            f"compute.compile: {recipe.compute.compile} is for one process: several train the student through wrappers of torch's.",
            "Use none or teachers.",
        )
    if recipe.student.batch_norm == "synchronized" and compute.type != "cuda":
        raise UsageProblem(
            f"student.batch_norm: synchronized needs CUDA, and this run is on {compute.type}.", "Use local or frozen."
        )
    if recipe.student.sharded and compute.world == 1:
        report.warn("student.sharded has no effect: one process holds the whole student.")
    elif recipe.student.sharded and folder.dry:
        report.warn("student.sharded: counted and timed as if each process held the whole student.")
    weights = inputs.weights.path if inputs.weights else None
    student = build_student(inputs.arch, recipe.student.init, weights, step_seed(recipe.seed, Draw.INITIAL_WEIGHTS))
    _take_folder(folder, student, 2 + (recipe.optim.ema > 0) + (inputs.validation is not None), compute, stack)
    saved = checkpoint.read_whole(folder.state) if settings.resume else None
    if saved is not None:
        checkpoint.check_same_images(saved, inputs.images)
        checkpoint.check_same_validation(saved, inputs.validation)
        checkpoint.match_machine(saved, compute, settings.threads, report)

    held = "" if inputs.validation is None else f"; {len(inputs.validation)} to validate on"
    report.note(f"{how_many(inputs.images)}{held}; student {inputs.arch.name}; {compute.describe()}")
    ensemble = load_ensemble(recipe, inputs.teachers, inputs.fits, compute, report)
    if not folder.dry:  # the steps of a rehearsal try them
        try_out(ensemble, recipe.crops.size, compute)
    hashes = {t.name: t.checkpoint_sha256 for t in ensemble.networks} | _hash_of(inputs.weights)
    if saved is not None:
        checkpoint.check_same_weights(saved, hashes)
    bad = _unreadable(recipe, inputs.images, report)
    if recipe.student.kind == "metric" and isinstance(inputs.images, Source):
        _warn_of_zoom(recipe, inputs.images, report)
    if compute.main and not folder.dry:
        if settings.resume:
            folder.reopen()
        else:
            folder.clear()
        write_text(folder.recipe, to_yaml(recipe))
    if isinstance(inputs.images, ShardReader) and (note := old_format_note(inputs.images.index)):
        report.warn(f"{inputs.images.folder}: {note}")
    features = _wants_features(recipe, student, ensemble, report)
    run = Run(
        recipe=recipe,
        folder=folder,
        compute=compute,
        stream=open_stream(recipe, inputs.images, ensemble, folder.note_skipped if compute.main else _silent, bad),
        ensemble=ensemble,
        validation=inputs.validation,
        features=features,
        untrained=copy.deepcopy(student).eval().requires_grad_(False),
        licenses=[t.license for t in ensemble.networks] + first_license(recipe, inputs.weights),
        hashes=hashes,
    )
    state = begin(run, student)
    if saved is not None:
        checkpoint.restore(state, run.stream, saved)
        report.note(f"Continuing after step {state.step} of {recipe.optim.steps}")
    compile_networks(run, state, report)
    with whole_student(run, state):
        if compute.main and not folder.dry:
            _write_again(run, state, report)
    return run, state


def _warn_of_zoom(recipe: DistillRecipe, images: Source, report: Report) -> None:
    """Warn where crops of several sizes would show a metric student the same meters at several zooms."""
    if recipe.student.canonical_focal is not None:
        return
    with suppress(ImageError):
        side = min(images.read(0)[0].shape[:2])
        if side > recipe.crops.min_side:
            report.warn(
                f"crops.min_side {recipe.crops.min_side}: crops of different sizes are different zooms, and the same meters look "
                f"different in each. Set it to the images' short side ({side}) or more, or give student.canonical_focal."
            )


def _silent(photo: Path, reason: str) -> None:
    """The first process alone lists what is skipped."""


def _write_again(run: Run, state: TrainState, report: Report) -> None:
    """Bring the files beside a state to that state's step: later lines go, and what is damaged is written again."""
    if state.lines.restore(run.folder.metrics):
        report.warn(
            f"{run.folder.metrics} was damaged: its lines up to step {state.step} are those of the saved state."
        )
    if state.step:
        checkpoint.save_student(run, state)


def find_inputs(recipe: DistillRecipe, folder: RunFolder) -> Inputs:
    """Find what a recipe names; raises CcdError subclasses for what is missing, contradicts itself or would be lost."""
    labels = open_labels(recipe)
    not_read, pairs = NotRead(), open_pairs_of(recipe)
    images = open_images(recipe, not_read, pairs) if labels is None else labels
    teachers, fits = find_teachers(recipe, labels)
    odd = doubts_before_a_run([] if pairs is None else pairs.train.sets, recipe.student.max_depth)
    if pairs is not None and recipe.images.pairs is not None:
        odd += pairs.doubts(recipe.images.pairs.validation)
    if labels is not None:
        pairs, odd = open_pairs_of_labels(recipe)
    if recipe.mixing != "select" and len(teachers) == 1:
        raise UsageProblem(f"mixing: {recipe.mixing} needs more than one teacher.", "Use mixing: select.")
    arch, weights = find_student(recipe)
    fillers = [find_filler(entry) for entry in recipe.teachers]
    for path in [ref.path for ref in [*teachers, *fillers, weights] if isinstance(ref, ModelRef)]:
        if path.resolve().is_relative_to(folder.path.resolve()):
            raise UsageProblem(
                f"{path} lies in the run's own folder and would be written over.", "Choose another --out."
            )
    validation = open_validation(recipe, pairs)
    if validation is not None and validation.own and (recipe.eval.pairs or labels is not None):
        key = "eval.pairs" if recipe.eval.pairs else "the pairs held out by the labels"
        odd = [*odd, *doubts_before_a_run(validation.own, key=key)]
    if recipe.eval.patience and validation is None:
        raise UsageProblem(
            "eval.patience: nothing scores the student, so no score gets worse.",
            "Give eval.pairs or eval.scenes, or hold pairs out.",
        )
    return Inputs(images, teachers, fits, arch, weights, validation, [*not_read.warnings(), *odd])


@plain_process_errors()
def begin(run: Run, student: DepthNet) -> TrainState:
    """Move the student to its device and return it with all that trains it, before the first step."""
    recipe, optim, device = run.recipe, run.recipe.optim, run.compute.device
    sharded = recipe.student.sharded and run.compute.world > 1 and not run.folder.dry
    layout = torch.contiguous_format if sharded else torch.channels_last  # shards are cut from contiguous tensors
    student = student.to(device, memory_format=layout)  # type: ignore[call-overload]
    for parameter in student.encoder_parameters():
        parameter.requires_grad_(not recipe.student.freeze_encoder)
    student.train()
    if recipe.student.batch_norm == "synchronized":
        from timm.layers import convert_sync_batchnorm

        student = convert_sync_batchnorm(student)
    elif recipe.student.batch_norm == "frozen":
        for module in student.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
    if recipe.student.checkpointing:
        checkpoint_encoder(student)
    width = run.ensemble.members[0].teacher.feature_width
    projection = None
    if run.features and width is not None and width != student.feature_width:
        torch.manual_seed(
            step_seed(recipe.seed, Draw.PROJECTION)
        )  # its weights follow from the recipe, not from what ran before
        projection = nn.Linear(student.feature_width, width, bias=False).to(device)
    ema = copy.deepcopy(student).eval().requires_grad_(False) if optim.ema else None
    network: nn.Module = Trained(student, projection)
    if sharded:
        shard(network, run.compute)
        if ema is not None:
            shard(ema, run.compute)
    elif run.compute.world > 1:
        network = replicate(network, torch.zeros(1, 3, recipe.crops.size, recipe.crops.size, device=device))
    head = [*student.head_parameters(), *(projection.parameters() if projection else ())]
    guards = recipe.guards
    limit = guards.drift_limit if recipe.student.kind == "disparity" else math.inf  # others have a unit of their own
    return TrainState(
        student=student,
        ema=ema,
        projection=projection,
        optimizer=make_optimizer(
            [(head, optim.lr), *encoder_rates(student.encoder, optim.encoder_lr, optim.layer_decay)], optim.weight_decay
        ),
        scaler=torch.amp.GradScaler(device.type, enabled=run.compute.precision == "fp16"),
        guard=Guard(limit, guards.drift_window, guards.nonfinite_limit),
        network=network,
    )


def _take_folder(folder: RunFolder, student: DepthNet, beside: int, compute: Compute, stack: ExitStack) -> None:
    """Make the run's folder and lock it; raises CcdError where its disk is too full or another process writes it.

    The state holds the weights and `beside` further copies (two moments, the EMA, the best student).
    """
    weights_bytes = sum(p.numel() for p in student.parameters()) * 4
    copies = 2 * (1 + beside) + 3  # the state and the student are there twice while they are replaced
    existing = sum(file.stat().st_size for file in (folder.state, folder.student) if file.is_file())
    check_free_space(folder.path, max(0, weights_bytes * copies - existing), "The run")
    if folder.dry:
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    if compute.main:
        stack.enter_context(exclusive_lock(folder.lock, f"Another process is writing {folder.path}."))


def _wants_features(recipe: DistillRecipe, student: DepthNet, ensemble: TeacherEnsemble, report: Report) -> bool:
    """Return whether the feature term is on: the recipe wants it, and the encoders' widths agree or are projected."""
    width = ensemble.members[0].teacher.feature_width
    if not recipe.loss.feature.weight:
        return False
    if recipe.labels is not None:
        report.note("The feature term is off: labels hold no encoder's features.")
    if width is None:
        return False
    if width != student.feature_width and not recipe.loss.feature.projection:
        report.note(
            f"The feature term is off: the student's encoder is {student.feature_width} wide, the primary teacher's {width} "
            "(loss.feature.projection learns a map between them)."
        )
        return False
    return True


def _hash_of(weights: ModelRef | None) -> dict[str, str]:
    return {} if weights is None else {f"student weights {weights.name}": weights.sha256}


def _unreadable(recipe: DistillRecipe, images: Source | ShardReader, report: Report) -> list[tuple[Path, str]]:
    """Return (photo, reason) of photos whose headers are damaged; raises TrainingStopped for too many of them."""
    bad = bad_headers(images.paths, recipe.seed, worker_count(recipe), report) if isinstance(images, Source) else []
    check_unreadable(len(bad), images.files, recipe.images.max_skipped)
    return bad
