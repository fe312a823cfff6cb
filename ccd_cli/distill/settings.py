"""What `ccd distill` is asked for beside its recipe; each option typed once (see `ccd_cli.core.options`)."""

from dataclasses import dataclass

from ccd_cli.core.options import option
from ccd_cli.core.settings import RuntimeSettings, out_option, overwrite_option


@dataclass(frozen=True, kw_only=True)
class Settings(RuntimeSettings):
    """Where a run goes, and whether it resumes the one that is there."""

    out: str | None = out_option(None, "Run folder.", default_text="runs/<recipe name>")
    resume: bool = option(False, "Resume the run in the folder from its last checkpoint.", "Output")
    overwrite: bool = overwrite_option("Delete the run in the folder and start over.")
