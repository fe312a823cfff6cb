"""What a card says about a teacher. No torch here, so that listing the catalog costs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ccd_cli.geometry.kinds import DIRECTION, UNIT, Kind
from ccd_cli.models.arch import ResolutionRule
from ccd_cli.teachers.licenses import DISPUTED_MARK, CommercialUse, commercial_use

Adapter = Literal["native", "transformers", "diffusers", "moge", "builtin", "plugin"]
RepoType = Literal["model", "space"]

NAME = re.compile(r"(?!lock\.json$)[a-z0-9][a-z0-9._-]{0,79}")  # is also a folder's name, beside lock.json


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files of one repository on the hub that a teacher needs.

    Each entry of `files` is a path or pattern; `a|b` takes the first that is there. Every entry must find something.
    """

    repo: str
    files: tuple[str, ...]
    repo_type: RepoType = "model"

    @property
    def url(self) -> str:
        """Web page of the repository."""
        return f"https://huggingface.co/{'spaces/' if self.repo_type == 'space' else ''}{self.repo}"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known about one teacher."""

    name: str
    family: str
    arch: str | None  # architecture of models.arch, for native ones
    adapter: Adapter
    repo: str  # on the Hugging Face hub; "" = not from there
    repo_type: RepoType = "model"
    file: str  # the one file inside the repository; "" = several, see `files`
    files: tuple[str, ...] = ()  # what to take of a whole repository; relative paths are kept
    also: tuple[Source, ...] = ()  # further repositories whose files belong into the same folder
    path: Path | None = None  # the weights of a checkpoint of one's own, which nobody has to pull
    size_bytes: int | None  # of what is downloaded, approximate; None = not published
    parameters: int | None  # approximate
    license: str  # SPDX identifier, or LicenseRef-...
    license_url: str  # where the license is stated
    commercial: bool  # whether commercial use is surely allowed: False also where that is disputed or unknown
    disputed: str = ""  # why sources disagree about the license
    paper: str
    normalization: str
    multiple: int
    resolution: int | None  # default side for photos; None = the photo's own
    resolution_rule: ResolutionRule | None  # which side `resolution` bounds; None = both (a square) or none
    kind: Kind
    requires: str = ""  # extra that must be installed: pip install -e ".[...]"
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)  # what only its adapter understands
    note: str = ""

    @property
    def url(self) -> str:
        """Web page of the repository; "" for a teacher that is not on the hub."""
        return self.sources[0].url if self.repo else ""

    @property
    def sources(self) -> tuple[Source, ...]:
        """What to download from where; () for a teacher that is not on the hub."""
        if not self.repo:
            return ()
        files = (self.file,) if self.file else self.files
        return (Source(repo=self.repo, files=files, repo_type=self.repo_type), *self.also)

    @property
    def direction(self) -> str:
        """Which way its maps grow."""
        return DIRECTION[self.kind]

    @property
    def unit(self) -> str:
        """What its maps are measured in."""
        return UNIT[self.kind]

    @property
    def commercial_use(self) -> CommercialUse:
        """Whether commercial use is allowed, in the word of all tables: yes, no, disputed or unknown."""
        return "yes" if self.commercial else commercial_use(self.effective_license)

    @property
    def effective_license(self) -> str:
        """The license to write into what is made with this teacher: marked where it is disputed."""
        return f"{self.license} ({DISPUTED_MARK})" if self.disputed else self.license
