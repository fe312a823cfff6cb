"""Labels as PNGs, shards as tars, and a reader that trusts neither."""

import hashlib
import io
import itertools
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.kinds import DIRECTION, UNIT
from ccd_cli.data.label_codec import (
    Crop,
    Index,
    PhotoFacts,
    Quality,
    ShardFacts,
    Sidecar,
    TeacherLabels,
    decode_label,
    decode_photo,
    encode_label,
    label_name,
    to_json,
)
from ccd_cli.data.photos import read_photo
from ccd_cli.data.shards import Place, ShardReader, epoch_order, sha256_of, write_tar

SIZE, COUNTS = 12, (4, 0, 5, 3)
HASH = "0" * 64


def photo_bytes(number):
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def sample(number, path=None):
    """Members of one sample: the photo (or its path), two teachers' labels of two crops, the sidecar."""
    key, rng = f"{number:09d}", np.random.default_rng(number)
    data = photo_bytes(number)
    members, labels = {}, []
    for t, kind in enumerate(("disparity", "metric")):
        crops = []
        for c in range(2):
            png, scale, offset = encode_label(rng.uniform(1, 5, (SIZE, SIZE)).astype(np.float32), kind)
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
                crops=crops,
            )
        )
    file = None
    if path is None:
        file = f"{key}.png"
        members[file] = data
    facts = Sidecar(
        format="ccd-labels/1",
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


def index_for(folder, counts, names=None):
    """Write an index that fits the shards as they are now."""
    names = names or [f"shard-{i:06d}.tar" for i in range(len(counts))]
    shards = [
        ShardFacts(file=name, samples=count, bytes=(folder / name).stat().st_size, sha256=sha256_of(folder / name))
        for name, count in zip(names, counts, strict=True)
    ]
    index = Index(
        format="ccd-labels/1",
        name="made",
        size=SIZE,
        crops=2,
        teachers=[{"teacher": "a"}, {"teacher": "b"}],
        license="MIT",
        samples=sum(counts),
        dropped=0,
        skipped=0,
        shards=shards,
        recipe_sha256=HASH,
        ccd="0",
    )
    (folder / "index.json").write_bytes(to_json(index))


def ordered(members):
    return sorted(members.items())


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Twelve samples in four shards, one of them empty."""
    folder, number = tmp_path_factory.mktemp("labels"), itertools.count()
    for i, count in enumerate(COUNTS):
        write_tar(folder / f"shard-{i:06d}.tar", [item for _ in range(count) for item in ordered(sample(next(number)))])
    index_for(folder, COUNTS)
    return folder


@pytest.mark.parametrize("kind", ["disparity", "depth", "affine-depth", "metric"])
@pytest.mark.parametrize(("low", "high"), [(0.1, 9.0), (1e-4, 2e-4), (3.0, 400.0)])
def test_the_error_is_at_most_half_a_step_and_invalid_stays_invalid(kind, low, high):
    values = np.random.default_rng(1).uniform(low, high, (31, 31)).astype(np.float32)
    values[:3] = np.nan
    values[3, 0] = np.inf
    png, scale, offset = encode_label(values, kind)
    decoded, valid = decode_label(png, scale, offset, 31, "x")
    assert (valid == np.isfinite(values)).all()
    assert np.isnan(decoded[~valid]).all()
    error = np.abs(decoded[valid].astype(np.float64) - values[valid])
    bound = scale / 2 if kind != "metric" or low > scale / 2 else scale  # under half a millimetre becomes one
    assert error.max() <= bound + np.spacing(np.float32(high))
    assert offset == 0 if kind == "metric" else scale == pytest.approx((high - low) / 65534, rel=0.05)
    if kind == "metric":
        assert scale == pytest.approx(0.001 * np.ceil(high / 65.536))


def test_constant_and_empty_labels():
    constant, valid = decode_label(*encode_label(np.full((4, 4), 2.5, np.float32), "disparity"), 4, "x")
    assert (constant == 2.5).all()
    assert valid.all()
    assert not decode_label(*encode_label(np.full((4, 4), np.nan, np.float32), "depth"), 4, "x")[1].any()


def test_bytes_are_the_same_every_time_and_headers_tell_nothing(tmp_path, labels):
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, ordered(sample(3)))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(labels / "shard-000000.tar") as tar:
        heads = tar.getmembers()
    assert [head.name for head in heads] == sorted(head.name for head in heads)
    assert {(head.mtime, head.uid, head.gid, head.uname, head.gname, head.mode) for head in heads} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_a_photo_from_its_bytes_is_the_photo_from_its_file(tmp_path):
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 255, (20, 30, 4), np.uint8), "RGBA")
    deep = Image.fromarray(rng.integers(0, 65535, (20, 30)).astype(np.uint16))
    turned = Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba.save(tmp_path / "a.png")
    deep.save(tmp_path / "b.png")
    turned.save(tmp_path / "c.jpg", exif=exif)
    for path in tmp_path.iterdir():
        assert np.array_equal(decode_photo(path.read_bytes(), "x"), read_photo(path)), path
    assert decode_photo((tmp_path / "c.jpg").read_bytes(), "x").shape == (30, 20, 3)


def test_samples_hold_what_was_written(labels):
    reader = ShardReader(labels, verify=True)
    for number in range(12):
        got = reader.sample(number)
        assert got.key == f"{number:09d}"
        assert (got.photo() == number).all()
        truth = np.random.default_rng(number)
        for t in range(2):
            for c in range(2):
                values, valid = got.label(t, c)
                assert valid.all()
                step = got.facts.labels[t].crops[c].scale
                assert np.abs(values - truth.uniform(1, 5, (SIZE, SIZE))).max() <= step / 2 + 1e-6
    with pytest.raises(IndexError):
        reader.sample(12)
    assert [facts.position for facts, _ in reader.sidecars()] == list(range(12))


def test_every_epoch_visits_each_sample_once_in_an_order_of_its_own(labels):
    reader = ShardReader(labels, seed=5, buffer=4)
    epochs = [[s.facts.position for s in reader.epoch(e)] for e in range(4)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    again = ShardReader(labels, seed=5, buffer=4)
    assert [s.facts.position for s in again.epoch(2)] == epochs[2]
    assert [s.facts.position for s in ShardReader(labels, seed=6, buffer=4).epoch(2)] != epochs[2]


def test_the_buffer_decides_how_far_samples_move():
    counts = [100, 100]
    plain = epoch_order(counts, 0, 0, 1)
    assert (np.diff(plain[:, 1])[:99] == 1).all()
    near, far = epoch_order(counts, 0, 0, 10), epoch_order(counts, 0, 0, 1000)
    place = {tuple(row): i for i, row in enumerate(plain.tolist())}

    def ahead(order):  # a sample can come out at most `buffer` places before its turn
        return max(place[tuple(row)] - i for i, row in enumerate(order.tolist()))

    assert 0 < ahead(near) < 10 < ahead(far)
    assert sorted(map(tuple, far.tolist())) == sorted(map(tuple, plain.tolist()))
    assert epoch_order([], 0, 0, 5).shape == epoch_order([0, 0], 0, 0, 1).shape == (0, 2)


def test_resume_is_exact_at_every_place(labels):
    reader = ShardReader(labels, seed=1, rank=1, world=2, buffer=5)
    whole = [(place, s.key) for place, s in itertools.islice(reader.stream(), 15)]
    assert [place for place, _ in whole[:7]] == [*(Place(0, i) for i in range(1, 7)), Place(1, 1)]
    for done in range(14):
        fresh = ShardReader(labels, seed=1, rank=1, world=2, buffer=5)
        place = whole[done][0]
        rest = [(p, s.key) for p, s in itertools.islice(fresh.stream(*place), 14 - done)]
        assert rest == whole[done + 1 :]


@pytest.mark.parametrize("world", [1, 2, 3, 5, 12, 20])
def test_ranks_share_nothing_and_miss_nothing(labels, world):
    readers = [ShardReader(labels, seed=3, rank=r, world=world, buffer=4) for r in range(world)]
    seen = [[s.facts.position for s in reader.epoch(1)] for reader in readers]
    assert [len(part) for part in seen] == [len(reader) for reader in readers]
    assert sorted(p for part in seen for p in part) == list(range(12))
    assert max(map(len, seen)) - min(map(len, seen)) <= 1
    if world == 20:
        with pytest.raises(CcdError, match="none for process 19"):
            next(readers[19].stream())


@pytest.mark.parametrize("wrong", [{"rank": 2, "world": 2}, {"rank": -1}, {"buffer": 0}])
def test_impossible_readers(labels, wrong):
    with pytest.raises(UsageProblem):
        ShardReader(labels, **wrong)


def read_all(folder):
    return list(ShardReader(folder, buffer=1).epoch())


def hostile(folder, change):
    """A folder with one shard of two samples whose members `change` may alter; the index fits the file."""
    members = {**sample(0), **sample(1)}
    heads = []
    for name, data in sorted(members.items()):
        head = tarfile.TarInfo(name)
        head.size = len(data)
        heads.append([head, data])
    change(heads)
    with tarfile.open(folder / "shard-000000.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for head, data in heads:
            head.size = len(data)
            tar.addfile(head, io.BytesIO(data))
    index_for(folder, [2])


def rename(name):
    def change(heads):
        heads[0][0].name = name

    return change


def link(kind):
    def change(heads):
        heads[1][0].type, heads[1][0].linkname, heads[1][1] = kind, "/etc/passwd", b""

    return change


def extra(name):
    def change(heads):
        heads.append([tarfile.TarInfo(name), b"x"])

    return change


def edited(text, new, count=-1):
    def change(heads):
        for pair in heads:
            if pair[0].name == "000000001.json":
                assert text in pair[1]
                pair[1] = pair[1].replace(text, new, count)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (rename("../000000000.json"), "no part of labels"),
        (rename("/000000000.json"), "no part of labels"),
        (rename("000000000.sh"), "no part of labels"),
        (rename("000000000.json\n"), "no part of labels"),
        (link(tarfile.SYMTYPE), "no part of labels"),
        (link(tarfile.LNKTYPE), "no part of labels"),
        (link(tarfile.DIRTYPE), "no part of labels"),
        (link(tarfile.FIFOTYPE), "no part of labels"),
        (extra("000000000.json"), "twice"),
        (extra("000000002.json"), "3 samples; the index says 2"),
        (extra("000000001.t5.c0.png"), "does not match"),
        (edited(b'"key":"000000001"', b'"key":"000000000"'), "does not match"),
        (edited(b"000000001.t1.c1.png", b"000000000.t1.c1.png"), "does not match"),
        (edited(b'"box":[0,0,10]', b'"box":[1,0,10]', 1), "does not match"),
        (edited(b'"box":[0,0,10]', b'"box":[11,0,10]'), "outside"),
        (edited(b'"size":12', b'"size":13'), "other labels than the index"),
        (edited(b'"height":20', b'"height":10'), "outside"),
        (edited(b'"format":"ccd-labels/1"', b'"format":"ccd-labels/9"'), "not a sidecar"),
        (edited(b'"scale":', b'"scale":"",'), "not a sidecar"),
        (edited(b"}", b""), "not a sidecar"),
        (edited(b"000000001.t0.c0.png", b"../../../../../etc/pw"), "not a sidecar"),
    ],
)
def test_hostile_shards_are_refused(tmp_path, change, words):
    hostile(tmp_path, lambda heads: None)
    assert len(read_all(tmp_path)) == 2
    hostile(tmp_path, change)
    with pytest.raises(CcdError, match=words):
        read_all(tmp_path)


@pytest.mark.parametrize("left", [0, 100, 512, 1500, 5000, -1100, -10_000])
def test_truncated_shards_are_refused_with_and_without_the_right_length_in_the_index(tmp_path, labels, left):
    data = (labels / "shard-000000.tar").read_bytes()
    (tmp_path / "shard-000000.tar").write_bytes(data)
    index_for(tmp_path, [4])
    (tmp_path / "shard-000000.tar").write_bytes(data[:left])
    with pytest.raises(CcdError, match="bytes; the index says"):
        read_all(tmp_path)
    if left != -1100 and left != -10_000:  # those cut nothing but the zeros at the end
        index_for(tmp_path, [4])
        with pytest.raises(CcdError, match=r"no whole tar|samples; the index|is impossible"):
            read_all(tmp_path)


def test_labels_that_are_no_16_bit_pngs_of_the_size(tmp_path):
    def swapped(picture, mode="PNG"):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format=mode)
        return buffer.getvalue()

    good = encode_label(np.ones((SIZE, SIZE), np.float32), "disparity")[0]
    for data in (
        swapped(np.zeros((SIZE, SIZE), np.uint8)),
        swapped(np.zeros((SIZE, SIZE, 3), np.uint8)),
        swapped(np.zeros((SIZE + 1, SIZE), np.uint16)),
        swapped(np.zeros((SIZE, SIZE), np.uint16), "TIFF"),
        good[:40],
        b"",
    ):
        with pytest.raises(CcdError, match="x"):
            decode_label(data, 1.0, 0.0, SIZE, "x")


def test_changed_shards_and_indexes(tmp_path, labels):
    with pytest.raises(CcdError, match="no finished labels"):
        ShardReader(tmp_path)
    data = bytearray((labels / "shard-000000.tar").read_bytes())
    (tmp_path / "shard-000000.tar").write_bytes(data)
    index_for(tmp_path, [4])
    data[600] ^= 1
    (tmp_path / "shard-000000.tar").write_bytes(data)
    with pytest.raises(CcdError, match="not the file"):
        ShardReader(tmp_path, verify=True)
    index = json.loads((tmp_path / "index.json").read_text())
    for key, value in {"samples": 5, "format": "other", "size": 10**9, "more": 1}.items():
        (tmp_path / "index.json").write_text(json.dumps({**index, key: value}))
        with pytest.raises(CcdError, match=r"index\.json"):
            ShardReader(tmp_path)
    index["shards"][0]["file"] = "../shard-000000.tar"
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(CcdError, match=r"index\.json"):
        ShardReader(tmp_path)
    index_for(tmp_path, [4])
    (tmp_path / "shard-000000.tar").unlink()
    with pytest.raises(CcdError, match="cannot be read"):
        read_all(tmp_path)


def test_photos_by_path_are_read_only_if_they_are_the_same(tmp_path):
    photo = tmp_path / "p.png"
    photo.write_bytes(photo_bytes(7))
    write_tar(tmp_path / "shard-000000.tar", ordered(sample(7, photo)))
    index_for(tmp_path, [1])
    [got] = read_all(tmp_path)
    assert (got.photo() == 7).all()
    photo.write_bytes(photo_bytes(8))
    with pytest.raises(CcdError, match="has changed"):
        got.photo()
    photo.unlink()
    with pytest.raises(CcdError, match="gone"):
        got.photo()
