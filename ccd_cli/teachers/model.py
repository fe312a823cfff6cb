"""A model with the resolution it predicts at: found at once, loaded when it is needed. And how the default one is chosen."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.compute import Compute, memory_error
from ccd_cli.core.errors import CcdError, Interrupted, UsageProblem
from ccd_cli.core.report import Report
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.geometry.kinds import Kind
from ccd_cli.models.arch import Arch
from ccd_cli.runtimes.choose import Work
from ccd_cli.teachers.adapters.exported import ExportedTeacher, check_resolution
from ccd_cli.teachers.adapters.sizes import network_size
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.download.choose import DEFAULT_MODEL
from ccd_cli.teachers.download.pull import HubUnreachable, ensure
from ccd_cli.teachers.load import ModelRef, check_runnable, load_teacher, resolve_model
from ccd_cli.teachers.runtime import choose_runtime, computed, load_in, without

FALLBACK = "builtin:tiny"


@dataclass(frozen=True)
class About:
    """What is known of a model before it is loaded; `arch` None: it is not one of our networks.

    `size` (height, width) is the one input size of an exported network that takes no other.
    """

    name: str
    kind: Kind
    license: str
    checkpoint_sha256: str
    arch: Arch | None = None
    size: tuple[int, int] | None = None

    @property
    def network(self) -> str | None:
        """The architecture by name, and a hash of all of it: weights alone do not say what their output means."""
        if self.arch is None:
            return None
        return f"{self.arch.name} {hashlib.sha256(repr(self.arch).encode()).hexdigest()[:8]}"


class Model:
    """A teacher, the side in pixels that the user asked for (None: the model's own), and what its own is (None: the photo's).

    `teacher` is a loaded one, or with `about` what loads one for an amount of work, when it is first needed. `computed` tells
    maps of different precision apart (`core.compute.computed_by`); "" where the caller knows the precision. `loading` loads it in
    another process; None where `load` did not make it.
    """

    loading: Loading | None = None

    def __init__(
        self,
        teacher: Teacher | Callable[[Work], Teacher],
        asked: int | None = None,
        own: int | None = None,
        about: About | None = None,
        computed: str = "",
    ) -> None:
        self.asked, self.own, self.computed = asked, own, computed
        self._load: Callable[[Work], Teacher] | None = None
        self._teacher: Teacher | None = None
        if about is not None:
            self.about, self._load = about, cast("Callable[[Work], Teacher]", teacher)
            return
        self._teacher = made = cast("Teacher", teacher)
        self.about = About(made.name, made.kind, made.license, made.checkpoint_sha256, getattr(made, "arch", None))

    @property
    def teacher(self) -> Teacher:
        """The loaded teacher; loads it as for one image where `begin` was not called."""
        return self.begin(Work())

    def begin(self, work: Work) -> Teacher:
        """Load the teacher for an amount of work, unless that is done, and return it. Raises what `load_teacher` raises."""
        if self._teacher is None:
            assert self._load is not None
            self._teacher = self._load(work)
        return self._teacher

    def for_clip(self, frames: int, height: int, width: int) -> Teacher:
        """Return the teacher for this many photos of one size, compiled for that size where it can be and pays."""
        teacher = self.teacher
        if not isinstance(teacher, ExportedTeacher):
            return teacher
        return teacher.for_clip(frames, height, width, self.asked)

    @property
    def loaded(self) -> bool:
        """Whether the teacher is loaded."""
        return self._teacher is not None

    @property
    def runtime(self) -> str:
        """What runs the loaded teacher: torch, openvino or onnxruntime."""
        return str(getattr(self.teacher, "runtime", "torch"))

    @property
    def marks_sky(self) -> bool:
        """Whether maps of the loaded teacher say what is sky."""
        return self.can_mark_sky and self.runtime == "torch"

    @property
    def can_mark_sky(self) -> bool:
        """Whether the network says what is sky in the runtime that was asked for: torch alone has that output."""
        asked = "torch" if self.loading is None else self.loading.runtime
        return self.about.arch is not None and self.about.arch.sky and asked in ("auto", "torch")

    @property
    def resolution(self) -> int | None:
        """Return the side in pixels at which it sees photos; None: their own."""
        return self.asked or self.own

    def input_size(self, height: int, width: int) -> tuple[int, int] | None:
        """Return the (height, width) at which the network sees a photo of this size; None where it is not known."""
        if self.about.size is not None:
            return self.about.size
        return None if self.about.arch is None else network_size(self.about.arch, height, width, self.resolution)

    def short_side(self, height: int, width: int) -> int | None:
        """Return the short side in pixels at which the network sees a photo of this size; None where it is not known."""
        size = self.input_size(height, width)
        return self.resolution if size is None else min(size)

    def upsampling(self, height: int, width: int) -> float:
        """Return how many pixels of a map come from one pixel of the network, at least 1."""
        return max(1.0, min(height, width) / (self.short_side(height, width) or min(height, width)))


def load(
    name: str | None,
    arch: str | None,
    resolution: int | None,
    compute: Compute,
    report: Report,
    compiled: bool = False,
    runtime: str | None = None,
) -> Model:
    """Return the model called `name`, or without a name the default one, which is pulled on first use.

    It is found and its weights are hashed; it is loaded when it is first used, in the software that `runtime` stands for
    (`teachers.runtime.choose_runtime`; None: torch, and for an exported file what runs it). Where the hub cannot be reached
    the default becomes `builtin:tiny`, with one warning. A named model is never replaced: raises what `load_teacher` raises.
    `compiled` compiles the network with torch; UsageProblem where its family or the runtime has none.
    """
    word = _default(report) if name is None else name
    ref = check_runnable(resolve_model(word, arch))
    if runtime is None:
        runtime = "torch" if ref.exported is None else "auto"
    return Loading(ref, resolution, compute, compiled, runtime).model(report)


@dataclass(frozen=True)
class Loading:
    """What loads a model that was found, also in another process: `runtime` stands for the software that runs it."""

    ref: ModelRef
    resolution: int | None
    compute: Compute
    compiled: bool
    runtime: str

    def model(self, report: Report) -> Model:
        """Return the model; raises what `load` raises."""
        ref, runtime, compute = self.ref, self.runtime, self.compute
        if self.compiled and runtime not in ("auto", "torch"):
            raise UsageProblem(f"--compile: {runtime} compiles every network itself.", "Run without --compile.")
        if self.compiled and (ref.network is None or ref.exported is not None):
            raise UsageProblem(
                f"--compile: {ref.name} does not run as a network of torch here.", "Run without --compile."
            )
        if self.compiled:
            runtime = "torch"
        choose_runtime(ref, runtime, compute, Work())  # refuses what cannot be, before anything is read
        made = self._made(runtime, report)
        made.loading = self
        return made

    def in_worker(self, about: About, report: Report) -> Model:
        """Return the model in a process of another machine.

        Raises what `load` raises, and CcdError where its files there are not those that `about` was read from.
        """
        model = replace(self, ref=replace(self.ref)).model(report)  # a new reference: its hash is read here
        if model.about != about:
            raise CcdError(
                f"{self.ref.path} on {platform.node()} is not what it is where the run began.",
                "All machines need the same models at the same paths.",
            )
        return model

    def _made(self, runtime: str, report: Report) -> Model:
        ref, compute, resolution = self.ref, self.compute, self.resolution
        network, mark = ref.network, computed(ref, runtime, compute)

        def made(work: Work) -> Teacher:
            meters = "; meters with a focal length" if network is not None and network.canonical_focal else ""
            report.note(f"Loading {ref.name} ({ref.kind}{meters}, {ref.license})")
            return load_for(ref, runtime, compute, report, work, self.compiled)

        if network is None and ref.card is not None and ref.card.adapter not in ("transformers", "diffusers", "moge"):
            # a package: it says itself what it is
            return Model(made(Work()), resolution, ref.card.resolution, computed=mark)
        size = None if ref.exported is None else ref.exported.size
        if ref.exported is not None:
            check_resolution(ref.exported, resolution)
            resolution = None if size else resolution  # of the two sides either may be asked for; the short one is told
        own = network.resolution if network else ref.card.resolution if ref.card else None
        about = About(ref.name, network.kind if network else ref.kind, ref.license, ref.sha256, network, size)
        return Model(made, resolution, min(size) if size else own, about, mark)


def load_for(
    ref: ModelRef, runtime: str, compute: Compute, report: Report, work: Work, compiled: bool = False
) -> Teacher:
    """Return a model loaded for an amount of work, in the software that `runtime` stands for.

    Where `auto` wants another runtime than torch and it fails, a note says why, and torch runs the network.
    """
    chosen = choose_runtime(ref, runtime, compute, work)
    if chosen != "torch":
        try:
            return load_in(ref, chosen, compute, report)
        except CcdError as error:
            if runtime != "auto" or ref.exported is not None:
                raise
            report.note(without(error))
    teacher = load_teacher(ref, None, compute.device, compute.precision)
    if compiled:
        from ccd_cli.teachers.adapters.native import NativeTeacher

        assert isinstance(teacher, NativeTeacher)
        report.note("Compiling the network, which takes a minute or more: it pays for many images of few sizes")
        teacher.compile()
    return teacher


def predict_each(
    teacher: Teacher,
    photos: Sequence[NDArray[np.uint8]],
    side: int | None,
    focals: Sequence[float | None],
) -> list[DepthMap | CcdError]:
    """Return a map, or why there is none, for each photo uint8 RGB [H, W, 3].

    `side` is the side in pixels that the network sees (None: its own), `focals` are focal lengths in pixels where they are
    known. Photos are predicted together; where that fails (memory, a photo that is refused), half as many at a time, so that
    one photo alone is without a map. Raises Interrupted, and what is neither a CcdError nor exhausted memory.
    """
    if not photos:
        return []
    try:
        return list(teacher.predict_photos(photos, side, focals))
    except Interrupted:
        raise
    except CcdError as error:
        problem = error
    except (RuntimeError, MemoryError) as error:
        plain = memory_error(error, "Lower --resolution, or use --device cpu.")
        if plain is None:
            raise
        problem = plain
    if len(photos) == 1:
        return [problem]
    middle = len(photos) // 2
    return [
        *predict_each(teacher, photos[:middle], side, focals[:middle]),
        *predict_each(teacher, photos[middle:], side, focals[middle:]),
    ]


def _default(report: Report) -> str:
    try:
        ensure(DEFAULT_MODEL, report)
    except HubUnreachable:
        report.warn(
            f"{DEFAULT_MODEL} is not on this machine and the hub cannot be reached: using {FALLBACK}, which is small "
            "and rough. Online, `ccd teachers pull` gets the better one; --model chooses another."
        )
        return FALLBACK
    return DEFAULT_MODEL
