"""The published and the built-in teachers, one row each: a new teacher is a row here and, for a new family, an adapter."""

from __future__ import annotations

from ccd_cli.teachers.card import Card
from ccd_cli.teachers.catalog import builtin, depth_anything, diffusion, midas, moge

CARDS: dict[str, Card] = {c.name: c for c in (*depth_anything.rows(), *moge.rows(), *midas.rows(), *diffusion.rows())}
BUILTINS: dict[str, Card] = {c.name: c for c in builtin.rows()}
