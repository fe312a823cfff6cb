"""The rows of the paper's Tables 1, 2 and 4 at a size that runs on a CPU, and the sizes for a GPU; see paper_tables.py."""

from __future__ import annotations

import re
from dataclasses import dataclass

SHARED = ("loss.shared.weight=1", "loss.local_global.weight=0")
LOCAL_GLOBAL = ("loss.shared.weight=0", "loss.local_global.weight=1")
JITTER = ("teachers.0.noise.scale_jitter=0.7", "teachers.0.noise.shift_jitter=0.5")
CLEAN = ("teachers.0.noise.outliers=0", "teachers.0.noise.blur=0")
NO_GRADIENT = ("loss.gradient.weight=0",)
WHOLE = ("crops.min_side=100000",)
PLAIN = (*SHARED, "loss.shared.normalization=global", *WHOLE)
NORMALIZATIONS = ("global", "none", "local", "hybrid")
STUDENTS = {
    "2m": ("{arch: timm, encoder: mobilenetv4_conv_small, features: 32, init: scratch}", 32),
    "6m": ("{arch: timm, encoder: tf_efficientnet_lite2, features: 64, init: scratch}", 32),
    "25m": ("{arch: depth-anything-v2-small, init: scratch}", 14),
}
"""Students of 1.7, 5.2 and 24.8 million parameters, and what their sides are multiples of."""
SIDES = (112, 224, 336)
INVARIANT = (
    "Inconsistent scale: each label, at unit scale, times exp(U(-0.7, 0.7)) plus U(-0.5, 0.5). Normalized losses divide that "
    "out, all but the anchor, so of their rows one alone is run again, as a check."
)


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, the part of the table it stands in, its overrides, the paper's AbsRel on ETH3D and DIODE.

    `like` names the row whose training time this row gets, in steps of its own cost.
    """

    group: str
    name: str
    sets: tuple[str, ...]
    paper: str = ""
    like: str = ""

    @property
    def slug(self) -> str:
        """Return the row's folder."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.group} {self.name}".lower()).strip("-")


def _context(name: str, normalization: str) -> tuple[str, ...]:
    weights, key = (SHARED, "shared") if name == "shared" else (LOCAL_GLOBAL, "local_global")
    return (*weights, f"loss.{key}.normalization={normalization}")


def _table1() -> list[Row]:
    paper = {
        "shared": (".064 .259", ".057 .239", ".070 .245", ".057 .238"),
        "local-global": (".065 .239", ".273 .300", ".076 .244", ".064 .238"),
    }
    rows = []
    for context, published in paper.items():
        for kind, numbers in zip(NORMALIZATIONS, published, strict=True):
            rows.append(Row("consistent scale", f"{context}, {kind}", _context(context, kind), numbers))
    for context, kind in (("shared", "none"), ("local-global", "none"), ("shared", "hybrid")):  # see INVARIANT
        rows.append(Row("inconsistent scale", f"{context}, {kind}", (*_context(context, kind), *JITTER)))
    group = "control: no gradient term"
    rows += [Row(group, f"shared, {kind}", (*_context("shared", kind), *NO_GRADIENT)) for kind in NORMALIZATIONS]
    group = "control: labels without noise"
    rows += [Row(group, f"shared, {kind}", (*_context("shared", kind), *CLEAN)) for kind in ("global", "hybrid")]
    return rows


def _table2() -> list[Row]:
    group, fair = "equal steps", "control: the time of `both`"
    return [
        Row(group, "neither (plain)", (*PLAIN, *NO_GRADIENT), ".075 .270"),
        Row(group, "neither, with gradient term", PLAIN),
        Row(group, "local-global only", ("loss.shared.weight=0",), ".064 .238"),
        Row(group, "shared only", ("loss.local_global.weight=0",), ".058 .237"),
        Row(group, "both", (), ".056 .232"),
        Row(fair, "neither (plain)", (*PLAIN, *NO_GRADIENT), like="equal-steps-both"),
        Row(fair, "shared only", ("loss.local_global.weight=0",), like="equal-steps-both"),
    ]


def _table4() -> list[Row]:
    return [
        Row("teachers", "A alone (builtin:global)", ("teachers=[builtin:global]",), ".131 .262"),
        Row("teachers", "B alone (builtin:sharp)", ("teachers=[builtin:sharp]",), ".096 .226"),
        Row("teachers", "both, average", ("mixing=average",), ".228 .371"),
        Row("teachers", "both, select 7:3", (), ".054 .258"),
    ]


