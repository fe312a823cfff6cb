"""What `ccd data prepare` is asked for; each option typed once (see `ccd_cli.core.options`)."""

from dataclasses import dataclass
from pathlib import Path

from ccd_cli.core.options import REQUIRED, option
from ccd_cli.core.settings import data_root_option


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where archives are, which samples are taken, and where the dataset goes."""

    source: Path = option(
        REQUIRED,
        "Folder of the downloaded archives (zip, tar, tar.gz, .mat) or of their extracted content.",
        "Input",
        flags="--from",
        metavar="DIR",
    )
    list_file: Path | None = option(
        None,
        "Split file in Marigold's format; required for the published splits of KITTI and ScanNet.",
        "Input",
        flags="--list",
        metavar="FILE",
        path="existing file",
    )
    data_root: Path = data_root_option()
