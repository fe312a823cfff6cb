import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ccd_cli.core.errors import CcdError, CheckpointError
from ccd_cli.models.arch import ARCHS, get_arch, timm_arch
from ccd_cli.models.checkpoint import load_encoder, load_model, read_metadata, read_state, save_model, sha256_file
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.encoder import encode
from ccd_cli.models.keys import published_name

V2 = get_arch("depth-anything-v2-small")
STUDENT = timm_arch("test_convnext", features=16)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return DepthNet(V2).eval()


@pytest.fixture(scope="module")
def published(small):
    state = {published_name(n, "depth-anything"): t for n, t in small.state_dict().items()}
    return state | {"pretrained.mask_token": torch.zeros(1, 384)}


@pytest.fixture
def student():
    torch.manual_seed(1)
    return DepthNet(STUDENT).eval()


def same_output(a, b, multiple):
    images = torch.randn(1, 3, 2 * multiple, 3 * multiple, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.equal(a.eval()(images), b.eval()(images))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {f"module.model.{k}": v for k, v in s.items()},
        lambda s: {f"student._orig_mod.{k}": v for k, v in s.items()},
        lambda s: {"model": s, "epoch": 3, "best": 0.5},
        lambda s: {"state_dict": {"model": {f"module.{k}": v for k, v in s.items()}}},
        lambda s: {k: v.half() for k, v in s.items()},
    ],
    ids=["bare", "module", "module.model", "compiled", "model dict", "nested", "half"],
)
def test_wrappings_of_a_published_file(tmp_path, published, small, wrap):
    path = tmp_path / "depth_anything_v2_vits.pth"
    torch.save(wrap(published), path)
    model = load_model(path)
    assert model.arch == V2
    assert all(p.dtype == torch.float32 and p.device.type == "cpu" for p in (*model.parameters(), *model.buffers()))
    half = any(v.dtype == torch.float16 for v in wrap(published).values() if isinstance(v, torch.Tensor))
    assert same_output(model, small, 14) or half
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        n for n, p in DepthNet(V2).named_parameters() if p.requires_grad
    }


def test_the_chunked_layout(tmp_path, small):
    state = {published_name(n, "distill-any-depth"): t for n, t in small.state_dict().items()}
    assert "backbone.blocks.0.11.norm1.weight" in state
    path = tmp_path / "model.safetensors"
    save_file(state | {"backbone.mask_token": torch.zeros(1, 384)}, path)
    model = load_model(path)
    assert model.arch.name == "distill-any-depth-small"
    assert same_output(model, small, 14)


def test_the_layout_of_depth_anything_3(tmp_path, monkeypatch):
    arch = replace(
        V2, name="tiny-3", family="depth-anything-3", activation="exp", sky=True, deepest_unit=False, kind="depth"
    )
    monkeypatch.setitem(ARCHS, "tiny-3", arch)
    net = DepthNet(arch)
    state = {"model." + published_name(n, "depth-anything-3"): t for n, t in net.state_dict().items()}
    assert "model.head.scratch.sky_output_conv2.0.bias" in state
    assert "model.head.scratch.refinenet4.resConfUnit1.conv1.weight" not in state
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    model = load_model(path)
    assert model.arch == arch
    assert same_output(model, net, 14)


