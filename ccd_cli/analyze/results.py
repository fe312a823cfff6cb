"""What `ccd analyze` found out: rows of tables, sentences, and the JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ccd_cli.analyze import noise as analyze_noise
from ccd_cli.analyze.noise import CASES, LEVELS, MAX_SIDE, SCHEMES, VALID_FRACTION, Example, Measurement, Scheme
from ccd_cli.analyze.settings import Settings
from ccd_cli.benchmarks import Benchmark
from ccd_cli.core.files import plain
from ccd_cli.data.corruptions import CORRUPTIONS, EDGE
from ccd_cli.losses.contexts import MIN_PIXELS

if TYPE_CHECKING:
    from ccd_cli.benchmarks.predictors import ModelSource

Row = dict[str, Any]
_NAMES = {
    "outliers": "outliers {1:g} %",
    "affine": "wrong affine {1:g} %",
    "blur": "blurred edges {1:g} %",
    "jitter": "scale jitter x{0:g}",
}


@dataclass
class Analysis:
    """Every measurement, the scores of Figure 2 (`fitted`: a model was given), skipped images, and maps for a figure."""

    protocol: dict[str, Any]
    fitted: bool = False
    measurements: list[Measurement] = field(default_factory=list)
    fits: list[Row] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    examples: dict[Any, Example] = field(default_factory=dict)
    example_name: str = ""

    def noise(self) -> list[Row]:
        """Return a row for each corruption, amount and normalization."""
        return analyze_noise.summarize(self.measurements)

    def figure2(self) -> list[Row]:
        """Return a row for each dataset, and one for all images of several; nothing without a model."""
        if not self.fits:
            return []
        from ccd_cli.analyze.figure2 import summarize  # timm: seconds that an analysis without a model saves

        return summarize(self.fits)

    def document(self) -> dict[str, Any]:
        """Return the JSON document: NaN is null; `figure2` is null without a model."""
        figure2 = {"rows": self.figure2(), "images": self.fits} if self.fitted else None
        made: dict[str, Any] = plain(
            {"protocol": self.protocol, "noise": self.noise(), "figure2": figure2, "skipped": self.skipped}
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
    for row in rows[-1:]:
        yield (
            f"Figure 2: on the central crop AbsRel is {row['whole_abs_rel']:.4f} after a fit to the whole map and "
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
    """Return a line for each dataset: metrics of the central crop after both fits."""
    return [
        {
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


def protocol(
    settings: Settings, sets: list[Benchmark], missing: list[tuple[str, str]], source: ModelSource | None
) -> dict[str, Any]:
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
    made: dict[str, Any] = {
        "suite": settings.suite,
        "sets": [{"name": s.spec.name, "title": s.spec.title, "images": len(s), "about": s.spec.about} for s in sets],
        "missing": dict(missing),
        "images": settings.images,
        "draws": settings.draws,
        "seed": settings.seed,
        "valid_fraction": VALID_FRACTION,
        "max_side": MAX_SIDE,
        "levels": list(LEVELS),
        "corruptions": list(CORRUPTIONS),
        "normalizations": [asdict(scheme) for scheme in SCHEMES],
        "model": None,
    }
    if source is not None:
        from ccd_cli.analyze.figure2 import MIN_CROP_PIXELS, in_words, method_of

        assert source.kind is not None
        made["model"] = {"name": source.label, **source.facts(), "alignment": method_of(source.kind)}
        fit = in_words(source.kind, sets[0].spec.floor)
        words.append(
            f"Figure 2: {source.label} ({source.kind}), {fit}; on the whole map, or on the central crop of "
            f"half height and half width; scored on the crop either way, where it has {MIN_CROP_PIXELS} valid pixels."
        )
    return {**made, "in_words": words}


def _scheme(row: Row) -> Scheme:
    return Scheme(row["normalization"], row["contexts"], row["unit_scale"])
