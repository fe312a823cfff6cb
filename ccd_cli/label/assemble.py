"""Shards from the parts of all teachers, and the index that names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ccd_cli
from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import atomic_write, write_text
from ccd_cli.geometry.kinds import DIRECTION, UNIT
from ccd_cli.label.job import LabelJob
from ccd_cli.label.parts import Part
from ccd_cli.label.plan import ImageFacts, key_of
from ccd_cli.label.quality import Line, fill_of
from ccd_cli.labels.format import (
    FORMAT,
    Crop,
    Index,
    PhotoFacts,
    Quality,
    ShardFacts,
    Sidecar,
    TeacherLabels,
    encoding_of,
    label_name,
    to_json,
)
from ccd_cli.labels.shards import sha256_of, write_tar
from ccd_cli.teachers.adapters.exported import precision_of
from ccd_cli.teachers.licenses import strictest

_RESTORE = "Restore it, or start over with --overwrite."


def check_same_images(parts: Sequence[Part]) -> None:
    """Raise CcdError where the teachers did not label the same files: one has changed between them."""
    first = [(image.position, image.sha256) for image in parts[0].images]
    for part in parts[1:]:
        other = [(image.position, image.sha256) for image in part.images]
        if other != first:
            position = min(position for position, _ in {*other} ^ {*first})
            paths = {image.position: image.path for image in (*parts[0].images, *part.images)}
            raise CcdError(f"{paths[position]} has changed since labeling began.", _RESTORE)


def write_shard(job: LabelJob, shard: int, parts: Sequence[Part], lines: dict[str, Line]) -> None:
    """Write one shard from the parts of all teachers, without the images that `lines` (of quality, by key) drop."""
    check_same_images(parts)
    for image in parts[0].images:
        if lines.get(key_of(image.position), {}).get("sha256") != image.sha256:
            raise CcdError(f"{image.path} has changed since labeling began.", _RESTORE)
    path, samples = job.folder.shard(shard), sum(line["dropped"] is None for line in lines.values())

    def record(written: Path) -> None:
        size, sha256 = written.stat().st_size, sha256_of(written)
        facts = ShardFacts(file=path.name, samples=samples, bytes=size, sha256=sha256)
        write_text(job.folder.written(shard), to_json(facts).decode())

    write_tar(path, _members(job, parts, lines), record)


def write_index(job: LabelJob, lines: dict[str, Line], skipped: int) -> Index:
    """Write `index.json` over the shards as they were written and return it; `skipped` images could not be read."""
    plan = job.plan
    shards = [
        ShardFacts.model_validate_json(job.folder.written(shard).read_bytes()) for shard in range(job.plan.shards)
    ]
    retained = [line for line in lines.values() if line["dropped"] is None]
    if sum(shard.samples for shard in shards) != len(retained):
        raise CcdError(f"{job.folder.quality} has lost lines.", _RESTORE)
    teachers = [_teacher_facts(job, i) | fill_of(retained, i) for i in range(len(job.recipe.teachers))]
    index = Index(
        format=FORMAT,
        name=job.recipe.name,
        size=plan.size,
        crops=plan.crops_per_image,
        teachers=teachers,
        license=strictest(teacher["license"] for teacher in teachers),
        samples=len(retained),
        images=len({line["photo"] for line in retained}),
        dropped=len(lines) - len(retained),
        skipped=skipped,
        shards=shards,
        recipe_sha256=job.recipe_sha256,
        ccd=ccd_cli.__version__,
        quality_sha256=sha256_of(job.folder.quality),
    ).checked()
    with atomic_write(job.folder.index) as temporary:
        temporary.write_bytes(to_json(index))
    return index


def _members(job: LabelJob, parts: Sequence[Part], lines: dict[str, Line]) -> Iterator[tuple[str, bytes]]:
    """Yield the members of a shard, sorted by name."""
    for i, pngs in enumerate(zip(*(part.pngs() for part in parts), strict=True)):
        image = parts[0].images[i]
        key = key_of(image.position)
        if lines[key]["dropped"] is not None:
            continue
        members = {
            label_name(key, teacher, crop): png
            for teacher, labels in enumerate(pngs)
            for crop, png in enumerate(labels)
        }
        file = None
        if job.recipe.photos == "embed":
            file = f"{key}{image.path.suffix.lower()}"
            members[file] = _image_bytes(image)
        members[f"{key}.json"] = to_json(_sidecar(job, parts, i, lines[key], file))
        yield from sorted(members.items())


def _image_bytes(image: ImageFacts) -> bytes:
    """Return the image's file as it is; raises CcdError where it is not the one that was labeled."""
    try:
        data = image.path.read_bytes()
    except OSError as error:
        raise CcdError(f"{image.path} was removed since labeling began ({error.strerror}).", _RESTORE) from error
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise CcdError(f"{image.path} has changed since labeling began.", _RESTORE)
    return data


def _sidecar(job: LabelJob, parts: Sequence[Part], i: int, line: Line, file: str | None) -> Sidecar:
    """Return the sidecar of the i-th image of a shard, whose own bytes are member `file` (None: not embedded)."""
    image = parts[0].images[i]
    key = key_of(image.position)
    labels = [
        TeacherLabels(
            **_teacher_facts(job, t),
            crops=[
                Crop(file=label_name(key, t, c), box=(box.top, box.left, box.side), **facts)
                for c, (box, facts) in enumerate(zip(image.boxes, part.crops[i], strict=True))
            ],
        )
        for t, part in enumerate(parts)
    ]
    return Sidecar(
        format=FORMAT,
        key=key,
        position=image.position,
        epoch=job.plan.epoch(image.position),
        size=job.plan.size,
        photo=PhotoFacts(
            path=image.path.as_posix(),
            sha256=image.sha256,
            bytes=image.bytes,
            height=image.height,
            width=image.width,
            file=file,
        ),
        labels=labels,
        quality=Quality(disagreement=line["disagreement"], agreement=line["agreement"]),
        recipe_sha256=job.recipe_sha256,
        ccd=ccd_cli.__version__,
    )


def _teacher_facts(job: LabelJob, teacher: int) -> dict[str, Any]:
    """Return what sidecars and index record of a teacher."""
    facts, entry = job.state["teachers"].get(str(teacher)), job.recipe.teachers[teacher]
    if facts is None:  # recorded before its first part is there
        raise CcdError(f"{job.folder.state} is damaged.", "Start over with --overwrite.")
    runtime, precision = job.runtimes[teacher], job.precisions[teacher]
    keys, reference = entry.network, job.references[teacher]
    if reference is not None and reference.exported is not None:
        precision = precision_of(reference.exported, precision)
    return {
        "teacher": facts["teacher"],
        "kind": facts["kind"],
        "direction": DIRECTION[facts["kind"]],
        "unit": UNIT[facts["kind"]],
        "checkpoint_sha256": facts["checkpoint_sha256"],
        "license": facts["license"],
        "resolution": None if keys is None else keys.resolution,
        "precision": precision + (f" ({runtime})" if runtime != "torch" else ""),
        "batch": entry.batch,
        "encoding": encoding_of(facts["kind"]),
        **({} if entry.fill is None or reference is None else {"fill": reference.name}),
    }
