"""What `ccd predict` is asked for: its options, each typed once (see `ccd_cli.core.options`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.nearest import choose_from
from ccd_cli.core.options import changed, option
from ccd_cli.core.settings import ShardSettings, arch_option, out_option, overwrite_option, resolution_option
from ccd_cli.core.shard import refuse_overwrite
from ccd_cli.pointcloud.settings import CloudSettings, GeometrySettings

Mode = Literal["none", "ema", "align"]


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which networks predict, and how they are loaded. Raises UsageProblem for one that is named twice."""

    models: tuple[str, ...] = option(
        (),
        "Catalog name, run folder or checkpoint; repeat to compare several: results of each in a folder of its own, and with "
        "--save side one image of all.",
        "Model",
        flags="--model",
        metavar="MODEL",
        default_text="depth-anything-v2-small",
    )
    arch: str | None = arch_option()
    resolution: int | None = resolution_option()
    offline: bool = option(False, "No network access: use weights on this machine only.", "Model")
    compiled: bool = option(
        False, "Compile the network with torch.compile: slower start, faster inference.", "Runtime", flags="--compile"
    )

    def __post_init__(self) -> None:
        """Check what several models cannot share."""
        if twice := sorted({word for word in self.models if self.models.count(word) > 1}):
            raise UsageProblem(f"--model {twice[0]} is given twice.", "Name every model once.")
        if self.arch is not None and len(self.models) > 1:
            raise UsageProblem("--arch is for a single checkpoint file.", "Combine it with exactly one --model.")


@dataclass(frozen=True, kw_only=True)
class CloudSwitch:
    """Whether point clouds are written, and of which frames of a video (`every` None: one per second of the clip)."""

    pointcloud: bool = option(False, "Also write colored point clouds.", "Point cloud")
    every: int | None = option(
        None,
        "Videos: write a point cloud every N frames.",
        "Point cloud",
        metavar="N",
        range=(1, None),
        default_text="one per second",
    )


@dataclass(frozen=True, kw_only=True)
class Settings(GeometrySettings, CloudSwitch, ShardSettings):
    """What to make of each input. Raises UsageProblem for contradictions.

    `cloud` counts with `pointcloud` only. `start`, `end`: seconds of a video; `stride`: process every n-th frame.
    `batch` None: one image at a time on CPUs, eight on GPUs.
    """

    out: Path = out_option(Path("ccd-out"), "Output folder.")
    save: tuple[str, ...] = option(
        ("color", "png16", "sky"),
        "Comma-separated outputs: npy, npz, png16, exr, color, side, and sky where the network marks it.",
        "Output",
        metavar="LIST",
        parser="comma list",
    )
    cmap: str = option("inferno", "Matplotlib color map of colored outputs.", "Output", metavar="NAME")
    full_size: bool = option(
        False,
        "Maps at the full size of images over 64 megapixels, which are reduced otherwise; takes about 36 bytes of memory "
        "per pixel.",
        "Output",
    )
    overwrite: bool = overwrite_option("Recompute existing results, and replace those of other models and settings.")
    verify: bool = option(False, "Compare every byte of existing results before skipping them.", "Output")
    batch: int | None = option(
        None,
        "Batch size for images.",
        "Runtime",
        metavar="N",
        parser="batch",
        default_text="auto, 1 on CPUs and 8 on GPUs",
    )
    temporal: Mode | None = option(
        None,
        "Temporal alignment of scale and shift: a robust fit of each frame to a slowly updated reference (align), an "
        "exponential moving average (ema), or none.",
        "Video",
        default_text="align; none for metric depth",
    )
    start: float = option(0.0, "Start time in seconds.", "Video", metavar="S", range=(0, None))
    end: float | None = option(
        None, "End time in seconds (exclusive).", "Video", metavar="S", range=(0, None), default_text="end of the clip"
    )
    stride: int = option(1, "Process every N-th frame.", "Video", metavar="N", range=(1, None))
    cloud: CloudSettings = CloudSettings()

    def __post_init__(self) -> None:
        """Check what cannot be made, before anything is loaded."""
        from ccd_cli.media.colorize import color_table  # numpy, cv2
        from ccd_cli.media.map_write import ITEMS

        super().__post_init__()
        refuse_overwrite(self.shard, self.overwrite)
        if not self.pointcloud and (unused := changed(self, "Point cloud")):
            raise UsageProblem(f"{', '.join(unused)}: for point clouds only.", "Add --pointcloud.")
        if unknown := sorted(set(self.save) - set(ITEMS)):
            raise UsageProblem(f"--save {','.join(unknown)}: unknown output.", choose_from(unknown[0], ITEMS))
        if not self.save and not self.pointcloud:
            raise UsageProblem("--save is empty: nothing to write.", f"Choose from {', '.join(ITEMS)}.")
        if (self.batch or 1) < 1 or self.stride < 1 or (self.every or 1) < 1:
            raise UsageProblem("--batch, --stride and --every must be at least 1.")
        if self.end is not None and self.end <= self.start:
            raise UsageProblem(f"--end ({self.end:g} s) must be later than --start ({self.start:g} s).")
        color_table(self.cmap)
