"""`ccd.load` and the model it returns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, overload

from ccd_cli.api.clouds import Provenance
from ccd_cli.api.depth import DepthMap, Intrinsics
from ccd_cli.api.frames import frames_of
from ccd_cli.api.images import Given, listed, read
from ccd_cli.api.options import settings_from, text_of
from ccd_cli.api.reporting import Quiet, plain_errors, warn
from ccd_cli.core.compute import Compute, choose_compute
from ccd_cli.core.concurrency import chunks
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.nearest import choose_from
from ccd_cli.core.settings import DeviceSettings, Precision, RuntimeChoice
from ccd_cli.geometry.camera import camera_doubts
from ccd_cli.geometry.kinds import Kind
from ccd_cli.media.photos import Limits, Photo
from ccd_cli.predict.camera import known_focal, photo_camera
from ccd_cli.predict.photos import GPU_BATCH, WORKING_BYTES, WORKING_PIXELS
from ccd_cli.predict.settings import ModelSettings, Settings
from ccd_cli.predict.video import GPU_BATCH as FRAMES
from ccd_cli.teachers import model as loading
from ccd_cli.teachers.needs import find_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from ccd_cli.api.images import ImageLike
    from ccd_cli.predict.temporal import Mode

RUNTIMES: tuple[str, ...] = get_args(RuntimeChoice)


@plain_errors()
def load(
    model: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    runtime: RuntimeChoice = "auto",
    resolution: int | None = None,
    arch: str | None = None,
) -> Model:
    """Return a model, ready to predict.

    `model`: a name of the catalog, a run folder or a checkpoint; None: depth-anything-v2-small, pulled on first use, and where the
    hub cannot be reached `builtin:tiny`, with a warning. `device`: auto, cpu, cuda, cuda:N or mps; `precision`: auto, fp32, bf16 or
    fp16; `runtime`: the software that runs the network; `resolution`: its short side in pixels; `arch`: the architecture of a
    checkpoint that does not tell. As `ccd predict --model`.

    Raises TeacherError for an unknown model or one that is not on this machine, CheckpointError for a file that is no model,
    UsageProblem for a device or runtime that is not there.
    """
    word = None if model is None else text_of("model", model)
    network = settings_from(ModelSettings, {"arch": arch, "resolution": resolution})
    hardware = settings_from(DeviceSettings, {"device": device, "precision": precision})
    if runtime not in RUNTIMES:
        raise UsageProblem(f"runtime {runtime!r}: unknown value.", choose_from(str(runtime), RUNTIMES))
    if word is not None:
        find_models([(word, arch)])
    compute = choose_compute(hardware.device, hardware.precision, report=Quiet())
    return Model(loading.load(word, arch, network.resolution, compute, Quiet(), runtime=runtime), compute)


class Model:
    """A loaded model. Made by `load`; not safe to use from several threads at once."""

    def __init__(self, loaded: loading.Model, compute: Compute) -> None:
        self._loaded = loaded
        self._compute = compute

    def __repr__(self) -> str:
        side = "the photo's" if self.resolution is None else self.resolution
        where = f"{self.device}, {self.precision}, {self.runtime}"
        return f"Model({self.name}, {self.kind}, resolution {side}, {where}, {self.license})"

    def __reduce__(self) -> Any:
        """Raise CcdError: neither pickle nor copy can take along a network that runs."""
        raise CcdError("A model cannot be pickled or copied.", f"Load it there: ccd.load({self.name!r}).")

    @property
    def name(self) -> str:
        """Name in the catalog, or of the file or run."""
        return self._loaded.teacher.name

    @property
    def kind(self) -> Kind:
        """What its maps are: disparity, depth, affine-depth or metric."""
        return self._loaded.teacher.kind

    @property
    def license(self) -> str:
        """The license of its weights."""
        return self._loaded.teacher.license

    @property
    def resolution(self) -> int | None:
        """The side in pixels at which it sees photos; None: their own."""
        return self._loaded.resolution

    @property
    def device(self) -> str:
        """Where it runs: cpu, cuda:0, ..."""
        return str(self._compute.device)

    @property
    def precision(self) -> str:
        """The floating-point precision of the network: fp32, bf16 or fp16."""
        return str(getattr(self._loaded.teacher, "precision", self._compute.precision))

    @property
    def runtime(self) -> str:
        """The software that runs the network."""
        return self._loaded.runtime

    @overload
    def predict(
        self,
        images: str | os.PathLike[str] | NDArray[np.uint8] | Image.Image,
        *,
        intrinsics: Intrinsics | None = None,
        fov: float | None = None,
        batch: int | None = None,
        full_size: bool = False,
    ) -> DepthMap: ...

    @overload
    def predict(
        self,
        images: list[Any] | tuple[Any, ...],
        *,
        intrinsics: Intrinsics | None = None,
        fov: float | None = None,
        batch: int | None = None,
        full_size: bool = False,
    ) -> list[DepthMap]: ...

    @overload
    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        intrinsics: Intrinsics | None = None,
        fov: float | None = None,
        batch: int | None = None,
        full_size: bool = False,
    ) -> Any: ...

    @plain_errors()
    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        *,
        intrinsics: Intrinsics | None = None,
        fov: float | None = None,
        batch: int | None = None,
        full_size: bool = False,
    ) -> DepthMap | list[DepthMap]:
        """Return the depth map of an image at its size, or a list of them for a list or a batch.

        An image is a path (read as `ccd predict` reads it: EXIF rotation, 16 bit, alpha, HEIC), a PIL image, a uint8 array [H, W,
        3] in RGB, or a float torch tensor [3, H, W] or [B, 3, H, W] in 0..1, which is rounded to 8 bits. The camera is
        `intrinsics` or `fov` (degrees across the longer side), the EXIF focal length, the model's, or an assumed one
        (`intrinsics_source`); a warning tells of intrinsics of another size. `batch`: images at once, by default 1 on CPUs and 8
        on GPUs. `full_size` keeps images over 64 megapixels, which are reduced otherwise.

        Raises ImageError for a file that cannot be read and CcdError for anything that is no image or has no map; of a list
        nothing is returned then.
        """
        given, single = listed(images)
        asked = settings_from(Settings, {"intrinsics": intrinsics, "fov": fov, "batch": batch})
        camera, fov = asked.intrinsics, asked.fov
        size = asked.batch or (GPU_BATCH if self._compute.device.type == "cuda" else 1)
        limits = Limits(None if full_size else WORKING_PIXELS, WORKING_BYTES)
        made: list[DepthMap] = []
        for group in chunks(given, size):
            photos = [read(each, limits) for each in group]
            cameras = [
                photo_camera(photo, each.path, None, camera, fov) for each, photo in zip(group, photos, strict=True)
            ]
            focals = [known_focal(*found) for found in cameras]
            rgbs = [photo.rgb for photo in photos]
            results = loading.predict_each(self._loaded.teacher, rgbs, self._loaded.asked, focals)
            for each, photo, result in zip(group, photos, results, strict=True):
                if isinstance(result, CcdError):
                    raise _named(result, each)
                if result.valid is not None and not result.valid.any():
                    raise CcdError(f"{_name(each)}: the model's map has no valid value.", "Try precision='fp32'.")
                found = photo_camera(photo, each.path, result, camera, fov)
                for doubt in camera_doubts(found[0], photo.rgb.shape[:2]) if found[1] == "flag" else ():
                    warn(f"{_name(each)}: {doubt}")
                by = self._provenance(photo, each.path)
                made.append(DepthMap._of(result, found, by, photo.notes, rgb=photo.rgb))
        return made[0] if single else made

    def video(
        self,
        path: str | os.PathLike[str],
        *,
        temporal: Mode | None = None,
        start: float = 0.0,
        end: float | None = None,
        stride: int = 1,
        intrinsics: Intrinsics | None = None,
        fov: float | None = None,
    ) -> Iterator[DepthMap]:
        """Give the temporally aligned depth map of each frame, with `rgb` and `seconds`, one after the other; nothing is written.

        `temporal`: align, ema or none, by default align, and none for metric depth; `start`, `end` in seconds, `stride`: every
        n-th frame. Frames that do not decode are passed over, with a warning at the end. Raises ImageError for a file that is no
        video, UsageProblem for an impossible span; both before the first frame is asked for.
        """
        options: dict[str, Any] = {"temporal": temporal, "start": start, "end": end, "stride": stride}
        options |= {"intrinsics": intrinsics, "fov": fov, "batch": FRAMES if self._compute.device.type == "cuda" else 1}
        return frames_of(self._loaded, self._provenance, path, options)

    def _provenance(self, photo: Photo, path: Path | None) -> Provenance:
        teacher, shape = self._loaded.teacher, (photo.rgb.shape[0], photo.rgb.shape[1])
        return Provenance(
            teacher.name,
            teacher.checkpoint_sha256,
            teacher.license,
            self._loaded.short_side(*shape),
            self.precision,
            self.runtime,
            self._loaded.upsampling(*shape),
            path,
        )


def as_model(model: Model | str | os.PathLike[str] | None) -> Model:
    """Return a loaded model, or the one of that name."""
    return model if isinstance(model, Model) else load(model)


def _name(given: Given) -> str:
    return given.name if given.path is None else str(given.path)


def _named(error: CcdError, given: Given) -> CcdError:
    """The error with the name of the image that it is about."""
    name = _name(given)
    if not error.message.startswith(name):
        error.message = f"{name}: {error.message[:1].lower()}{error.message[1:]}"
        error.args = (error.message,)
    return error
