"""Where an export goes and what may be said about it, decided before anything is computed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.paths import expand_home
from ccd_cli.export.formats import FORMATS, Format
from ccd_cli.export.settings import Settings
from ccd_cli.runtimes.facts import FOLDER_FACTS, RUNTIME_OF, facts_path
from ccd_cli.teachers.licenses import commercial_use, license_rank
from ccd_cli.teachers.load import ModelRef, resolve_model

FOLDER = Path("ccd-export")


@dataclass(frozen=True)
class Plan:
    """A model that was found, the format and license of the result, and its path."""

    ref: ModelRef
    format: Format
    license: str
    target: Path

    @property
    def facts(self) -> Path:
        """Where the facts go."""
        return facts_path(self.target) if self.format.suffix else self.target / FOLDER_FACTS

    def check_free(self, overwrite: bool) -> None:
        """Raise CcdError where something is there that is not to be replaced."""
        files = [self.target]
        if self.format.suffix:
            files += [self.facts, *([self.target.with_suffix(".bin")] if self.format.suffix == ".xml" else [])]
        there = [path for path in files if path.exists() or path.is_symlink()]
        if not there:
            return
        if not overwrite:
            raise CcdError(f"{there[0]} exists.", "Replace it with --overwrite, or choose another --out.")
        if self.format.suffix and (folders := [path for path in there if path.is_dir()]):
            raise CcdError(f"{folders[0]} is a folder, where a file should be.", "Choose another --out.")
        if not self.format.suffix and not self.facts.is_file():
            raise CcdError(
                f"{self.target} is nothing that `ccd export` wrote: it has no {FOLDER_FACTS}.", "Choose another --out."
            )


def make_plan(model: str, settings: Settings) -> Plan:
    """Find the model and decide on license and path; nothing is loaded or written.

    Raises what `resolve_model` raises, UsageProblem for a license that is not stricter than the model's own and for a name that
    does not fit the format, CcdError for models that are no networks of ccd and for what would be replaced.
    """
    if Path(model).suffix.lower() in RUNTIME_OF:
        raise CcdError(
            f"{model} is an exported network already.", "Give the checkpoint or run folder it was made from."
        )
    ref = resolve_model(model, settings.arch)
    if ref.card is not None and ref.card.adapter != "native":
        where = "an installed package of its own" if ref.card.adapter == "plugin" else f"the package {ref.card.adapter}"
        raise CcdError(
            f"{ref.name} runs in {where}, and ccd exports the networks it builds itself.",
            "Distill a student from it, or export Depth Anything: `ccd teachers list` shows the families.",
        )
    chosen = FORMATS[settings.format]
    plan = Plan(ref, chosen, _license(ref.license, settings.license), _target(ref.name, chosen, settings.out))
    plan.check_free(settings.overwrite)
    return plan


def _license(own: str, asked: str | None) -> str:
    """The license of the result: the model's own, or a stricter one."""
    if asked is None or asked == own:
        return own
    if commercial_use(asked) == "unknown":
        raise UsageProblem(
            f"--license {asked}: not a license that ccd knows, so it cannot tell whether it is stricter than {own}.",
            "Give its SPDX identifier, such as CC-BY-NC-4.0.",
        )
    if license_rank(asked) <= license_rank(own):
        raise UsageProblem(
            f"--license {asked}: this model is under {own}, the strictest license of what it was made from.",
            "Leave --license out, or give a stricter one.",
        )
    return asked


def _target(name: str, chosen: Format, out: Path | None) -> Path:
    """The path of the result: `out` itself where it has the format's suffix or the format is a folder, else a file in `out`."""
    stem = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "model"
    if out is None:
        return FOLDER / f"{stem}{chosen.suffix}"
    out = expand_home(out)
    if not chosen.suffix:
        return out
    known = {each.suffix for each in FORMATS.values()} - {""}
    if out.suffix == chosen.suffix and not out.is_dir():
        return out
    if out.suffix.lower() in known and not out.is_dir():
        raise UsageProblem(f"--out {out}: this format's files end in {chosen.suffix}.", "Change the name or --format.")
    return out / f"{stem}{chosen.suffix}"
