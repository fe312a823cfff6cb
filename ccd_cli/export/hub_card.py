"""The README.md of a model on the Hugging Face hub: a YAML header that the hub reads, and what a user has to know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

import ccd_cli
from ccd_cli.core.errors import CcdError
from ccd_cli.core.parse import parse_json, read_text
from ccd_cli.geometry.kinds import DIRECTION, UNIT
from ccd_cli.runtimes.facts import ExportFacts
from ccd_cli.teachers.licenses import is_commercial
from ccd_cli.teachers.load import RUN_WEIGHTS, ModelRef
from ccd_cli.teachers.registry import CARDS

_HUB_LICENSES = re.compile(
    r"apache-2\.0|mit|isc|ncsa|zlib|unlicense|wtfpl|pddl|postgresql|ms-pl|unknown|afl-3\.0|artistic-2\.0|bsl-1\.0|ecl-2\.0"
    r"|mpl-2\.0|ofl-1\.1|osl-3\.0|epl-[12]\.0|eupl-1\.[12]|bsd|bsd-2-clause|bsd-3-clause(-clear)?|odbl|odc-by"
    r"|cc0-1\.0|cc-by-(2\.0|2\.5|3\.0|4\.0)|cc-by-(sa|nc-nd)-[34]\.0|cc-by-(nc|nc-sa)-[234]\.0|cc-by-nd-4\.0"
    r"|gpl-[23]\.0|agpl-3\.0|lgpl-(2\.1|3\.0)|openrail|openrail\+\+|creativeml-openrail-m"
)
"""The hub's license identifiers (huggingface.co/docs/hub/repositories-licenses) that a depth model can meet."""
_SCORES = ("abs_rel", "rmse", "delta1")


@dataclass(frozen=True)
class Origin:
    """Where a network comes from, as far as it is known.

    `base_models` and `datasets` are repositories on the hub, `metrics` the names of those that it was scored by, `license_url`
    is where the license is stated, `text` the training run's own card in Markdown.
    """

    base_models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    license_url: str = ""
    text: str = ""


def origin_of(ref: ModelRef) -> Origin:
    """Return what is known of a model: by the catalog, else by its own metadata (teachers) and what lies in its run's folder.

    Teachers that are not in the catalog of published ones stand in the run's card alone. Raises CcdError where the files of
    the run are damaged.
    """
    if ref.card is not None:
        return Origin((ref.card.repo,) if ref.card.repo else (), license_url=ref.card.license_url)
    names = [part.rpartition("=")[0] for part in ref.metadata.get("teachers", "").split(";")]
    repos = dict.fromkeys(CARDS[name].repo for name in names if name in CARDS and CARDS[name].repo)
    if ref.path.name != RUN_WEIGHTS:
        return Origin(tuple(repos))
    scores, run_card = ref.path.parent / "eval.json", ref.path.parent / "card.md"
    try:
        best = parse_json(read_text(scores))["best"] if scores.is_file() else None
        metrics = tuple(name for name in _SCORES if name in (best or {}))
        return Origin(tuple(repos), metrics=metrics, text=read_text(run_card) if run_card.is_file() else "")
    except (ValueError, KeyError, TypeError) as error:
        raise CcdError(
            f"{ref.path.parent} holds a damaged eval.json or card.md.", "Restore the run's folder."
        ) from error


def hub_license(license_id: str) -> str:
    """Return the hub's spelling of a license (SPDX or the hub's own); "other" for one that the hub has no word for."""
    name = re.sub(r"-(only|or-later)$", "", license_id.strip().lower())
    return name if _HUB_LICENSES.fullmatch(name) else "other"


def hub_card(about: ExportFacts, size: tuple[int, int] | None, origin: Origin) -> str:
    """Return README.md: the header, how to use the folder, which way its values grow, license and origin."""
    arch = about.arch
    known = hub_license(about.license)
    header: dict[str, Any] = {"license": known}
    if known == "other":
        header["license_name"] = re.sub(r"[^a-z0-9.+-]+", "-", about.license.lower()).strip("-")
        if origin.license_url:
            header["license_link"] = origin.license_url
    lists = {"base_model": origin.base_models, "datasets": origin.datasets, "metrics": origin.metrics}
    header |= {key: list(values) for key, values in lists.items() if values}
    header |= {"library_name": "transformers", "pipeline_tag": "depth-estimation", "tags": ["depth-estimation", "ccd"]}
    seen = f"exactly {size[1]} x {size[0]} (width x height)" if size else f"{arch.resolution} pixels on the short side"
    lines = [
        f"# {about.name}",
        "",
        f"A monocular depth model that predicts **{arch.kind}** ({DIRECTION[arch.kind]}; {UNIT[arch.kind]}), exported by ccd "
        f"{ccd_cli.__version__} in {about.precision}.",
        "",
        "```python",
        "from transformers import pipeline",
        "",
        'result = pipeline("depth-estimation", model="THIS FOLDER")("photo.jpg")',
        'values = result["predicted_depth"]  # float32, the size of the photo',
        "```",
        "",
        f"Photos are resized to {seen}. The network's position embeddings are interpolated by another rule in transformers than "
        "by its authors: "
        + (
            "they were computed for this size."
            if size
            else "square photos are exact, other aspect ratios differ a little."
        ),
        "",
        "## License",
        "",
        f"**{about.license}**. "
        + (
            "It allows commercial use."
            if is_commercial(about.license)
            else "It forbids commercial use, is disputed or is unknown: do not use this model commercially without checking."
        ),
        "",
        f"Made from weights with the sha256 `{about.source_sha256}`.",
        "",
    ]
    if origin.text:
        lines += ["## The training run", "", re.sub(r"^(#+ )", r"##\1", origin.text, flags=re.MULTILINE).rstrip(), ""]
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n" + "\n".join(lines)
