"""Shards that are damaged, changed or hostile are refused."""

import hashlib
import io
import json
import tarfile

import pytest

from ccd_cli.core.errors import CcdError
from ccd_cli.labels.shards import ShardReader, write_tar
from tests.tiny_shards import index_for, ordered, photo_bytes, sample


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
        (edited(b'"format":"ccd-labels/2"', b'"format":"ccd-labels/9"'), "not a sidecar"),
        (edited(b'"encoding":"inverse"', b'"encoding":"linear"'), "not a sidecar"),
        (edited(b'"format":"ccd-labels/2"', b'"format":"ccd-labels/1"'), "not a sidecar"),
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
        with pytest.raises(CcdError, match=r"no whole tar|samples; the index|is impossible|contradicts itself"):
            read_all(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda index: index["shards"][0].update(samples=10**12), "contradicts itself"),
        (lambda index: index["shards"][0].update(samples=10**12, bytes=10**16), "bytes; the index says"),
        (lambda index: index["shards"][0].update(file="shard-000009.tar"), "cannot be read"),
        (lambda index: index["teachers"][0].update(license=float("nan")), "not an index"),
        (lambda index: index["teachers"][0].update(license={"a": 1}), "not an index"),
    ],
)
def test_an_index_that_lies_with_a_right_checksum_is_refused_before_it_takes_memory(tmp_path, labels, change, words):
    data = (labels / "shard-000000.tar").read_bytes()
    (tmp_path / "shard-000000.tar").write_bytes(data)
    index_for(tmp_path, [4])
    index = json.loads((tmp_path / "index.json").read_bytes())
    change(index)
    index["samples"] = index["shards"][0]["samples"]
    content = json.dumps({**index, "checksum": None}, separators=(",", ":")) + "\n"
    index["checksum"] = hashlib.sha256(content.encode()).hexdigest()
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(CcdError, match=words):
        ShardReader(tmp_path)


def test_changed_shards_and_indexes(tmp_path, labels):
    with pytest.raises(CcdError, match="no finished labels"):
        ShardReader(tmp_path)
    data = bytearray((labels / "shard-000000.tar").read_bytes())
    (tmp_path / "shard-000000.tar").write_bytes(data)
    index_for(tmp_path, [4])
    data[600] ^= 1
    (tmp_path / "shard-000000.tar").write_bytes(data)
    with pytest.raises(CcdError, match="not the file"):
        ShardReader(tmp_path).sample(0)
    assert ShardReader(tmp_path, verify=False).sample(1).key == "000000001"
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
    with pytest.raises(CcdError, match="changed since"):
        got.photo()
    photo.unlink()
    with pytest.raises(CcdError, match="removed since"):
        got.photo()
