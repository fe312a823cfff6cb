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
    models: tuple[str, ...] = option(
        (),
        "Also measure a model's own errors: where the loss lands on its labels, whether closer crops show it more, and the paper's "
        "Figure 2; of several, whether a second teacher is worth it. Catalog name, run folder or checkpoint; repeat for several.",
        "Model",
        flags="--model",
        metavar="MODEL",
        default_text="none",
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
    patches: int = option(
        4,
        "With --model: patches of each image that are predicted alone, too; 0: skip that question.",
        "Evaluation",
        metavar="N",
        range=(0, 64),
    )
    seed: int = option(
        0, "Random seed of the corruptions and patches.", "Evaluation", metavar="N", range=(0, 2**63 - 1)
    )
    out: Path = out_option(Path("analyze-out"), "Output folder.")
    command: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked before anything is opened."""
        check_choices(self)
        if min(self.images, self.draws) < 1 or self.seed < 0:
            raise UsageProblem("--images and --draws must be at least 1, --seed at least 0.")
        if not 0 <= self.patches <= 64:
            raise UsageProblem("--patches must be 0 to 64.")
        if not self.models and (self.arch is not None or self.resolution is not None):
            raise UsageProblem("--arch and --resolution need a model.", "Add --model.")
        if self.arch is not None and len(self.models) > 1:
            raise UsageProblem("--arch is for a single checkpoint file.", "Combine it with exactly one --model.")
        for word in self.models:
            if self.models.count(word) > 1:
                raise UsageProblem(f"--model {word} is given {self.models.count(word)} times.", "Name each model once.")
