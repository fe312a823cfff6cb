"""What `ccd analyze` found out: rows of tables, sentences, and the JSON document."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ccd_cli.analyze import noise as analyze_noise
from ccd_cli.analyze.noise import CASES, LEVELS, SCHEMES, SIDE, VALID_FRACTION, Example, Measured, Scheme
from ccd_cli.analyze.settings import Settings
from ccd_cli.benchmarks import Benchmark
from ccd_cli.core.files import plain
from ccd_cli.data.corruptions import CORRUPTIONS, EDGE
from ccd_cli.losses.context_l1 import MIN_PIXELS

if TYPE_CHECKING:
    from ccd_cli.benchmarks.predictors import ModelSource

Row = dict[str, Any]


@dataclass
class Analysis:
    """Every measurement, the scores of Figure 2 (`fitted`: a model was given), what was left out, and maps for a picture."""

    protocol: dict[str, Any]
    fitted: bool = False
    measured: list[Measured] = field(default_factory=list)
    fits: list[Row] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    examples: dict[Any, Example] = field(default_factory=dict)
    example_name: str = ""

    def noise(self) -> list[Row]:
        """Return a row for each corruption, amount and normalization."""
        return analyze_noise.summarize(self.measured)

    def figure2(self) -> list[Row]:
        """Return a row for each set, and one for all images of several; nothing without a model."""
        if not self.fits:
            return []
        from ccd_cli.analyze.figure2 import summarize  # timm: seconds that an analysis without a model saves

        return summarize(self.fits)

    def document(self) -> dict[str, Any]:
        """Return the JSON document: NaN is null; `figure2` is null without a model."""
        figure2 = {"rows": self.figure2(), "images": self.fits} if self.fitted else None
        made: dict[str, Any] = plain(
            {"protocol": self.protocol, "noise": self.noise(), "figure2": figure2, "left_out": self.left_out}
        )
        return made

    def findings(self) -> list[str]:
        """Return what the numbers say, in sentences; both sides of `none` among them."""
        rows = {(r["corruption"], r["amount"], _scheme(r)): r for r in self.noise()}
        table = {key: row["clean_loss"] for key, row in rows.items()}
        said = []
        for amount in (0.05, 0.2):
            whole, hybrid, local = (
                table.get(("outliers", amount, scheme), math.nan)
                for scheme in (Scheme("global"), Scheme("hybrid", "range"), Scheme("local", "range"))
            )
            if math.isfinite(whole) and whole > 0:
                often = 100 * rows["outliers", amount, Scheme("hybrid", "range")]["below_global"]
                said.append(
                    f"Outliers in {100 * amount:g} % of a label cost its clean pixels {whole:.2f} MADs under global "
                    f"normalization; hybrid by range spreads {hybrid / whole:.2f} of that (less on {often:.0f} % of the draws), "
                    f"local by range {local / whole:.2f}."
                )
        whole, hybrid = (table.get(("blur", 0.03, s), math.nan) for s in (Scheme("global"), Scheme("hybrid", "range")))
        if math.isfinite(whole) and whole > 0:
            verdict = "more" if hybrid > whole else "less"
            said.append(
                f"Blurred edges cost the other pixels {whole:.3f} MADs under global normalization and {hybrid:.3f}, {verdict}, "
                "under hybrid by range."
            )
        raw, unit = Scheme("none"), Scheme("none", unit=True)
        jitter, noise = table.get(("jitter", 20.0, raw), math.nan), table.get(("outliers", 0.2, raw), math.nan)
        if math.isfinite(jitter) and math.isfinite(noise):
            normalized = max(table[("jitter", 20.0, s)] for s in SCHEMES if s.normalization != "none")
            said.append(
                f"Without normalization nothing is spread ({noise:.3f}), but labels whose scales differ by up to a factor of "
                f"20 cost every pixel {jitter:.2f} MADs; normalized losses do not notice them ({normalized:.4f} at most). "
                f"Dividing each label by its MAD first (none unit) mends that ({table['jitter', 20.0, unit]:.4f}) and spreads "
                f"noise again ({table['outliers', 0.2, unit]:.2f} under outliers in 20 %)."
            )
        if fits := self.figure2():
            row = fits[-1]
            said.append(
                f"Figure 2: on the central crop AbsRel is {row['whole_abs_rel']:.4f} after a fit to the whole map and "
                f"{row['crop_abs_rel']:.4f} after a fit to the crop alone, which is better on {row['crop_better']} of "
                f"{row['n']} images."
            )
        return said


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
    """Return a line for each set: scores of the central crop after both fits."""
    return [
        {
            "set": row["dataset"],
            "images": row["n"],
            "AbsRel\nwhole fit": row["whole_abs_rel"],
            "AbsRel\ncrop fit": row["crop_abs_rel"],
            "δ1\nwhole fit": row["whole_delta1"],
            "δ1\ncrop fit": row["crop_delta1"],
            "crop fit\nis better on": f"{row['crop_better']} of {row['n']}",
        }
        for row in rows
    ]


def case_name(corruption: str, amount: float) -> str:
    """Return a corruption with its amount in words."""
    if corruption == "jitter":
        return f"scale jitter x{amount:g}"
    if corruption == "blur":
        return f"edges blurred {100 * amount:g} %"
    return f"{'wrong affine' if corruption == 'affine' else corruption} {100 * amount:g} %"


def protocol(
    settings: Settings, sets: list[Benchmark], missing: list[tuple[str, str]], source: ModelSource | None
) -> dict[str, Any]:
    """Return how the analysis is made: what decides the numbers, and the same `in_words`."""
    words = [
        f"At most {settings.images} images of each set, spread evenly; noise: those with more than {100 * VALID_FRACTION:g} % "
        f"valid pixels, at most {SIDE} pixels a side (every k-th pixel), disparity over its median.",
        "The true map is the student, a corrupted copy the label; losses and contexts (of the corrupted label) are those of "
        f"training, levels {', '.join(map(str, LEVELS))}, contexts under {MIN_PIXELS} pixels skipped.",
        "outliers: a factor U(0.2, 4) a pixel in a random rectangle of that share of the image. wrong affine: 1.6 d + 0.5 in "
        f"it. edges blurred: a box mean around jumps over {100 * (EDGE - 1):.0f} % of radius that share of the shorter side. "
        "scale jitter: the whole label times one factor, log-uniform, the largest that many times the smallest.",
        f"Mean loss on clean pixels in MADs (none: of the true map), {settings.draws} draws (blur: one), seed {settings.seed}, "
        "draws averaged for each image, images weighted alike. none unit: both maps divided by their MAD first.",
    ]
    made: dict[str, Any] = {
        "suite": settings.suite,
        "sets": [{"name": s.spec.name, "title": s.spec.title, "images": len(s), "about": s.spec.about} for s in sets],
        "missing": dict(missing),
        "images": settings.images,
        "draws": settings.draws,
        "seed": settings.seed,
        "valid_share": VALID_FRACTION,
        "side": SIDE,
        "levels": list(LEVELS),
        "corruptions": list(CORRUPTIONS),
        "normalizations": [asdict(scheme) for scheme in SCHEMES],
        "model": None,
    }
    if source is not None:
        from ccd_cli.analyze.figure2 import LEAST, in_words, method_of

        assert source.kind is not None
        made["model"] = {"name": source.label, **source.facts(), "alignment": method_of(source.kind)}
        fit = in_words(source.kind, sets[0].spec.floor)
        words.append(
            f"Figure 2: {source.label} ({source.kind}), {fit}; on the whole map, or on the central crop of "
            f"half height and half width; scored on the crop either way, where it has {LEAST} valid pixels."
        )
    return {**made, "in_words": words}


def _scheme(row: Row) -> Scheme:
    return Scheme(row["normalization"], row["contexts"], row["unit_scale"])
