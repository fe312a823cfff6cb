"""What `ccd inspect` is asked for; each option typed once (see `ccd_cli.core.options`)."""

from dataclasses import dataclass
from pathlib import Path

from ccd_cli.core.options import option
from ccd_cli.core.settings import out_option


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the page goes and how much it shows."""

    out: Path | None = out_option(None, "Folder for contact.png and inspect.html.", default_text="DIR")
    rows: int = option(8, "Images on the contact sheet, evenly spaced.", "Output", metavar="N", range=(1, 100))