def test_strictness_names_the_tensors(tmp_path, published):
    path = tmp_path / "depth_anything_v2_vits.pth"

    def message(state):
        torch.save(state, path)
        with pytest.raises(CheckpointError) as caught:
            load_model(path)
        return caught.value.message

    name = "depth_head.scratch.output_conv1.bias"
    assert f"missing {name}" in message({k: v for k, v in published.items() if k != name})
    assert "unexpected depth_head.extra" in message(published | {"depth_head.extra": torch.zeros(1)})
    said = message(published | {name: torch.zeros(7)})
    assert f"of another shape {name} ([7] instead of [32])" in said
    said = message({k: v for k, v in published.items() if "blocks.11" not in k})
    assert "and 9 more" in said and "\n" not in said


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_in_a_file_does_not_run(tmp_path):
    mark = tmp_path / "PWNED"
    torch.save({"a": Evil(mark)}, tmp_path / "zip.pth")
    torch.save({"a": Evil(mark)}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    with (tmp_path / "bare.pth").open("wb") as file:
        pickle.dump({"a": Evil(mark)}, file)
    for path in tmp_path.glob("*.pth"):
        with pytest.raises(CheckpointError) as caught:
            load_model(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_files_that_are_no_checkpoints(tmp_path, student):
    whole = save_model(tmp_path / "whole.safetensors", student, STUDENT).read_bytes()
    torch.save(student.state_dict(), tmp_path / "whole.pth")
    pth = (tmp_path / "whole.pth").read_bytes()
    files = {
        "cut.safetensors": whole[:-100],
        "cut-header.safetensors": whole[:100],
        "long.safetensors": whole + b"more",
        "text.safetensors": b"hello, this is text",
        "huge.safetensors": b"\xff" * 64,
        "array.safetensors": (2).to_bytes(8, "little") + b"[]",
        "cut.pth": pth[: len(pth) // 2],
        "text.pth": b"hello, this is text",
        "zeros.pt": b"\0" * 1000,
        "empty.pth": b"",
        "empty.safetensors": b"",
        "photo.jpg": b"\xff\xd8\xff",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({}, tmp_path / "nothing.pth")
    torch.save({"a": torch.zeros(1), "step": 3}, tmp_path / "mixed.pth")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    names = [*files, "list.pth", "nothing.pth", "mixed.pth", "other.pth", "absent.pth", "."]
    for name in names:
        with pytest.raises(CheckpointError) as caught:
            load_model(tmp_path / name)
        assert caught.value.message.endswith(".")
        assert "\n" not in str(caught.value), name


def test_save_and_load_round_trip(tmp_path, student):
    path = save_model(tmp_path / "new" / "student.safetensors", student, STUDENT, {"license": "MIT", "teachers": "a b"})
    assert sorted(p.name for p in path.parent.iterdir()) == ["student.safetensors"]
    notes = read_metadata(path)
    assert (notes["kind"], notes["license"], notes["teachers"]) == ("disparity", "MIT", "a b")
    model = load_model(path)
    assert model.arch == STUDENT
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), student.state_dict().values(), strict=True)
    )
    assert same_output(model, student, 32)


def test_kind_in_the_metadata_is_the_models(tmp_path, student):
    path = save_model(tmp_path / "a.safetensors", student.state_dict(), STUDENT, {"kind": "metric"})
    assert load_model(path).arch.kind == "metric"
    for bad in ({"kind": "beauty"}, {"step": 3}):
        with pytest.raises(CheckpointError, match="Metadata"):
            save_model(tmp_path / "b.safetensors", student, STUDENT, bad)


def test_a_failed_save_leaves_the_old_file(tmp_path, student, monkeypatch):
    path = save_model(tmp_path / "a.safetensors", student, STUDENT)
    before = path.read_bytes()

    def full_disk(tensors, file, metadata=None):
        file.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("ccd_cli.models.checkpoint.save_file", full_disk)
    with pytest.raises(CcdError, match="No space left"):
        save_model(path, student, STUDENT)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_channels_last_and_shared_storage_are_written_plainly(tmp_path, student):
    state = student.to(memory_format=torch.channels_last).state_dict()
    wide = torch.arange(12.0).reshape(3, 4)
    path = save_model(tmp_path / "a.safetensors", {**state, "x": wide.t(), "y": wide}, STUDENT)
    got = load_file(path)
    assert torch.equal(got["x"], wide.t())
    assert torch.equal(got["y"], wide)


def test_metadata_of_a_stranger_is_checked(tmp_path, student):
    path = tmp_path / "a.safetensors"
    state = {k: v.contiguous() for k, v in student.state_dict().items()}
    save_file(state, path, metadata={"ccd_arch": "{}"})
    with pytest.raises(CheckpointError, match="architecture in this file"):
        load_model(path)
    save_model(path, student, replace(STUDENT, encoder="no_such_encoder"))
    with pytest.raises(CheckpointError, match="no_such_encoder"):
        load_model(path)
    save_model(path, student, replace(STUDENT, features=32))
    with pytest.raises(CheckpointError, match=r"of another shape .*head\.reduce\.0\.weight"):
        load_model(path)


def test_load_encoder_from_any_file(tmp_path, published, small, student):
    bare = {n.removeprefix("pretrained."): t for n, t in published.items() if n.startswith("pretrained.")}
    sources = {
        "depth_anything_v2_vits.pth": published,
        "dinov2.pth": bare,
        "timm.pth": {n: t for n, t in bare.items() if n != "mask_token"} | {"head.weight": torch.zeros(2, 2)},
    }
    for name, state in sources.items():
        torch.save(state, tmp_path / name)
        torch.manual_seed(7)
        fresh = DepthNet(V2)
        head = {n: t.clone() for n, t in fresh.head.state_dict().items()}
        load_encoder(fresh, tmp_path / name)
        assert all(torch.equal(t, small.encoder.state_dict()[n]) for n, t in fresh.encoder.state_dict().items())
        assert all(torch.equal(t, head[n]) for n, t in fresh.head.state_dict().items())
    other = DepthNet(STUDENT)
    load_encoder(other, save_model(tmp_path / "own.safetensors", student, STUDENT))
    assert all(torch.equal(t, student.encoder.state_dict()[n]) for n, t in other.encoder.state_dict().items())
    with pytest.raises(CheckpointError, match="missing"):
        load_encoder(DepthNet(V2), tmp_path / "own.safetensors")


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small_035", "test_convnext", "tf_efficientnet_lite0"])
def test_load_a_pyramid_from_a_classifiers_file(tmp_path, name):
    import timm

    torch.manual_seed(3)
    whole = timm.create_model(name)
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    model = DepthNet(timm_arch(name, features=16)).eval()
    load_encoder(model, tmp_path / "whole.pth")
    image = torch.rand(1, 3, 64, 64)
    deepest = encode(model.encoder, model.arch, image)[0][-1]
    if name != "test_convnext":  # its last norm lies behind the pyramid
        options = {"indices": 1, "intermediates_only": True}
        assert torch.allclose(deepest, whole.eval().forward_intermediates(image, **options)[-1], atol=1e-5)
    state = whole.state_dict()
    own = {n.replace(".", "_"): t for n, t in state.items()}
    assert all(torch.equal(t, own[n.replace(".", "_")]) for n, t in model.encoder.state_dict().items())
    first = next(iter(state))
    for problem, changed in {
        "missing": {n: t for n, t in state.items() if n != first},
        "unexpected": state | {"strange.weight": torch.ones(1)},
    }.items():
        torch.save(changed, tmp_path / "changed.pth")
        with pytest.raises(CheckpointError, match=problem):
            load_encoder(model, tmp_path / "changed.pth")


def test_hash_and_state(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"module.a": torch.ones(2)}, path)
    assert read_state(path)["a"].tolist() == [1.0, 1.0]
    (tmp_path / "b").write_bytes(b"abc")
    assert sha256_file(tmp_path / "b") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_equal_content_gives_equal_bytes_and_every_flipped_bit_is_refused(tmp_path, student):
    facts = {"license": "MIT", "teachers": 'ä=1;b="2"', "kind": "metric", "z": "", "a": "\n\t"}
    path = save_model(tmp_path / "a.safetensors", student, STUDENT, facts)
    other = save_model(tmp_path / "b.safetensors", student, STUDENT, dict(reversed(facts.items())))
    whole = path.read_bytes()
    assert whole == other.read_bytes()
    script = (
        "import sys; from safetensors.torch import load_file\n"
        "from ccd_cli.models.checkpoint import read_metadata, save_model\n"
        "from ccd_cli.models.arch import timm_arch\n"
        "a, b = sys.argv[1:]; facts = read_metadata(a); facts.pop('ccd_arch')\n"
        "save_model(b, load_file(a), timm_arch('test_convnext', features=16), facts)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path), str(tmp_path / "c.safetensors")], check=True)
    assert (tmp_path / "c.safetensors").read_bytes() == whole, "in another process, too"
    metadata = read_metadata(path)
    assert {key: metadata[key] for key in facts} == facts
    assert [*metadata] == sorted(metadata)
    start = 8 + int.from_bytes(whole[:8], "little")
    name = whole.find(b'"ccd_sha256"')
    for place in (*range(0, 8), *range(9, start, 97), *range(start, len(whole), len(whole) // 20), len(whole) - 1):
        if name <= place < name + 12:
            continue  # then it is a file without a checksum, and otherwise as it was
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError):
            load_model(path)
    path.write_bytes(whole[:-8] + bytes(8))
    with pytest.raises(CheckpointError, match="damaged"):
        load_encoder(DepthNet(STUDENT), path)
    path.write_bytes(whole)
    load_model(path)
