"""Parts of all teachers become shards, and the index names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import ccd_cli
from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import atomic_write
from ccd_cli.geometry.kinds import DIRECTION, UNIT
from ccd_cli.label.parts import Part
from ccd_cli.label.plan import Seen, key_of
from ccd_cli.label.setup import LabelJob
from ccd_cli.labels.format import (
    FORMAT,
    Crop,
    Index,
    PhotoFacts,
    Quality,
    ShardFacts,
    Sidecar,
    TeacherLabels,
    label_name,
    to_json,
)
from ccd_cli.labels.shards import sha256_of, write_tar
from ccd_cli.teachers.licenses import strictest

CHANGED = "Restore it, or start anew with --overwrite."


def same_photos(parts: Sequence[Part]) -> None:
    """Raise CcdError where the teachers did not see the same files: one has changed while labels were made."""
    first = [(one.position, one.sha256) for one in parts[0].seen]
    for part in parts[1:]:
        seen = [(one.position, one.sha256) for one in part.seen]
        if seen != first:
            odd = sorted({position for position, _ in {*seen} ^ {*first}})
            paths = {one.position: one.path for one in (*parts[0].seen, *part.seen)}
            raise CcdError(f"{paths[odd[0]]} has changed since labeling began.", CHANGED)


def write_shard(job: LabelJob, number: int, parts: Sequence[Part], lines: dict[str, dict[str, Any]]) -> None:
    """Write one shard from the parts of all teachers, without the photos that `lines` (quality by key) drop."""
    same_photos(parts)
    for one in parts[0].seen:
        if lines.get(key_of(one.position), {}).get("sha256") != one.sha256:
            raise CcdError(f"{one.path} has changed since labeling began.", CHANGED)
    write_tar(job.folder.shard(number), _members(job, parts, lines))


def write_index(job: LabelJob, lines: dict[str, dict[str, Any]], skipped: int) -> Index:
    """Write `index.json` over the shards that are there and return it."""
    plan = job.plan
    kept = [0] * plan.shards
    for key, line in lines.items():
        kept[int(key) // plan.portion] += line["dropped"] is None
    shards = []
    for number, samples in enumerate(kept):
        path = job.folder.shard(number)
        shards.append(ShardFacts(file=path.name, samples=samples, bytes=path.stat().st_size, sha256=sha256_of(path)))
    teachers = [_teacher(job, i) for i in range(len(job.recipe.teachers))]
    index = Index(
        format=FORMAT,
        name=job.recipe.name,
        size=plan.size,
        crops=plan.views,
        teachers=teachers,
        license=strictest(teacher["license"] for teacher in teachers),
        samples=sum(kept),
        dropped=len(lines) - sum(kept),
        skipped=skipped,
        shards=shards,
        recipe_sha256=job.recipe_sha256,
        ccd=ccd_cli.__version__,
    )
    with atomic_write(job.folder.index) as temporary:
        temporary.write_bytes(to_json(index))
    return index


def _members(job: LabelJob, parts: Sequence[Part], lines: dict[str, dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """Yield the members of a shard, sorted by name."""
    for i, pngs in enumerate(zip(*(part.pngs() for part in parts), strict=True)):
        seen = parts[0].seen[i]
        key = key_of(seen.position)
        if lines[key]["dropped"] is not None:
            continue
        members = {
            label_name(key, teacher, crop): png for teacher, made in enumerate(pngs) for crop, png in enumerate(made)
        }
        file = None
        if job.recipe.photos == "embed":
            file = f"{key}{seen.path.suffix.lower()}"
            members[file] = _photo(seen)
        members[f"{key}.json"] = to_json(_sidecar(job, parts, i, lines[key], file))
        yield from sorted(members.items())


def _photo(seen: Seen) -> bytes:
    """Return the photo's file as it is; raises CcdError where it is not the one that was labeled."""
    try:
        data = seen.path.read_bytes()
    except OSError as error:
        raise CcdError(f"{seen.path} is gone since labeling began ({error.strerror}).", CHANGED) from error
    if hashlib.sha256(data).hexdigest() != seen.sha256:
        raise CcdError(f"{seen.path} has changed since labeling began.", CHANGED)
    return data


def _sidecar(job: LabelJob, parts: Sequence[Part], i: int, line: dict[str, Any], file: str | None) -> Sidecar:
    seen = parts[0].seen[i]
    key = key_of(seen.position)
    labels = [
        TeacherLabels(
            **_teacher(job, t),
            crops=[
                Crop(file=label_name(key, t, c), box=(box.top, box.left, box.side), **facts)
                for c, (box, facts) in enumerate(zip(seen.boxes, part.crops[i], strict=True))
            ],
        )
        for t, part in enumerate(parts)
    ]
    return Sidecar(
        format=FORMAT,
        key=key,
        position=seen.position,
        epoch=job.plan.epoch(seen.position),
        size=job.plan.size,
        photo=PhotoFacts(
            path=seen.path.as_posix(),
            sha256=seen.sha256,
            bytes=seen.bytes,
            height=seen.height,
            width=seen.width,
            file=file,
        ),
        labels=labels,
        quality=Quality(disagreement=line["disagreement"], agreement=line["agreement"]),
        recipe_sha256=job.recipe_sha256,
        ccd=ccd_cli.__version__,
    )


def _teacher(job: LabelJob, index: int) -> dict[str, Any]:
    """Return what sidecars and index say of a teacher."""
    facts, entry = job.state["teachers"][str(index)], job.recipe.teachers[index]
    return {
        "teacher": facts["teacher"],
        "kind": facts["kind"],
        "direction": DIRECTION[facts["kind"]],
        "unit": UNIT[facts["kind"]],
        "checkpoint_sha256": facts["checkpoint_sha256"],
        "license": facts["license"],
        "resolution": entry.resolution,
        "precision": job.precisions[index],
        "batch": entry.batch,
    }
