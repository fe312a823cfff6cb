"""Shards of made labels, for tests of the codec and the reader."""

import hashlib
import io

import numpy as np
from PIL import Image

from ccd_cli.geometry.kinds import DIRECTION, UNIT
from ccd_cli.labels.format import (
    FORMAT,
    Crop,
    Index,
    PhotoFacts,
    Quality,
    ShardFacts,
    Sidecar,
    TeacherLabels,
    encode_label,
    encoding_of,
    label_name,
    to_json,
)
from ccd_cli.labels.shards import sha256_of
from ccd_cli.media.map_write import encode16

SIZE, COUNTS = 12, (4, 0, 5, 3)
HASH = "0" * 64


def photo_bytes(number):
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def sample(number, path=None, form=FORMAT):
    """Members of one sample: the photo (or its path), two teachers' labels of two crops, the sidecar; of a format version."""
    key, rng = f"{number:09d}", np.random.default_rng(number)
    data = photo_bytes(number)
    members, labels = {}, []
    for t, kind in enumerate(("disparity", "metric")):
        crops = []
        for c in range(2):
            values = rng.uniform(1, 5, (SIZE, SIZE)).astype(np.float32)
            png, scale, offset = encode_label(values, kind) if form == FORMAT else old_label(values, kind)
            members[label_name(key, t, c)] = png
            box = (c, 2 * c, 10)
            crops.append(
                Crop(
                    file=label_name(key, t, c),
                    box=box,
                    scale=scale,
                    offset=offset,
                    valid=1.0,
                    saturated=0.0,
                    flat=False,
                )
            )
        labels.append(
            TeacherLabels(
                teacher=f"teacher {t}",
                kind=kind,
                direction=DIRECTION[kind],
                unit=UNIT[kind],
                checkpoint_sha256=HASH,
                license="MIT",
                resolution=None,
                precision="fp32",
                batch=1,
                encoding=encoding_of(kind) if form == FORMAT else "linear",
                crops=crops,
            )
        )
    file = None
    if path is None:
        file = f"{key}.png"
        members[file] = data
    facts = Sidecar(
        format=form,
        key=key,
        position=number,
        epoch=0,
        size=SIZE,
        photo=PhotoFacts(
            path=str(path or f"{number}.png"),
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            height=20,
            width=30,
            file=file,
        ),
        labels=labels,
        quality=Quality(disagreement=0.5, agreement=0.6),
        recipe_sha256=HASH,
        ccd="0",
    )
    members[f"{key}.json"] = to_json(facts)
    return members


def old_label(values, kind):
    """A label as version 1 wrote it: linear for every kind."""
    codes, scale, offset = encode16(values, None, kind)
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, format="PNG")
    return buffer.getvalue(), scale, offset


def index_for(folder, counts, names=None, form=FORMAT):
    """Write an index that fits the shards as they are now."""
    names = names or [f"shard-{i:06d}.tar" for i in range(len(counts))]
    shards = [
        ShardFacts(file=name, samples=count, bytes=(folder / name).stat().st_size, sha256=sha256_of(folder / name))
        for name, count in zip(names, counts, strict=True)
    ]
    index = Index(
        format=form,
        name="made",
        size=SIZE,
        crops=2,
        teachers=[
            {"teacher": "a", "kind": "disparity", "license": "MIT"},
            {"teacher": "b", "kind": "metric", "license": "MIT"},
        ],
        license="MIT",
        samples=sum(counts),
        images=sum(counts) if form == FORMAT else None,
        dropped=0,
        skipped=0,
        shards=shards,
        recipe_sha256=HASH,
        ccd="0",
    )
    (folder / "index.json").write_bytes(to_json(index.checked() if form == FORMAT else index))


def ordered(members):
    return sorted(members.items())
