"""The three answers: a line of one table each, and the tables that they are read from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from ccd_cli.analyze import closeups, landing, second
from ccd_cli.analyze.estimate import MIN_IMAGES, Estimate, judge, too_few
from ccd_cli.losses.contexts import MIN_PIXELS

Row = dict[str, Any]
TITLES = {
    "landing": "1. Where the loss lands on real labels",
    "closeups": "2. Whether closer crops show more",
    "second": "3. Whether a second teacher is worth it",
}
ASKED = {
    "landing": ("1. Does hybrid normalization help?", "loss on clean pixels, hybrid - global"),
    "closeups": ("2. Do closer crops show more?", "AbsRel, patch alone - cut"),
    "second": ("3. Is a second teacher worth it?", "AbsRel, mean of both - better one"),
}
"""By question: how it is asked, and the difference that decides it (under 0 speaks for yes)."""

SAME = 0.9999
"""Errors that correlate more are those of the same weights, in two files or in two precisions."""


def verdicts(rows: dict[str, list[Row]], models: Sequence[str], skipped: Sequence[Mapping[str, str]] = ()) -> list[Row]:
    """Return the answers to each question; `rows`: summaries of each. What has no row, for its images were `skipped`, is told why.

    An answer: `question`, `subject` (a model, or two), `verdict`, `sentence`, and the `difference` that decides it with its
    interval (`difference_low`, `difference_high`) over `images`.
    """
    subjects: dict[str, dict[tuple[str, ...], Row]] = {
        "landing": {
            (model,): _landing(model, rows["landing"]) for model in dict.fromkeys(r["model"] for r in rows["landing"])
        },
        "closeups": {(row["model"],): _closeups(row) for row in rows["closeups"]},
        "second": {(row["model"], row["other"]): _second(row) for row in rows["second"]},
    }
    made = []
    for question, answers in subjects.items():
        asked: list[tuple[str, ...]] = [*combinations(models, 2 if question == "second" else 1)]
        for subject in dict.fromkeys([*asked, *answers]):
            answer = answers.get(subject) or _unanswered(question, subject, skipped)
            if answer is None and question == "landing":
                answer = _landing(subject[0], [])
            made += [answer] if answer else []
    return made


def _unanswered(question: str, subject: tuple[str, ...], skipped: Sequence[Mapping[str, str]]) -> Row | None:
    """Why there is no answer on a model, or two; None where nothing was skipped, as for what was not asked."""
    stages = {"all", question} | ({"landing"} if question == "second" else set())  # which needs the labels of both
    named = [f"{name}: " for name in (*subject, " and ".join(subject))]
    why = Counter(
        entry["reason"].removeprefix(name).rstrip(".")
        for entry in skipped
        for name in dict.fromkeys(named)
        if entry["stage"] in stages and entry["reason"].startswith(name)
    )
    if not why:
        return None
    (reason, count), names = why.most_common(1)[0], " and ".join(subject)
    sentence = f"{names}: NO ANSWER: {why.total()} times an image was skipped, {count} times because: {reason}."
    return _answer(question, ", ".join(subject), "not shown", sentence, Estimate(math.nan, math.nan, math.nan, 0))


def verdict_lines(found: Sequence[Row]) -> list[Row]:
    """Return a line for each answer."""
    return [
        {
            "question": ASKED[row["question"]][0],
            "model": row["subject"],
            "verdict": row["verdict"],
            "difference": ASKED[row["question"]][1],
            "mean [95 % interval]": _read(row, "difference").text(signed=True),
            "images": str(row["images"]) if row["images"] >= MIN_IMAGES else f"{row['images']}, needs {MIN_IMAGES}",
        }
        for row in found
    ]


def landing_lines(rows: Sequence[Row]) -> list[Row]:
    """Return a line for each model, label and threshold: the fraction of the loss on clean pixels by normalization."""
    made: list[Row] = []
    for row in rows:
        limit = f"{100 * row['threshold']:.0f} %"
        key = {"model": row["model"], "label": row["label"], "wrong\nif over": limit}
        if not made or {name: made[-1][name] for name in key} != key:
            made.append({**key, "images": row["images"], "wrong\npixels": f"{100 * row['wrong_pixels']:.1f} %"})
        name = row["normalization"] + ("\nunit" if row["unit_scale"] else "")
        made[-1][name] = _percent(row["loss_on_clean"])
        if row["normalization"] in ("global", "hybrid"):
            made[-1][f"gradient\n{name}"] = _percent(row["gradient_on_clean"])
        if row["normalization"] == "hybrid":
            made[-1]["hybrid\n- global"] = _read(row, "minus_global").text(signed=True)
    last = ("hybrid\n- global", "gradient\nglobal", "gradient\nhybrid")
    return [{**{k: v for k, v in row.items() if k not in last}, **{k: row[k] for k in last}} for row in made]


def closeup_lines(rows: Sequence[Row]) -> list[Row]:
    """Return a line for each model and score: patches of the whole photo's label, fitted either way, and predicted alone."""
    names = {"abs_rel": "AbsRel", "delta1": "δ1", "boundary_f1": "boundary F1"}
    return [
        {
            "model": row["model"],
            "of patches": names[score],
            "images": row["boundary_images"] if score == "boundary_f1" else row["images"],
            "cut,\nwhole fit": row[f"whole_fit_{score}"],
            "cut,\npatch fit": row[f"cut_{score}"],
            "alone,\npatch fit": row[f"alone_{score}"],
            "alone - cut\n(patch fit)": _read(row, f"alone_minus_cut_{score}").text(signed=True),
        }
        for row in rows
        for score in closeups.SCORES
        if not math.isnan(row[f"cut_{score}"])
    ]


