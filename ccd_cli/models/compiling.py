"""What a failed torch.compile says in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ccd_cli.core.compute import memory_error
from ccd_cli.core.errors import CcdError, first_line


@contextmanager
def plain_compile_errors(hint: str) -> Iterator[None]:
    """Turn whatever a compiler raises inside the block into CcdError with `hint`; an exhausted memory stays what it is."""
    try:
        yield
    except Exception as error:
        if isinstance(error, CcdError) or memory_error(error) is not None:
            raise
        raise CcdError(f"The network cannot be compiled here: {first_line(error)}.", hint) from error
