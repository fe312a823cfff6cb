"""Parts: one teacher's labels of one shard, in a file that is whole or absent, until all teachers have theirs."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator

from ccd_cli.config.common import Fraction, Section
from ccd_cli.core.concurrency import BackgroundWork, prefetch
from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import disk_error
from ccd_cli.core.parse import parse_json
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.data.crops import Region
from ccd_cli.data.source import Source
from ccd_cli.geometry.kinds import Kind
from ccd_cli.label.labelers import Labeler
from ccd_cli.label.plan import ImageFacts, Plan, Unreadable, Views, key_of
from ccd_cli.label.threads import ImageThreads
from ccd_cli.labels.format import (
    Box,
    Filled,
    FloatMap,
    Natural,
    Sha256,
    decode_label,
    encode_label,
    encoding_of,
    label_name,
)
from ccd_cli.labels.shards import write_tar
from ccd_cli.losses.disparity import to_disparity
from ccd_cli.losses.masks import flat_maps, saturated_mask

_FACTS = "part.json"
_DAMAGED = "Remove it and run again."
EncodedLabels = tuple[list[bytes], list[dict[str, Any]]]
"""The PNGs of one image's crops, and for each crop: scale, offset, valid, saturated, flat, and of filled ground truth `fill`."""


@dataclass(frozen=True)
class Part:
    """One teacher's labels of one shard: the images that were read, the unreadable ones, and facts of each label.

    `teacher` says who made it (name, kind, license, hash of the weights): a part of other weights is never used.
    `crops` holds, for each image, one dict of scale, offset, valid, saturated and flat for each crop, of filled ground truth with
    `fill`; `pngs_sha256` is the hash of all PNGs, one after another.
    """

    kind: Kind
    images: list[ImageFacts]
    unreadable: list[Unreadable]
    crops: list[list[dict[str, Any]]]
    teacher: dict[str, Any]
    path: Path
    pngs_sha256: str

    def pngs(self) -> Iterator[list[bytes]]:
        """Yield the PNGs of each image, in order; raises CcdError where they are not those that were written."""
        digest = hashlib.sha256()
        try:
            with tarfile.open(self.path, "r:") as tar:
                tar.next()  # the facts
                for crops in self.crops:
                    found = [_content(tar, tar.next()) for _ in crops]
                    for png in found:
                        digest.update(png)
                    yield found
        except (OSError, tarfile.TarError, ValueError) as error:
            raise CcdError(f"{self.path} is damaged ({type(error).__name__}).", _DAMAGED) from error
        if digest.hexdigest() != self.pngs_sha256:
            raise CcdError(f"{self.path} is damaged: its hash differs.", _DAMAGED)

    def decoded(self, image: int, pngs: list[bytes], size: int) -> FloatMap:
        """Return the labels of one image, float32 [V, size, size], NaN where invalid."""
        encoding = encoding_of(self.kind)
        maps = [
            decode_label(png, crop["scale"], crop["offset"], size, str(self.path), encoding)[0]
            for crop, png in zip(self.crops[image], pngs, strict=True)
        ]
        return np.stack(maps)


class _CropFacts(Section):
    scale: float
    offset: float
    valid: Fraction
    saturated: Fraction
    flat: bool
    fill: Filled | None = None


class TeacherFacts(Section):
    """What a part, and the state of a folder, say of a teacher."""

    teacher: str
    kind: Kind
    license: str
    checkpoint_sha256: str


class _Seen(Section):
    position: Natural
    path: str
    sha256: Sha256
    bytes: Natural
    height: Natural
    width: Natural
    boxes: list[Box]


class _Bad(Section):
    position: Natural
    path: str
    reason: str


class _Facts(Section):
    """What the first member of a part says."""

    kind: Kind
    teacher: TeacherFacts
    seen: list[_Seen]
    bad: list[_Bad]
    crops: list[list[_CropFacts]]
    pngs: Sha256

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if [len(crops) for crops in self.crops] != [len(image.boxes) for image in self.seen]:
            raise ValueError("not as many labels as boxes")
        return self