def second_lines(rows: Sequence[Row]) -> list[Row]:
    """Return a line for each pair of models."""
    return [
        {
            "models": f"{row['model']}, {row['other']}",
            "images": row["images"],
            "correlation\nof errors": _read(row, "correlation").text(),
            "wrong": f"{_percent(row['first_wrong'])}, {_percent(row['second_wrong'])}",
            "both\nwrong": _percent(row["both_wrong"]),
            "both, if\nindependent": _percent(row["by_chance"]),
            "AbsRel": f"{row['first_abs_rel']:.3f}, {row['second_abs_rel']:.3f}",
            "of the\nmean": row["mean_abs_rel"],
            "mean - best": _read(row, "mean_minus_best").text(signed=True),
        }
        for row in rows
    ]


def in_words(patches: int, models: int) -> list[str]:
    """Return how the three questions are answered."""
    limits = ", ".join(f"{100 * each:.0f}" for each in landing.THRESHOLDS)
    words = [
        "Labels: each model's map in disparity, fitted to the ground truth by least squares in 1 / depth over all valid pixels "
        "of an image (affine depth: in depth). Maps that run against the ground truth are skipped.",
        "Where the loss lands: the ground truth is the student. Loss and abs(gradient) of each pixel are those of training; a "
        f"pixel of the label is wrong where its aligned error is over {limits} %, else clean. Label: the map as it is, or the "
        "ground truth with the errors over the threshold alone. The verdict is on the map as it is at "
        f"{100 * landing.JUDGED:.0f} %.",
    ]
    if patches:
        words.append(
            f"Closer crops: {patches} patches an image, sides {closeups.SIDES[0]:g} to {closeups.SIDES[1]:g} of its largest "
            "square, cut from the label of the whole photo or predicted alone; scored on the same pixels. The verdict is on AbsRel "
            "after a fit on the patch."
        )
    if models > 1:
        words.append(
            "Second teacher: Pearson's correlation of log(depth / ground truth) over the pixels of an image; wrong over "
            f"{100 * second.WRONG:.0f} %; the mean of both maps, each normalized by median and MAD. The verdict is on AbsRel of "
            "that mean minus that of the better model."
        )
    words.append(
        "Intervals: 95 %, bootstrap over images (expanded percentiles), differences paired by image. Shown: the whole interval is "
        "on the better side of 0; contradicted: on the other; else not shown."
    )
    return words


