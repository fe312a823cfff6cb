"""One image and its labels, as they come out of a shard."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import ImageError
from ccd_cli.labels.format import FloatMap, Sidecar, decode_image, decode_label

_RESTORE = "Restore it, or label the images again."


@dataclass(frozen=True)
class LabelSample:
    """One image and its labels. PNGs are decoded when asked for."""

    key: str
    facts: Sidecar
    members: dict[str, bytes] = field(repr=False)

    def photo(self) -> NDArray[np.uint8]:
        """Return the upright image, uint8 RGB [H, W, 3]; one stored by path is read from there and its hash compared.

        Raises ImageError where it was removed, has changed or is damaged.
        """
        about = self.facts.photo
        if about.file is not None:
            return decode_image(self.members[about.file], f"{self.key} ({about.path})")
        path = Path(about.path)
        try:
            data = path.read_bytes() if path.stat().st_size == about.bytes else b""
        except OSError as error:
            raise ImageError(f"{path}: removed since it was labeled ({error.strerror})", _RESTORE) from error
        if hashlib.sha256(data).hexdigest() != about.sha256:
            raise ImageError(f"{path}: changed since it was labeled", _RESTORE)
        return decode_image(data, about.path)

    def label(self, teacher: int, crop: int) -> tuple[FloatMap, NDArray[np.bool_]]:
        """Return (values float32 [S, S], NaN where invalid and infinite for sky; valid bool [S, S]); crop 0: the shared region."""
        labels = self.facts.labels[teacher]
        about = labels.crops[crop]
        return decode_label(
            self.members[about.file], about.scale, about.offset, self.facts.size, about.file, labels.encoding
        )