def _claims() -> list[Row]:
    """The rows whose comparisons are decided beforehand; see DIFFERENCES."""
    gross, diffuse, clean = "errors over 40 %", "all errors", "no errors"
    everything = ("teachers.0.noise.errors_over=0",)
    none = ("teachers.0.noise={}",)
    both = ("loss.local_global.weight=0.5",)
    strong, weak = ("loss.gradient.weight=2",), ("loss.gradient={weight: 2, form: mean}",)
    rows = [Row(gross, f"shared, {kind}", _context("shared", kind)) for kind in NORMALIZATIONS]
    rows += [
        Row(gross, "local-global, hybrid", _context("local-global", "hybrid")),
        Row(gross, "both, hybrid", both),
        Row(gross, "plain", ("loss.shared.normalization=global", *WHOLE)),
        Row(gross, "full method", (*both, *strong)),
    ]
    rows += [Row(diffuse, f"shared, {kind}", (*_context("shared", kind), *everything)) for kind in NORMALIZATIONS]
    rows += [Row(clean, f"shared, {kind}", (*_context("shared", kind), *none)) for kind in ("global", "hybrid")]
    rows += [
        Row("control: gradient term", "shared, hybrid, mean form", weak),
        Row("control: gradient term", "shared, hybrid, published form", strong),
        Row("control: the time of `both`", "shared, hybrid", (), like="errors-over-40-both-hybrid"),
        Row(
            "control: the time of `both`",
            "local-global, hybrid",
            _context("local-global", "hybrid"),
            like="errors-over-40-both-hybrid",
        ),
        Row("control: unit of `none`", "local-global, patch", _context("local-global", "none")),
        Row(
            "control: unit of `none`",
            "local-global, region",
            (*_context("local-global", "none"), "loss.local_global.unit=region"),
        ),
    ]
    return rows


def _teachers() -> list[Row]:
    """Two teachers whose errors differ; see DIFFERENCES."""
    alone = "teachers=[{{model: {}, resolution: 128}}]"
    return [
        Row("two teachers", "indoor teacher alone", (alone.format("indoor.safetensors"),)),
        Row("two teachers", "outdoor teacher alone", (alone.format("outdoor.safetensors"),)),
        Row("two teachers", "select 1:1", (), ".054 .258"),
        Row("two teachers", "average", ("mixing=average",)),
        Row("two teachers", "raw average", ("mixing=average-raw",), ".228 .371"),
    ]


@dataclass(frozen=True)
class Difference:
    """A comparison that was decided before the runs: row `a` minus row `b`, by (group, name); negative AbsRel speaks for `a`."""

    claim: str
    a: tuple[str, str]
    b: tuple[str, str]


_GROSS, _TIME = "errors over 40 %", "control: the time of `both`"
DIFFERENCES = {
    "claims": [
        Difference(
            "hybrid beats global where errors are gross", (_GROSS, "shared, hybrid"), (_GROSS, "shared, global")
        ),
        Difference(
            "hybrid beats global where errors are diffuse",
            ("all errors", "shared, hybrid"),
            ("all errors", "shared, global"),
        ),
        Difference(
            "hybrid beats global without errors", ("no errors", "shared, hybrid"), ("no errors", "shared, global")
        ),
        Difference("hybrid beats local", (_GROSS, "shared, hybrid"), (_GROSS, "shared, local")),
        Difference("hybrid beats none", (_GROSS, "shared, hybrid"), (_GROSS, "shared, none")),
        Difference(
            "both contexts beat the shared one at equal time", (_GROSS, "both, hybrid"), (_TIME, "shared, hybrid")
        ),
        Difference(
            "both contexts beat the local-global one at equal time",
            (_GROSS, "both, hybrid"),
            (_TIME, "local-global, hybrid"),
        ),
        Difference("the full method beats plain distillation", (_GROSS, "full method"), (_GROSS, "plain")),
        Difference(
            "the published gradient term helps",
            ("control: gradient term", "shared, hybrid, published form"),
            (_GROSS, "shared, hybrid"),
        ),
        Difference(
            "a common unit helps local-global without normalization",
            ("control: unit of `none`", "local-global, region"),
            ("control: unit of `none`", "local-global, patch"),
        ),
    ],
    "teachers": [
        Difference(f"selection beats {name}", ("two teachers", "select 1:1"), ("two teachers", name))
        for name in ("indoor teacher alone", "outdoor teacher alone", "average", "raw average")
    ],
}

TABLES = {"claims": _claims(), "teachers": _teachers(), "table1": _table1(), "table2": _table2(), "table4": _table4()}
NOTES = {"table1": INVARIANT}
TITLES = {
    "claims": "The claims, with the errors of a real network in the labels",
    "teachers": "Two teachers with different errors",
    "table1": "Table 1: contexts and normalizations",
    "table2": "Table 2: which contexts",
    "table4": "Table 4: how two teachers supervise",
}


def size_sets(size: str) -> list[str]:
    """Return the overrides of a size: none for `tiny`, else `STUDENT-SIDE`, for instance `25m-224`.

    Resolutions are rounded to the student's multiple; images are 1.5 x 2 times as large, crops at least two thirds of it.
    Raises ValueError for an unknown size.
    """
    if size == "tiny":
        return []
    student, _, side = size.partition("-")
    if student not in STUDENTS or not side.isdigit() or int(side) not in SIDES:
        raise ValueError(f"unknown size {size!r}: tiny, or one of {', '.join(STUDENTS)} with {SIDES}, as in 25m-224")
    network, multiple = STUDENTS[student]
    pixels = round(int(side) / multiple) * multiple
    rate = "optim.lr=5e-4" if student == "25m" else "optim.lr=2e-3"
    scenes = f"{{count: 1500, height: {pixels * 3 // 2}, width: {pixels * 2}, first: 5000000, cache_mb: 12000}}"
    return [
        f"student={network}",
        f"crops={{size: {pixels}, min_side: {pixels * 2 // 3}, patches: 4}}",
        f"images={{scenes: {scenes}, workers: 12}}",
        "optim.steps=4000",
        "optim.warmup=200",
        rate,
        rate.replace("lr", "encoder_lr"),
        "optim.checkpoint_every=500",
        "eval.scenes=100",
    ]
