"""One teacher labels one shard: a part file, whole or absent, that waits until all teachers have theirs."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from ccd_cli.core.concurrency import BackgroundWork, prefetch
from ccd_cli.core.errors import CcdError
from ccd_cli.core.seeding import step_seed
from ccd_cli.data.crops import Region
from ccd_cli.geometry.kinds import Kind
from ccd_cli.label.plan import Bad, Plan, Seen, key_of
from ccd_cli.labels.format import FloatMap, decode_label, encode_label, label_name
from ccd_cli.labels.shards import write_tar
from ccd_cli.losses.disparity import to_disparity
from ccd_cli.losses.masks import flat_maps, saturated_mask
from ccd_cli.teachers.base import Teacher

META = "part.json"


@dataclass(frozen=True)
class Part:
    """What one teacher made of one shard: `kind` of its maps, the photos seen, the bad ones, facts of each label.

    `teacher` says who made it (name, kind, license, hash of the weights): no part of other weights is ever taken up.
    `crops` holds, for each photo, one dict of scale, offset, valid, saturated and flat for each crop.
    """

    kind: Kind
    seen: list[Seen]
    bad: list[Bad]
    crops: list[list[dict[str, Any]]]
    teacher: dict[str, Any]
    path: Path

    def pngs(self) -> Iterator[list[bytes]]:
        """Yield the PNGs of each photo, in order."""
        with tarfile.open(self.path, "r:") as tar:
            tar.next()  # the facts
            for crops in self.crops:
                yield [_content(tar, tar.next()) for _ in crops]

    def decoded(self, photo: int, pngs: list[bytes], size: int) -> FloatMap:
        """Return the labels of one photo, float32 [V, size, size], NaN where invalid."""
        maps = [
            decode_label(png, crop["scale"], crop["offset"], size, str(self.path))[0]
            for crop, png in zip(self.crops[photo], pngs, strict=True)
        ]
        return np.stack(maps)


def label_shard(
    plan: Plan,
    shard: int,
    photos: Sequence[Path],
    teacher: Teacher,
    facts: dict[str, Any],
    device: torch.device,
    batch: int,
    path: Path,
    pool: Executor,
    workers: int,
    after_batch: Callable[[int], None],
) -> None:
    """Label the photos of a shard, `batch` crops a pass, and write the part, with the teacher's `facts`, to `path`.

    The crops of the shard follow each other in order, photo by photo, and are cut into batches from its beginning: what
    is computed together depends on nothing else. `after_batch(photos done)` may raise to stop; nothing is left then.
    """
    torch.manual_seed(step_seed(plan.seed, 8, shard))  # for a teacher that draws noise without a seed of its own
    seen: list[Seen] = []
    bad: list[Bad] = []
    made: list[tuple[list[bytes], list[dict[str, Any]]]] = []
    encoding = BackgroundWork(pool, 2 * workers, lambda result: made.append(cast(Any, result)))
    waiting: list[NDArray[np.uint8]] = []
    maps: list[FloatMap] = []

    def predict(count: int) -> None:
        pixels = torch.from_numpy(np.stack(waiting[:count])).permute(0, 3, 1, 2).to(device)
        del waiting[:count]
        maps.extend(teacher.predict(pixels.float().div_(255.0)).float().cpu().numpy())
        while len(maps) >= plan.views:
            encoding.add(_encode, maps[: plan.views], teacher.kind)
            del maps[: plan.views]
        after_batch(len(seen))

    def read(one: tuple[int, Path]) -> tuple[Seen, NDArray[np.uint8]] | Bad:
        return plan.read(*one)

    for _, future in prefetch(pool, read, zip(plan.positions(shard), photos, strict=True), 2 * workers):
        found = future.result()
        if isinstance(found, Bad):
            bad.append(found)
            continue
        seen.append(found[0])
        waiting.extend(found[1])
        while len(waiting) >= batch:
            predict(batch)
    if waiting:
        predict(len(waiting))
    encoding.finish()
    _write(path, teacher.kind, facts, seen, bad, made)


def read_part(path: Path) -> Part:
    """Return a part without its PNGs; raises CcdError for a damaged one."""
    try:
        with tarfile.open(path, "r:") as tar:
            facts = json.loads(_content(tar, tar.next()))
        seen = [
            Seen(**{**one, "path": Path(one["path"]), "boxes": [Region(*box) for box in one["boxes"]]})
            for one in facts["seen"]
        ]
        bad = [Bad(**{**one, "path": Path(one["path"])}) for one in facts["bad"]]
        return Part(facts["kind"], seen, bad, facts["crops"], facts["teacher"], path)
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise CcdError(f"{path} is damaged ({type(error).__name__}).", "Remove it and run again.") from error


def crop_facts(values: FloatMap, kind: Kind) -> dict[str, Any]:
    """Return the shares of valid and of saturated pixels and whether there is relief, for a label float32 [S, S].

    Depth is judged as disparity, which students learn; affine depth, which has none by itself, as it is.
    """
    label = torch.from_numpy(values)[None]
    known = torch.isfinite(label) & (label > 0) if kind == "metric" else torch.isfinite(label)
    share = float(known.float().mean())
    label, valid = (torch.where(known, label, 0.0), known) if kind == "affine-depth" else to_disparity(label, kind)
    valid = valid & known
    count = int(valid.sum())
    lost = count - int(saturated_mask(label, valid).sum())
    return {
        "valid": round(share, 6),
        "saturated": round(lost / count, 6) if count else 0.0,
        "flat": bool(flat_maps(label, valid)[0]),
    }


def _encode(maps: list[FloatMap], kind: Kind) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Return PNGs and facts of one photo's labels."""
    pngs, facts = [], []
    for values in maps:
        png, scale, offset = encode_label(values, kind)
        pngs.append(png)
        facts.append({"scale": scale, "offset": offset, **crop_facts(values, kind)})
    return pngs, facts


def _write(
    path: Path,
    kind: Kind,
    teacher: dict[str, Any],
    seen: list[Seen],
    bad: list[Bad],
    made: list[tuple[list[bytes], list[dict[str, Any]]]],
) -> None:
    facts = {
        "kind": kind,
        "teacher": teacher,
        "seen": [{**vars(one), "path": one.path.as_posix()} for one in seen],
        "bad": [{**vars(one), "path": one.path.as_posix()} for one in bad],
        "crops": [crops for _, crops in made],
    }
    members = [(META, json.dumps(facts).encode())]
    for one, (pngs, _) in zip(seen, made, strict=True):
        members += [(label_name(key_of(one.position), 0, crop), png) for crop, png in enumerate(pngs)]
    write_tar(path, members)


def _content(tar: tarfile.TarFile, head: tarfile.TarInfo | None) -> bytes:
    file = tar.extractfile(head) if head is not None else None
    if file is None:
        raise tarfile.ReadError("a member is missing")
    return file.read()
