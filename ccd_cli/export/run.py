"""`ccd export`: write under a temporary name, run in the target software, compare, and only then move into place."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ccd_cli.core.errors import CcdError, Interrupted, UsageProblem
from ccd_cli.core.files import disk_error, move_into_place, work_folder
from ccd_cli.core.report import Report
from ccd_cli.export.check import AT_LEAST, COMPARED, Difference, own_photos, shipped_photos
from ccd_cli.export.formats import BARS, Bar
from ccd_cli.export.plan import Plan, make_plan
from ccd_cli.export.settings import FIXED, Settings
from ccd_cli.runtimes.facts import ExportFacts, write_facts

if TYPE_CHECKING:
    from ccd_cli.models.depth_net import DepthNet


@dataclass(frozen=True)
class Exported:
    """What was written: `files` in place, `facts` as in the JSON file that is one of them."""

    files: list[Path]
    facts: dict[str, Any]


def run(model: str, settings: Settings, report: Report) -> Exported | Plan:
    """Export `model`; return what is there now, or with `dry_run` what would be.

    Raises CcdError, and leaves what was there as it was, for a model that cannot be exported so, a result that differs by more
    than the bar, and a disk that cannot be written.
    """
    plan = make_plan(model, settings)
    if settings.dry_run:
        return plan
    module = importlib.import_module(f".{plan.format.module}", __package__)
    if plan.format.runtime:
        module.need(settings.format, settings.precision)
    least = AT_LEAST if settings.precision == "int8" else 1
    calibration, photos = own_photos(settings.calibration, report, least) if settings.calibration else ([], [])
    if settings.precision != "int8":
        photos = [*calibration, *photos][:COMPARED]
    photos = [*photos, *shipped_photos(judged=settings.precision != "int8")]
    with _ended_plainly(plan.target), work_folder(plan.target) as work:
        network, about = _load(plan, settings, report)
        out = work / plan.target.name
        if not plan.format.suffix:
            out.mkdir()
        report.note(f"Writing {settings.format} ({settings.precision})")
        more: dict[str, Any] = {"calibration": calibration} if settings.precision == "int8" else {}
        if settings.format == "transformers":
            more["origin"] = importlib.import_module(".hub_card", __package__).origin_of(plan.ref)
        files = module.write(network, about, out, about.size, **more)
        report.note(f"Running it in {plan.format.software}, on {len(photos)} photos")
        found = module.check(out, network, about, photos if plan.format.runtime else [each.rgb for each in photos])
        bar = BARS[settings.precision]
        report.table(f"Difference as a fraction of the range; bar: {bar}", [_row(each, bar) for each in found])
        _judge(found, bar, plan)
        facts = write_facts(out, about, {"checked": _measured(found, bar, plan)})
        plan.check_free(settings.overwrite)  # another process may have been faster
        made = [*files, work / plan.facts.name] if plan.format.suffix else [out]
        return Exported(move_into_place(made, plan.target.parent), facts)


def _load(plan: Plan, settings: Settings, report: Report) -> tuple[DepthNet, ExportFacts]:
    """The network, and what the export will be. Raises CcdError for one that is not ccd's, UsageProblem for a wrong size."""
    import torch

    from ccd_cli.teachers.adapters.native import NativeTeacher
    from ccd_cli.teachers.load import load_teacher

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    report.note(f"Loading {plan.ref.name} ({plan.ref.kind}, {plan.license})")
    teacher = load_teacher(plan.ref)
    if not isinstance(teacher, NativeTeacher):
        raise CcdError(f"{plan.ref.name} is a custom teacher; ccd exports the networks it builds itself.")
    network = teacher.model.to(memory_format=torch.contiguous_format).eval()
    arch = network.arch
    size = settings.fixed_size
    for name, side in (("--resolution", settings.resolution), *(("--size", each) for each in size or ())):
        if side is not None and side % arch.multiple:
            near = max(1, round(side / arch.multiple)) * arch.multiple
            raise UsageProblem(f"{name} {side}: {arch.name} needs multiples of {arch.multiple}.", f"Use {near}.")
    if settings.resolution is not None:
        arch = replace(arch, resolution=settings.resolution)
    if settings.size == FIXED or (settings.format == "transformers" and settings.resolution is not None):
        size = (arch.resolution, arch.resolution)
    if size is not None and arch.resolution % arch.multiple:
        raise UsageProblem(f"--size {settings.size}: {arch.name} needs multiples of {arch.multiple}.", "Give them.")
    return network, ExportFacts(arch, plan.ref.name, plan.license, teacher.checkpoint_sha256, settings.precision, size)


def _row(each: Difference, bar: Bar) -> dict[str, object]:
    verdict = ("ok" if bar.holds(each) else "too far") if each.exact else "not judged"
    return {"photo": each.name, "largest": f"{each.largest:.1e}", "mean": f"{each.mean:.1e}", "": verdict}


def _judge(found: Sequence[Difference], bar: Bar, plan: Plan) -> None:
    """Raise CcdError where a result that the bar applies to is beyond it, or there is none."""
    judged = [each for each in found if each.exact]
    if not judged:
        raise CcdError(f"{plan.target} was not written: nothing could be compared.")
    far = [each for each in judged if not bar.holds(each)]
    if far:
        worst = max(far, key=lambda each: each.largest)
        raise CcdError(
            f"{plan.target} was not written: in {plan.format.software} it differs by {worst.largest:.1e} of the range at "
            f"most and {worst.mean:.1e} on average ({worst.name}); the bar is {bar}.",
            bar.hint,
        )


def _measured(found: Sequence[Difference], bar: Bar, plan: Plan) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "software": f"{plan.format.software} {version(plan.format.package)}",
        "bar": {"largest": bar.largest, "mean": bar.mean},
        "photos": [asdict(each) for each in found],
    }


@contextmanager
def _ended_plainly(target: Path) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the work at once, as an error that says that nothing was written; a full disk is one, too."""
    received, process = [signal.SIGINT], os.getpid()

    def stop(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:  # a child of some library
            os._exit(128 + number)
        received[0] = signal.Signals(number)
        raise KeyboardInterrupt  # the exporters catch every Exception

    try:
        old = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        old = None
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Stopped; nothing was written.", exit_code=128 + received[0]) from None
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        if old is not None:
            signal.signal(signal.SIGTERM, old)
