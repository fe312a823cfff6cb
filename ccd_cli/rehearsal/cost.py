"""`ccd distill --dry-run`: what a step costs, counted in steps of the run's own loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.errors import Interrupted, first_line
from ccd_cli.core.report import Report
from ccd_cli.core.signals import Signals
from ccd_cli.data.views import batches
from ccd_cli.distill.images import worker_count
from ccd_cli.distill.run_folder import choose_folder
from ccd_cli.distill.state import Run, TrainState
from ccd_cli.distill.teaching.ensemble import AVERAGE
from ccd_cli.distill.train import PARTS
from ccd_cli.rehearsal.counting import Count, Kept, counting
from ccd_cli.rehearsal.steps import rehearsal, walk

COUNTED = PARTS[1:-1]
"""The parts of a step that compute."""


def dry_run(recipe: DistillRecipe, settings: DistillSettings, report: Report) -> dict[str, Any]:
    """Load everything as a run would and return what a step costs as JSON values (see `cost`).

    On a CPU the networks are counted without being computed; where one of them cannot be, and on GPUs, steps are done. Nothing
    is written, nothing compiled. Raises what a run raises before its first step, for its folder and its disk too.
    """
    plain = recipe.compute.model_copy(update={"ahead": "never", "compile": "none"})
    recipe = recipe.model_copy(update={"compute": plain})
    folder = choose_folder(recipe.name, settings.out or recipe.out, settings.resume, settings.overwrite)
    with rehearsal(recipe, settings, folder.path, report) as (run, state, signals):
        if run.compute.type == "cpu" and run.compute.world == 1:
            try:
                from ccd_cli.rehearsal.valueless import valueless  # on private parts of torch, which a version may lack

                with valueless(run, state) as (bare, bare_state):
                    return cost(bare, bare_state, signals)
            except Interrupted:
                raise
            except Exception as error:  # whatever a network that looks at values raises where there are none
                report.note(f"Real steps are counted, which takes longer: {first_line(error)}")
        else:
            report.note("Two steps, to count and to measure")
        return cost(run, state, signals)


def cost(run: Run, state: TrainState, signals: Signals) -> dict[str, Any]:
    """Return parameters, counts and memory of a step, and what steps come to in images.

    `teachers`: one entry for each that labels steps of its own, with `share`, the fraction of the steps. `parts`: flops and
    operations of a step by part, teachers by share. `memory_bytes`: what stays (weights, gradients, optimizer, EMA) by its
    size, `activations` as one step kept them for its backward pass; `total` is the sum, without temporary buffers.
    """
    parts = count_step(run, state, signals)
    teachers = _teachers(run, parts["teacher"])
    parts["teacher"] = sum((each["count"].times(each["share"]) for each in teachers), Count())
    weights = [*state.student.parameters(), *(state.projection.parameters() if state.projection is not None else ())]
    memory = {
        "teachers": sum(_bytes(_tensors(t)) for t in run.ensemble.networks),
        "student": _bytes(iter([*weights, *state.student.buffers()])),
        "gradients": _bytes(p for p in weights if p.requires_grad),
        "optimizer": _bytes(t for each in state.optimizer.state.values() for t in each.values() if torch.is_tensor(t)),
        "ema": 0 if state.ema is None else _bytes(_tensors(state.ema)),
        "activations": _activations(run, state, signals),
    }
    optim, images = run.recipe.optim, len(run.stream)
    whole = sum(parts.values(), Count())
    per_step = optim.batch * optim.accumulate
    return {
        "name": run.recipe.name,
        "device": run.compute.describe(),
        "parameters": {
            "student": sum(p.numel() for p in weights),
            "trainable": sum(p.numel() for p in weights if p.requires_grad),
        },
        "teachers": [
            {key: value for key, value in each.items() if key != "count"} | _json(each["count"]) for each in teachers
        ],
        "parts": {name: _json(parts[name]) for name in COUNTED},
        "step": _json(whole),
        "memory_bytes": memory | {"total": sum(memory.values())},
        "images": {
            "available": images,
            "per_step": per_step,
            "steps": optim.steps,
            "run": per_step * optim.steps,
            "epochs": per_step * optim.steps / images,
        },
    }


def count_step(run: Run, state: TrainState, signals: Signals) -> dict[str, Count]:
    """Return what the next step of this process computes, by part."""
    found = dict.fromkeys(PARTS, Count())
    with counting() as so_far:
        last = so_far()

        def mark(part: str) -> None:
            nonlocal last
            now = so_far()
            found[part] += now - last
            last = now

        walk(run, state, signals, 1, mark)
    return {name: found[name] for name in COUNTED}


def _teachers(run: Run, drawn: Count) -> list[dict[str, Any]]:
    """What each teacher that labels steps of its own costs; `drawn` is what the teacher of the counted step did.

    Networks that others are fitted to, or whose features are asked for, count with those that need them.
    """
    ensemble, recipe = run.ensemble, run.recipe
    if ensemble.draw(1) == AVERAGE or recipe.labels is not None or len(ensemble.networks) == 1:
        sizes = [_parameters(each) for each in ensemble.networks]
        name = " + ".join(member.teacher.name for member in ensemble.members)
        known = [size for size in sizes if size is not None]
        return [{"name": name, "share": 1.0, "parameters": sum(known) if known else None, "count": drawn}]
    batch = next(batches(run.stream, run.positions(0), worker_count(recipe), prefetch=0)).to(run.compute.device)
    made = []
    for number, (member, share) in enumerate(zip(ensemble.members, ensemble.fractions, strict=True)):
        with counting() as so_far:
            ensemble.label(batch, number, run.features, run.noise_seed(1, 0))
            count = so_far().times(recipe.optim.accumulate)
        about = {"name": member.teacher.name, "share": float(share), "parameters": _parameters(member.teacher)}
        made.append({**about, "count": count})
    return made


def _activations(run: Run, state: TrainState, signals: Signals) -> int:
    """The bytes that the forward passes of a micro-step keep for its backward pass."""
    own = [*state.student.parameters(), *state.student.buffers()]
    with Kept(iter(own)) as kept:
        walk(run, state, signals, 1, lambda part: kept.passed() if part == "backward" else None)
    return kept.most


def _tensors(network: Any) -> Iterator[Tensor]:
    """The tensors of a network, or of the one inside a teacher; none where there is none."""
    inner = network if isinstance(network, nn.Module) else getattr(network, "model", None)
    if isinstance(inner, nn.Module):
        yield from inner.parameters()
        yield from inner.buffers()


def _parameters(teacher: Any) -> int | None:
    inner = getattr(teacher, "model", None)
    return sum(p.numel() for p in inner.parameters()) if isinstance(inner, nn.Module) else None


def _bytes(tensors: Iterator[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _json(count: Count) -> dict[str, float]:
    return {"flops": count.flops, "operations": count.operations}


def cost_table(found: dict[str, Any]) -> list[dict[str, object]]:
    """Return the rows of the table from `cost`, as text."""
    memory, parts, sizes = found["memory_bytes"], found["parts"], found["parameters"]

    def row(what: str, parameters: str = "", count: dict[str, float] | None = None, size: int = 0) -> dict[str, object]:
        return {
            "part": what,
            "parameters": parameters,
            "FLOPs a step": _short(count["flops"]) if count and count["flops"] else "",
            "operations": f"{count['operations']:.0f}" if count else "",
            "memory": _short(size, "B") if size else "",
        }

    lines = []
    for each in found["teachers"]:
        share = "" if each["share"] == 1 else f" ({each['share']:.0%} of the steps)"
        lines.append(row(f"teacher {each['name']}{share}", _short(each["parameters"] or 0), each))
    trained = "" if sizes["trainable"] == sizes["student"] else f" ({_short(sizes['trainable'])} trained)"
    return [
        *lines,
        row("weights of all teachers", size=memory["teachers"]),
        row("student, forward", _short(sizes["student"]) + trained, parts["student"], memory["student"]),
        row("activations", size=memory["activations"]),
        row("loss", "", parts["loss"]),
        row("backward, gradients", "", parts["backward"], memory["gradients"]),
        row("optimizer", "", parts["optimizer"], memory["optimizer"]),
        *([row("EMA", size=memory["ema"])] if memory["ema"] else []),
        row("a step", "", found["step"], memory["total"]),
    ]


def cost_notes(found: dict[str, Any]) -> list[str]:
    """Return what the table means, and what the recipe's steps come to in images."""
    images = found["images"]
    return [
        "FLOPs: two a multiply-add, of matrix products, convolutions and attention. Memory is an estimate: activations as one "
        "step kept them, all else by its size; images and temporary buffers come on top.",
        f"A step takes {images['per_step']} images; {images['steps']} steps take {images['run']}, which is "
        f"{images['epochs']:.3g} times each of the {images['available']} there are.",
    ]


def _short(value: float, unit: str = "") -> str:
    """A number with three digits and a prefix: 24.8 M, 1.21 GB."""
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".strip()
