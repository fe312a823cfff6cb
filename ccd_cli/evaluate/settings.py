"""What `ccd eval` is asked for: its options, each typed once (see `ccd_cli.core.options`)."""

from dataclasses import dataclass
from pathlib import Path

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.options import check_choices, option
from ccd_cli.core.settings import (
    DeviceSettings,
    RuntimeSettings,
    ShardSettings,
    arch_option,
    data_root_option,
    out_option,
    overwrite_option,
    resolution_option,
)
from ccd_cli.core.shard import refuse_overwrite
from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.methods import ONE_SCALE, AlignmentChoice, CameraChoice


@dataclass(frozen=True, kw_only=True)
class Settings(ShardSettings, RuntimeSettings, DeviceSettings):
    """What to score, on what, and how. Raises UsageProblem for contradictions.

    Without `models` and `predictions` the default model is scored. `command` only goes into the report.
    """

    data_root: Path = data_root_option()
    predictions: Path | None = option(
        None,
        "Score precomputed predictions DIR/<set>/... under the names of the images (.npy, .npz, .exr, .png, .tiff, .pfm, .mat "
        "or .h5); of a single dataset also DIR/... as `ccd predict` writes them. Those of another size are resized.",
        "Input",
        metavar="DIR",
        path="folder",
    )
    prediction_kind: Kind | None = option(
        None,
        "Kind of the precomputed predictions: disparity (affine-invariant disparity), depth (scale-invariant depth), "
        "affine-depth (affine-invariant depth), metric (depth in meters).",
        "Input",
        default_text="what the sidecars of `ccd predict` say",
    )
    prediction_scale: float | None = option(
        None,
        "Depth scale of precomputed predictions without a sidecar, of any format: meters = value / S, e.g. 1000 for "
        "millimeters.",
        "Input",
        metavar="S",
        above=0,
    )
    models: tuple[str, ...] = option(
        (),
        "Catalog name, run folder or checkpoint; repeat to compare several.",
        "Model",
        flags="--model",
        metavar="MODEL",
        default_text="depth-anything-v2-small",
    )
    arch: str | None = arch_option()
    resolution: int | None = resolution_option("the model's own; for diffusion models the protocol's")
    suite: str = option(
        "zero-shot",
        "Benchmark: zero-shot (NYUv2, KITTI, ETH3D, ScanNet, DIODE), builtin (rendered scenes, no download), moge (its "
        "ten datasets, depth and points), da-2k (relative depth of point pairs), a single dataset, or a YAML file that "
        "describes your own pairs and clips.",
        "Evaluation",
        metavar="NAME|FILE",
    )
    baselines: bool = option(
        False,
        "Also score trivial baselines, maps that do not look at the image: the mean of the other images' ground truth, a "
        "vertical gradient and a constant.",
        "Evaluation",
    )
    alignment: AlignmentChoice = option(
        "auto",
        "How predictions are aligned to ground truth; auto: least squares for scale and shift in the space of the "
        "model's kind, none for metric depth.",
        "Evaluation",
        metavar="METHOD",
    )
    alignment_max_res: int | None = option(
        None,
        "Fit on columns subsampled to at most N, as Marigold does; 0: on every pixel.",
        "Evaluation",
        metavar="N",
        range=(0, None),
        default_text="the dataset's protocol",
    )
    camera: CameraChoice = option(
        "set",
        "Camera that unprojects points, on datasets with intrinsics: the dataset's (set), or the one that the model "
        "predicts without access to the focal length (own).",
        "Evaluation",
    )
    limit: int | None = option(
        None,
        "Use only N images of each dataset, evenly spaced; of a clip the first N frames.",
        "Evaluation",
        metavar="N",
        range=(1, None),
        default_text="all",
    )
    out: Path = out_option(Path("eval-out"), "Output folder.")
    overwrite: bool = overwrite_option("Recompute existing scores.")
    command: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        from ccd_cli.scoring.alignment import Alignment

        alignment = Alignment(self.alignment, self.suite, self.alignment_max_res)
        if self.predictions is not None and (self.prediction_kind is not None or self.alignment != "auto"):
            alignment.check(self.prediction_kind)  # without either, sidecars may tell
        for flag, value in (("kind", self.prediction_kind), ("scale", self.prediction_scale)):
            if value is not None and self.predictions is None:
                raise UsageProblem(f"--prediction-{flag} is for precomputed predictions.", "Add --predictions DIR.")
        check_choices(self)
        refuse_overwrite(self.shard, self.overwrite)
        if self.baselines and alignment.name in ONE_SCALE:
            raise UsageProblem(
                f"--baselines are not defined under --alignment {self.alignment}: they are known up to a scale and a shift.",
                "Use auto, which fits both, or leave --baselines out.",
            )
        if self.camera == "own" and self.predictions is not None:
            raise UsageProblem("--camera own needs a model: precomputed predictions come without a predicted camera.")
        if self.arch is not None and len(self.models) != 1:
            raise UsageProblem("--arch is for a single checkpoint file.", "Combine it with exactly one --model.")
        if (self.limit or 1) < 1:
            raise UsageProblem("--limit must be at least 1.")