def write_part(
    path: Path,
    plan: Plan,
    shard: int,
    images: Source,
    teacher: Labeler,
    threads: ImageThreads,
    progress: Callable[[int], None],
) -> None:
    """Label the images of a shard with one teacher and write the part to `path`.

    The crops of the shard follow each other in order, image by image, and are cut into batches from its beginning: which
    crops share a forward pass depends on nothing else. `progress(images read so far)` is called after each forward pass
    and may raise to stop; nothing is left then.
    """
    torch.manual_seed(step_seed(plan.seed, Draw.TEACHER_NOISE, shard))  # for a teacher that draws without a seed
    read_images: list[ImageFacts] = []
    unreadable: list[Unreadable] = []
    crop_facts_read: list[list[dict[str, Any]]] = []
    sizes: list[list[int]] = []
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent) as spool:  # a shard of PNGs does not fit in memory

        def keep(labels: EncodedLabels) -> None:
            pngs, facts = labels
            for png in pngs:
                digest.update(png)
            try:
                spool.writelines(pngs)
            except OSError as error:
                raise disk_error(error, path) from error
            sizes.append([len(png) for png in pngs])
            crop_facts_read.append(facts)

        encoding = BackgroundWork(threads, threads.ahead, lambda labels: keep(cast(EncodedLabels, labels)))
        crops: list[NDArray[np.uint8]] = []
        truth: list[FloatMap] = []
        maps: list[tuple[FloatMap, Filled | None]] = []

        def predict(count: int) -> None:
            maps.extend(zip(*teacher.label(crops[:count], truth[:count]), strict=True))
            del crops[:count], truth[:count]
            while len(maps) >= plan.crops_per_image:
                encoding.add(_encode, maps[: plan.crops_per_image], teacher.kind)
                del maps[: plan.crops_per_image]
            progress(len(read_images))

        def read(item: tuple[int, int]) -> Views | Unreadable:
            position, index = item
            return plan.views(position, images, index, teacher.wants_truth)

        items = zip(plan.positions(shard), range(images.files), strict=True)
        for _, future in prefetch(threads, read, items, threads.ahead):
            result = future.result()
            if isinstance(result, Unreadable):
                unreadable.append(result)
                continue
            read_images.append(result.facts)
            crops.extend(result.crops)
            truth.extend(() if result.truth is None else result.truth)
            while len(crops) >= teacher.batch:
                predict(teacher.batch)
        if crops:
            predict(len(crops))
        encoding.finish()
        facts = {
            "kind": teacher.kind,
            "teacher": teacher.facts,
            "seen": [{**vars(image), "path": image.path.as_posix()} for image in read_images],
            "bad": [{**vars(image), "path": image.path.as_posix()} for image in unreadable],
            "crops": crop_facts_read,
            "pngs": digest.hexdigest(),
        }
        write_tar(path, _members(facts, read_images, sizes, spool))


def _members(
    facts: dict[str, Any], images: Sequence[ImageFacts], sizes: Sequence[Sequence[int]], pngs: BinaryIO
) -> Iterator[tuple[str, bytes]]:
    """Yield the members of a part: the facts, then each image's PNGs, which follow each other in a file."""
    content = json.dumps(facts)
    yield _FACTS, json.dumps({"sha256": hashlib.sha256(content.encode()).hexdigest(), "facts": content}).encode()
    pngs.seek(0)
    for image, lengths in zip(images, sizes, strict=True):
        for crop, length in enumerate(lengths):
            yield label_name(key_of(image.position), 0, crop), pngs.read(length)


def read_part(path: Path) -> Part:
    """Return a part without its PNGs; raises CcdError for a damaged one."""
    try:
        with tarfile.open(path, "r:") as tar:
            checked = parse_json(_content(tar, tar.next()))
        if hashlib.sha256(checked["facts"].encode()).hexdigest() != checked["sha256"]:
            raise ValueError("its hash differs")
        facts = _Facts.model_validate_json(checked["facts"])
        images = [
            ImageFacts(**{**vars(image), "path": Path(image.path), "boxes": [Region(*box) for box in image.boxes]})
            for image in facts.seen
        ]
        unreadable = [Unreadable(image.position, Path(image.path), image.reason) for image in facts.bad]
        crops = [[crop.model_dump(exclude_none=True) for crop in each] for each in facts.crops]
        return Part(facts.kind, images, unreadable, crops, facts.teacher.model_dump(), path, facts.pngs)
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CcdError(f"{path} is damaged ({type(error).__name__}).", _DAMAGED) from error


def crop_facts(values: FloatMap, kind: Kind) -> dict[str, Any]:
    """Return the fractions of valid and of saturated pixels and whether there is no relief, for a label float32 [S, S].

    Depth is judged as disparity, which students learn; affine-invariant depth, which has no disparity by itself, as it is,
    and its ends, which a fit makes finite depths, as those of a range.
    """
    label = torch.from_numpy(values)[None]
    if kind == "affine-depth":
        valid = torch.isfinite(label)
        label = torch.where(valid, label, 0.0)
        near = 1.0 + label.amax() - label
    else:
        label, valid = to_disparity(label, kind)
        near = label
    count = int(valid.sum())
    saturated = count - int(saturated_mask(near, valid, far_limit=kind != "disparity").sum())
    return {
        "valid": round(float(valid.float().mean()), 6),
        "saturated": round(saturated / count, 6) if count else 0.0,
        "flat": bool(flat_maps(label, valid)[0]),
    }


def _encode(maps: list[tuple[FloatMap, Filled | None]], kind: Kind) -> EncodedLabels:
    """Return the PNGs and facts of one image's labels."""
    pngs, facts = [], []
    for values, fill in maps:
        png, scale, offset = encode_label(values, kind)
        pngs.append(png)
        about = {} if fill is None else {"fill": fill.model_dump()}
        facts.append({"scale": scale, "offset": offset, **crop_facts(values, kind), **about})
    return pngs, facts


def _content(tar: tarfile.TarFile, head: tarfile.TarInfo | None) -> bytes:
    file = tar.extractfile(head) if head is not None else None
    if file is None:
        raise tarfile.ReadError("a member is missing")
    return file.read()
