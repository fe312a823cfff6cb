"""What `ccd analyze` is asked for: its options, each typed once (see `ccd_cli.core.options`)."""

from dataclasses import dataclass
from pathlib import Path

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.options import check_choices, option
from ccd_cli.core.settings import DeviceSettings, arch_option, data_root_option, out_option, resolution_option


@dataclass(frozen=True, kw_only=True)
class Settings(DeviceSettings):
    """What to analyze. Raises UsageProblem for contradictions. `command` only goes into the page."""

    data_root: Path = data_root_option()
    model: str | None = option(
        None,
        "Also reproduce the paper's Figure 2 for this model: catalog name, run folder or checkpoint.",
        "Model",
        metavar="MODEL",
    )
    arch: str | None = arch_option()
    resolution: int | None = resolution_option()
    suite: str = option(
        "builtin",
        "Images with ground-truth depth: builtin (rendered scenes, no download), a YAML file that describes your own "
        "pairs, or any other benchmark of `ccd eval --suite`.",
        "Evaluation",
        metavar="builtin|FILE",
    )
    images: int = option(12, "Images per dataset, evenly spaced.", "Evaluation", metavar="N", range=(1, None))
    draws: int = option(3, "Random draws of each corruption per image.", "Evaluation", metavar="N", range=(1, 10_000))
    seed: int = option(0, "Random seed of the corruptions.", "Evaluation", metavar="N", range=(0, 2**63 - 1))
    out: Path = out_option(Path("analyze-out"), "Output folder.")
    command: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        check_choices(self)
        if min(self.images, self.draws) < 1 or self.seed < 0:
            raise UsageProblem("--images and --draws must be at least 1, --seed at least 0.")
        if self.model is None and (self.arch is not None or self.resolution is not None):
            raise UsageProblem("--arch and --resolution need a model.", "Add --model.")
