"""What `ccd analyze` found out: rows of tables, sentences, and the JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ccd_cli.analyze import closeups, figure2, labels, landing, second, verdicts
from ccd_cli.analyze import noise as analyze_noise
from ccd_cli.analyze.inputs import Inputs
from ccd_cli.analyze.noise import CASES, LEVELS, MAX_SIDE, SCHEMES, VALID_FRACTION, Example, Measurement, Scheme
from ccd_cli.analyze.settings import Settings
from ccd_cli.core.files import plain
from ccd_cli.data.corruptions import CORRUPTIONS, EDGE
from ccd_cli.losses.contexts import MIN_PIXELS

if TYPE_CHECKING:
    from ccd_cli.benchmarks.predictors import ModelSource

Row = dict[str, Any]
QUESTIONS = ("figure 2", "landing", "closeups", "second")
"""What is measured of an image with a model: the stages of `skipped`, and the keys of what is measured."""
_NAMES = {
    "outliers": "outliers {1:g} %",
    "affine": "wrong affine {1:g} %",
    "blur": "blurred edges {1:g} %",
    "jitter": "scale jitter x{0:g}",
}


@dataclass
class Analysis:
    """Every measurement, what models (`asked`: any was given) say by question, skipped images, and maps for a figure."""

    protocol: dict[str, Any]
    asked: bool = False
    measurements: list[Measurement] = field(default_factory=list)
    models: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in QUESTIONS})
    skipped: list[dict[str, str]] = field(default_factory=list)
    examples: dict[Any, Example] = field(default_factory=dict)
    example_name: str = ""

    def noise(self) -> list[Row]:
        """Return a row for each corruption, amount and normalization."""
        return analyze_noise.summarize(self.measurements)

    def figure2(self) -> list[Row]:
        """Return a row for each model and dataset, and one for all images of several; nothing without a model."""
        return figure2.summarize(self.models["figure 2"])

    @cached_property
    def answers(self) -> dict[str, list[Row]]:
        """Rows by question, for one about models: `landing`, `closeups`, `second`. Read it when all is measured."""
        return {
            "landing": landing.summarize(self.models["landing"]),
            "closeups": closeups.summarize(self.models["closeups"]),
            "second": second.summarize(self.models["second"]),
        }

    def verdicts(self) -> list[Row]:
        """Return the verdict on each question and model."""
        return verdicts.verdicts(self.answers, [model["name"] for model in self.protocol["models"]], self.skipped)

    def document(self) -> dict[str, Any]:
        """Return the JSON document: NaN is null; `figure2` and `models` are null without a model."""
        fitted = {"rows": self.figure2(), "images": self.models["figure 2"]} if self.asked else None
        asked: Row = {"verdicts": self.verdicts()}
        asked |= {name: {"rows": rows, "images": self.models[name]} for name, rows in self.answers.items()}
        made: dict[str, Any] = plain(
            {
                "protocol": self.protocol,
                "noise": self.noise(),
                "figure2": fitted,
                "models": asked if self.asked else None,
                "skipped": self.skipped,
            }
        )
        return made

    def findings(self) -> list[str]:
        """Return what the numbers say, in sentences; both sides of `none` among them."""
        rows = {(r["corruption"], r["amount"], _scheme(r)): r for r in self.noise()}
        loss = {key: row["clean_loss"] for key, row in rows.items()}
        return [*_outliers(rows, loss), *_blur(loss), *_jitter(loss), *_figure2(self.figure2())]


Key = tuple[str, float, Scheme]
GLOBAL, HYBRID, LOCAL = Scheme("global"), Scheme("hybrid", "range"), Scheme("local", "range")
RAW, UNIT = Scheme("none"), Scheme("none", unit=True)


def _outliers(rows: dict[Key, Row], loss: dict[Key, float]) -> Iterator[str]:
    for amount in (0.05, 0.2):
        whole, hybrid, local = (loss.get(("outliers", amount, scheme), math.nan) for scheme in (GLOBAL, HYBRID, LOCAL))
        if whole > 0:
            often = 100 * rows["outliers", amount, HYBRID]["below_global"]
            yield (
                f"Outliers in {100 * amount:g} % of a label cause a loss of {whole:.2f} MADs on its clean pixels with global "
                f"normalization; {hybrid / whole:.2f} times that with hybrid by range (less on {often:.0f} % of the draws), "
                f"{local / whole:.2f} times with local by range."
            )


def _blur(loss: dict[Key, float]) -> Iterator[str]:
    whole, hybrid = (loss.get(("blur", 0.03, scheme), math.nan) for scheme in (GLOBAL, HYBRID))
    if whole > 0:
        yield (
            f"Blurred edges cause {whole:.3f} MADs on the other pixels with global normalization and {hybrid:.3f}, "
            f"{'more' if hybrid > whole else 'less'}, with hybrid by range."
        )


def _jitter(loss: dict[Key, float]) -> Iterator[str]:
    jitter, noise = loss.get(("jitter", 20.0, RAW), math.nan), loss.get(("outliers", 0.2, RAW), math.nan)
    if math.isfinite(jitter) and math.isfinite(noise):
        normalized = max(loss["jitter", 20.0, scheme] for scheme in SCHEMES if scheme.normalization != "none")
        yield (
            f"Without normalization no loss reaches clean pixels ({noise:.3f}), but labels whose scales differ by up to a factor "
            f"of 20 cause {jitter:.2f} MADs on every pixel; normalized losses are invariant to scale (at most {normalized:.4f}). "
            f"Dividing each label by its MAD first (none unit) removes that ({loss['jitter', 20.0, UNIT]:.4f}) and spreads "
            f"noise again ({loss['outliers', 0.2, UNIT]:.2f} under outliers in 20 %)."
        )


def _figure2(rows: list[Row]) -> Iterator[str]:
    last = {row["model"]: row for row in rows}  # over all datasets
    for row in last.values():
        yield (
            f"Figure 2, {row['model']}: on the central crop AbsRel is {row['whole_abs_rel']:.4f} after a fit to the whole map and "
            f"{row['crop_abs_rel']:.4f} after a fit to the crop alone, which is better on {row['crop_better']} of "
            f"{row['n']} images."
        )


def noise_table(rows: list[Row]) -> list[Row]:
    """Return a line for each corruption, for a page: its `name`, the `corrupted` fraction, and `rows` (or None) by scheme."""
    cells = {(row["corruption"], row["amount"], _scheme(row)): row for row in rows}
    lines = []
    for kind, amount in CASES if rows else ():
        found = [cells.get((kind, amount, scheme)) for scheme in SCHEMES]
        fraction = next((row["noisy_fraction"] for row in found if row), math.nan)
        corrupted = "none" if kind == "jitter" else f"{100 * fraction:.1f} %" if math.isfinite(fraction) else "–"
        lines.append({"name": _NAMES[kind].format(amount, 100 * amount), "corrupted": corrupted, "rows": found})
    return lines


def noise_lines(rows: list[Row], jitter: bool) -> list[dict[str, object]]:
    """Return a line for each normalization, for a terminal: a column for each noise, or for each scale `jitter`."""
    cases = [case for case in CASES if (case[0] == "jitter") == jitter]
    cells = {(row["corruption"], row["amount"], _scheme(row)): row["clean_loss"] for row in rows}
    known = [case for case in cases if any(key[:2] == case for key in cells)]
    heads = {case: f"{case[0]}\n" + (f"x{case[1]:g}" if jitter else f"{100 * case[1]:g} %") for case in known}
    return [
        {"": scheme.name, **{head: cells.get((*case, scheme), math.nan) for case, head in heads.items()}}
        for scheme in SCHEMES
        if known
    ]


def figure2_lines(rows: list[Row]) -> list[dict[str, object]]:
    """Return a line for each model and dataset: metrics of the central crop after both fits."""
    return [
        {
            "model": row["model"],
            "dataset": row["dataset"],
            "images": row["n"],
            "AbsRel\nwhole fit": row["whole_abs_rel"],
            "AbsRel\ncrop fit": row["crop_abs_rel"],
            "δ1\nwhole fit": row["whole_delta1"],
            "δ1\ncrop fit": row["crop_delta1"],
            "crop fit\nis better on": f"{row['crop_better']} of {row['n']}",
        }
        for row in rows
    ]


def protocol(settings: Settings, inputs: Inputs, sources: Sequence[ModelSource]) -> dict[str, Any]:
    """Return how the analysis is made: what decides the numbers, and the same `in_words`."""
    words = [
        f"At most {settings.images} images per dataset, spread evenly; noise: those with more than {100 * VALID_FRACTION:g} % "
        f"valid pixels, subsampled to at most {MAX_SIDE} pixels a side, disparity over its median.",
        "The ground-truth map is the student, a corrupted copy the label; losses and contexts (of the corrupted label) are "
        f"those of training, levels {', '.join(map(str, LEVELS))}, contexts under {MIN_PIXELS} pixels skipped.",
        "outliers: a factor U(0.2, 4) per pixel in a random rectangle of that fraction of the image. wrong affine: 1.6 d + 0.5 in "
        f"it. blurred edges: a box mean around steps over {100 * (EDGE - 1):.0f} %, radius that fraction of the shorter side. "
        "scale jitter: the whole label times one factor, log-uniform, the largest that many times the smallest.",
        f"Mean loss on clean pixels in MADs (none: of the true map), {settings.draws} draws (blur: one), seed {settings.seed}, "
        "averaged over draws, then over images. none unit: both maps divided by their MAD first.",
    ]
    if clips := [each.spec.name for each in inputs.sets if each.spec.task == "clip"]:
        words.append(f"Frames of a clip are images of their own here, each with its own fit: {', '.join(clips)}.")
    made: dict[str, Any] = {
        "suite": settings.suite,
        "sets": [
            {"name": s.spec.name, "title": s.spec.title, "images": len(s), "about": s.spec.about} for s in inputs.sets
        ],
        "missing": dict(inputs.missing),
        "images": settings.images,
        "draws": settings.draws,
        "seed": settings.seed,
        "valid_fraction": VALID_FRACTION,
        "max_side": MAX_SIDE,
        "levels": list(LEVELS),
        "corruptions": list(CORRUPTIONS),
        "normalizations": [asdict(scheme) for scheme in SCHEMES],
        "patches": settings.patches if sources else None,
        "models": [],
    }
    spec = inputs.sets[0].spec
    for source in sources:
        assert source.kind is not None
        facts = {"alignment": figure2.method_of(source.kind), "label_alignment": labels.method_for(source.kind)}
        made["models"].append({"name": source.label, **source.facts(), **facts})
        words.append(
            f"{source.label} ({source.kind}). As a label: {labels.in_words(source.kind, spec)}. Figure 2: "
            f"{figure2.in_words(source.kind, spec.floor)}; on the whole map, or on the central crop of half height and half width; "
            f"scored on the crop either way, where it has {figure2.MIN_CROP_PIXELS} valid pixels."
        )
    if sources:
        words += verdicts.in_words(settings.patches, len(sources))
    return {**made, "in_words": words}


def _scheme(row: Row) -> Scheme:
    return Scheme(row["normalization"], row["contexts"], row["unit_scale"])
