"""The lines of `metrics.jsonl` as a run's state carries them, so that a damaged file is written again."""

from __future__ import annotations

import zlib
from pathlib import Path

import torch
from torch import Tensor

from ccd_cli.core.files import atomic_write


class StepLines:
    """Every line so far, compressed as it comes: about a tenth of the file's size in memory and in a saved state."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj()
        self._packed = bytearray()
        self.size = 0
        """Bytes of all lines."""

    def add(self, line: str) -> None:
        """Add one line, with its end."""
        content = line.encode()
        self._packed += self._stream.compress(content)
        self.size += len(content)

    def content(self) -> bytes:
        """Return all lines, byte for byte as they were added."""
        return zlib.decompressobj().decompress(self._flushed())

    def state_dict(self) -> Tensor:
        """Return the compressed lines, uint8 [N]."""
        return torch.frombuffer(bytearray(self._flushed()), dtype=torch.uint8)

    def load_state_dict(self, packed: Tensor) -> None:
        """Take up what `state_dict` returned."""
        self._stream, self._packed, self.size = zlib.compressobj(), bytearray(), 0
        self.add(zlib.decompressobj().decompress(packed.numpy().tobytes()).decode())

    def _flushed(self) -> bytearray:
        self._packed += self._stream.flush(zlib.Z_SYNC_FLUSH)
        return self._packed

    def restore(self, path: Path) -> bool:
        """Make the file hold exactly these lines; return whether some of them were missing or changed in it."""
        content = self.content()
        there = path.read_bytes() if path.exists() else None
        if there != content:
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
        return not (there or b"").startswith(content)
