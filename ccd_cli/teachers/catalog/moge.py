"""MoGe 1 and 2, through the package `dlr-moge`."""

from __future__ import annotations

from typing import Any

from ccd_cli.teachers.card import Card

_LICENSE_NOTE = "The code is MIT; a stored hub page of MoGe-1 says Apache-2.0: both allow commercial use."
# name, repository, parameters, bytes; of the second generation the sizes are four bytes a parameter, not read anywhere
_SECOND = (
    ("moge-2-large", "Ruicheng/moge-2-vitl", 326_000_000, 1_304_000_000),
    ("moge-2-large-normal", "Ruicheng/moge-2-vitl-normal", 331_000_000, 1_324_000_000),
    ("moge-2-base-normal", "Ruicheng/moge-2-vitb-normal", 104_000_000, 416_000_000),
    ("moge-2-small-normal", "Ruicheng/moge-2-vits-normal", 35_000_000, 140_000_000),
)


def rows() -> list[Card]:
    """Return the cards of this family."""
    first = _moge(
        "moge-1-large",
        "Ruicheng/moge-vitl",
        314_000_000,
        1_260_000_000,
        kind="depth",
        paper="https://arxiv.org/abs/2410.19115",
        options={"version": 1},
        note=_LICENSE_NOTE,
    )
    return [
        first,
        *(
            _moge(
                *row,
                kind="metric",
                paper="https://arxiv.org/abs/2507.02546",
                options={"version": 2},
                note="Also gives a mask and the camera" + (", and normals." if "normal" in row[0] else "."),
            )
            for row in _SECOND
        ),
    ]


def _moge(name: str, repo: str, parameters: int, size: int, **fields: Any) -> Card:
    return Card(
        name=name,
        family="moge",
        arch=None,
        adapter="moge",
        repo=repo,
        file="model.pt",
        size_bytes=size,
        parameters=parameters,
        license="MIT",
        license_url="https://github.com/microsoft/MoGe",
        commercial=True,
        normalization="RGB 0..1; the network applies its own statistics",
        multiple=14,
        resolution=None,
        resolution_rule=None,
        requires="moge",
        **fields,
    )
