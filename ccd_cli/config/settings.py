"""What `ccd distill` and `ccd label` are asked for beside their recipes; each option typed once."""

from dataclasses import dataclass

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.options import option
from ccd_cli.core.settings import (
    DeviceSettings,
    EngineSettings,
    RuntimeSettings,
    ShardSettings,
    out_option,
    overwrite_option,
)
from ccd_cli.core.shard import refuse_overwrite


@dataclass(frozen=True, kw_only=True)
class DistillSettings(DeviceSettings):
    """Where a run goes, and whether it resumes the one that is there."""

    out: str | None = out_option(
        None, "Run folder.", default_text="runs/<recipe name>, beside a finished run with -2, -3, ..."
    )
    resume: bool = option(False, "Resume the run in the folder from its last checkpoint.", "Output")
    overwrite: bool = overwrite_option("Delete the run in the folder and start over.")


@dataclass(frozen=True, kw_only=True)
class RehearsalSettings:
    """What is done of a run instead of it. Raises UsageProblem for both at once."""

    dry_run: bool = option(
        False, "Print the resolved recipe, check and load everything, print what a step costs, write nothing.", "Other"
    )
    profile: int | None = option(
        None,
        "Time N steps and print where their time goes; write nothing.",
        "Other",
        metavar="N",
        range=(1, 100_000),
    )

    def __post_init__(self) -> None:
        """Check that one is asked for at most."""
        if self.dry_run and self.profile is not None:
            raise UsageProblem("--dry-run and --profile contradict each other.", "Give one of them.")

    @property
    def wanted(self) -> bool:
        """Whether one of them is asked for."""
        return self.dry_run or self.profile is not None


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """As how many processes a run trains."""

    processes: int = option(
        1,
        "Number of processes on this machine that share each batch: one per GPU. Several machines: torchrun (docs/scale.md).",
        "Runtime",
        metavar="N",
        range=(1, 64),
    )


@dataclass(frozen=True, kw_only=True)
class LabelSettings(EngineSettings, ShardSettings, RuntimeSettings, DeviceSettings):
    """Where labels go and what runs the teachers. Raises UsageProblem for contradictions."""

    out: str | None = out_option(None, "Folder of the labels.", default_text="labels/<recipe name>")
    overwrite: bool = overwrite_option("Delete the labels in the folder and start over.")
    verify: bool = option(
        False, "Compare every existing shard's hash, also where that takes long (above 4 GB).", "Output"
    )
    threads: int | None = option(
        None, "Number of CPU threads.", "Runtime", metavar="N", range=(1, 1024), default_text="the recipe's `threads`"
    )

    def __post_init__(self) -> None:
        """Check what a shard cannot be combined with."""
        super().__post_init__()
        refuse_overwrite(self.shard, self.overwrite)
        self.refuse_shard(self.shard)