def _landing(model: str, rows: Sequence[Row]) -> Row:
    mine = {
        (r["label"], r["normalization"]): r
        for r in rows
        if r["model"] == model and r["threshold"] == landing.JUDGED and not r["unit_scale"]
    }
    limit = f"{100 * landing.JUDGED:.0f} %"
    if not mine:
        sentence = (
            f"{model}: NOT SHOWN: no image has {MIN_PIXELS} pixels with an error over {limit}, and as many under it."
        )
        return _answer("landing", model, "not shown", sentence, Estimate(math.nan, math.nan, math.nan, 0))
    hybrid, whole = (mine[landing.AS_IS, name] for name in ("hybrid", "global"))
    gross = _read(mine[landing.GROSS, "hybrid"], "minus_global")
    difference = _read(hybrid, "minus_global")
    verdict = judge(difference, "lower")
    better = "hybrid normalization keeps more of the loss on the label's wrong pixels than global"
    worse = "hybrid normalization puts more of the loss on clean pixels than global"
    sentence = (
        f"{model}: {_opening(verdict, better, worse)}: {_percent(hybrid['loss_on_clean'])} of it on clean pixels against "
        f"{_percent(whole['loss_on_clean'])}, difference {difference.text(signed=True)}, {difference.n} images{too_few(difference)}"
        f"; with the errors over {limit} alone {gross.text(signed=True)} ({judge(gross, 'lower')})."
    )
    return _answer("landing", model, verdict, sentence, difference)


def _closeups(row: Row) -> Row:
    difference = _read(row, "alone_minus_cut_abs_rel")
    verdict = judge(difference, "lower")
    opening = _opening(verdict, "a patch predicted alone is more accurate", "a patch predicted alone is less accurate")
    sentence = (
        f"{row['model']}: {opening}: "
        f"AbsRel {row['alone_abs_rel']:.3f} against {row['cut_abs_rel']:.3f} cut from the whole photo's label, difference "
        f"{difference.text(signed=True)}, {difference.n} images{too_few(difference)}"
    )
    edges = Estimate(*_read(row, "alone_minus_cut_boundary_f1")[:3], row["boundary_images"])
    if edges.n:
        sentence += f"; boundary F1 {edges.text(signed=True)} ({judge(edges, 'higher')})"
    return _answer("closeups", row["model"], verdict, f"{sentence}.", difference)


def _second(row: Row) -> Row:
    difference, alike = _read(row, "mean_minus_best"), _read(row, "correlation")
    verdict = judge(difference, "lower")
    opening = _opening(verdict, *(f"the mean of both is {word} than the better one" for word in ("better", "worse")))
    sentence = (
        f"{row['model']} and {row['other']}: {opening}: AbsRel "
        f"{row['mean_abs_rel']:.3f} against {min(row['first_abs_rel'], row['second_abs_rel']):.3f} ({row['best']}), difference "
        f"{difference.text(signed=True)}, {difference.n} images{too_few(difference)}; their errors correlate {alike.text()}, and "
        f"{_percent(row['both_wrong'])} of the pixels are wrong in both ({_percent(row['by_chance'])} if independent)."
    )
    if row["correlation"] > SAME:
        sentence += " By that they are one network."
    return _answer("second", f"{row['model']}, {row['other']}", verdict, sentence, difference)


def _answer(question: str, subject: str, verdict: str, sentence: str, difference: Estimate) -> Row:
    answer = {"question": question, "subject": subject, "verdict": verdict, "sentence": sentence}
    return {**answer, **difference.row("difference"), "images": difference.n}


def _opening(verdict: str, better: str, worse: str) -> str:
    return f"CONTRADICTED: {worse}" if verdict == "contradicted" else f"{verdict.upper()} that {better}"


def _read(row: Row, name: str) -> Estimate:
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], row["images"])


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
