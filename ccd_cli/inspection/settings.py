"""What `ccd inspect` is asked for; each option typed once (see `ccd_cli.core.options`)."""

from dataclasses import dataclass
from pathlib import Path

from ccd_cli.core.options import option
from ccd_cli.core.settings import out_option


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the page goes, how much it shows, and whether a browser opens it."""

    out: Path | None = out_option(
        None, "Folder for the page and its images.", default_text="DIR; of several runs, inspect-out"
    )
    rows: int = option(8, "Images on the contact sheet, evenly spaced.", "Output", metavar="N", range=(1, 100))
    open_page: bool = option(False, "Open the page in the browser.", "Output", flags="--open")
