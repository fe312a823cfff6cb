"""Parts: what is written is what is read, and damage is found."""

import hashlib
import json
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ccd_cli.config.load import check_label_recipe
from ccd_cli.core.errors import CcdError
from ccd_cli.data.source import Source
from ccd_cli.label.labelers import LoadedTeacher
from ccd_cli.label.parts import read_part, write_part
from ccd_cli.label.plan import Plan
from ccd_cli.label.threads import ImageThreads
from ccd_cli.labels.shards import write_tar
from ccd_cli.media.find import list_photos

TEACHER = {"teacher": "a", "kind": "metric", "license": "MIT", "checkpoint_sha256": "0" * 64}


@pytest.fixture
def part(photos, tmp_path):
    """The path of a part, its plan, and the maps that the teacher gave."""
    values = {"task": "label", "name": "t", "images": "p", "teachers": ["a"], "shard": 5}
    recipe = check_label_recipe({**values, "crops": {"size": 56, "min_side": 60, "patches": 2}}, "t")
    plan, given = Plan(recipe, Source(list_photos([str(photos)]))), []

    def predict(pixels):
        depth = 1 + 9 * pixels[:, 0]
        depth[:, :9] = torch.inf
        given.extend(depth.numpy())
        return depth

    model = SimpleNamespace(kind="metric", predict=predict)
    teacher = LoadedTeacher(model, TEACHER, torch.device("cpu"), 4)
    path = tmp_path / "parts" / "part-000000.tar"
    threads = ImageThreads(2)
    write_part(path, plan, 0, plan.shard_images(0), teacher, threads, lambda _: None)
    threads.shutdown()
    assert [p.name for p in path.parent.iterdir()] == [path.name], "what was spooled is gone"
    return path, plan, given


def test_labels_come_back_as_they_were_given(part):
    path, plan, given = part
    got = read_part(path)
    maps = np.concatenate([got.decoded(i, pngs, plan.size) for i, pngs in enumerate(got.pngs())])
    assert [image.position for image in got.images] == list(plan.positions(0))
    assert maps.shape == (15, 56, 56)
    steps = [crop["scale"] for crops in got.crops for crop in crops]
    for values, want, step in zip(maps, given, steps, strict=True):
        assert np.isinf(values[:9]).all() and np.isfinite(values[9:]).all()
        assert np.abs(1 / values - 1 / want).max() <= step / 2 + 1e-7
    assert all(crop["valid"] == 1.0 for crops in got.crops for crop in crops)


def test_damage_anywhere_is_found(part):
    path, _, _ = part
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [600, 700, *rng.integers(0, len(whole) - 1024, 60).tolist()]
    reference = [list(read_part(path).pngs()), read_part(path).crops]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        try:
            got = read_part(path)
            found = [list(got.pngs()), got.crops]
        except CcdError as error:
            assert "is damaged" in error.message
        else:
            assert found == reference, "padding between members"
    for cut in (0, 300, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(CcdError, match="is damaged"):
            list(read_part(path).pngs())


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts["crops"][0][0].update(scale="x"),
        lambda facts: facts["crops"][0][0].update(scale=float("nan")),
        lambda facts: facts["crops"][0][0].pop("valid"),
        lambda facts: facts["crops"][0].pop(),
        lambda facts: facts["seen"][0].update(position=[1]),
        lambda facts: facts["seen"][0].update(boxes=[[0, 0, 0]] * 3),
        lambda facts: facts["teacher"].pop("license"),
        lambda facts: facts.update(kind="color"),
    ],
)
def test_facts_that_lie_with_a_right_checksum_are_refused(part, change):
    path, _, _ = part
    with tarfile.open(path) as tar:
        members = [(head.name, tar.extractfile(head).read()) for head in tar]
    facts = json.loads(json.loads(members[0][1])["facts"])
    write_tar(path, [_sealed(facts), *members[1:]])
    assert len(read_part(path).images) == 5, "sealed again, it is read"
    change(facts)
    write_tar(path, [_sealed(facts), *members[1:]])
    with pytest.raises(CcdError, match="is damaged"):
        read_part(path)


def _sealed(facts):
    content = json.dumps(facts)
    document = {"sha256": hashlib.sha256(content.encode()).hexdigest(), "facts": content}
    return "part.json", json.dumps(document).encode()
