"""Saving a run, restoring it, and refusing to continue with something else."""

import copy
import os
import pickle
from types import SimpleNamespace

import pytest
import torch
import yaml

from ccd_cli.config.load import check_recipe, to_yaml
from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Silent
from ccd_cli.data.batch import StudentViews
from ccd_cli.data.source import Source
from ccd_cli.distill import checkpoint
from ccd_cli.distill.guards import Guard
from ccd_cli.distill.optimizer import make_optimizer
from ccd_cli.distill.run_folder import RunFolder
from ccd_cli.distill.state import TrainState
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.depth_net import DepthNet


def fresh(seed):
    """A training state with every part that may be saved."""
    torch.manual_seed(seed)
    student = DepthNet(timm_arch("mobilenetv4_conv_small", features=16))
    projection = torch.nn.Linear(student.feature_width, 5, bias=False)
    head = [*student.head_parameters(), *projection.parameters()]
    return TrainState(
        student=student,
        ema=copy.deepcopy(student).eval().requires_grad_(False),
        projection=projection,
        optimizer=make_optimizer([(head, 1e-3), (student.encoder_parameters(), 1e-4)], 0.01),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        guard=Guard(4.0, 50, 20),
    )


def step(state, seed):
    """One plain step on noise."""
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    prediction = state.predict(StudentViews(pixels))
    (prediction.shared.square().mean() + prediction.tokens.square().mean()).backward()
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1


def test_a_state_comes_back_from_disk_bit_for_bit_and_goes_on_as_if_nothing_happened(tmp_path):
    state, path = fresh(0), tmp_path / "last.pt"
    step(state, 1)
    state.history, state.best = [{"step": 1.0, "abs_rel": 0.5}], {"step": 1.0, "abs_rel": 0.5}
    state.first_samples = torch.rand(1, 8, 8).half()
    state.guard.nonfinite_total = 3
    state.best_weights = {"w": torch.rand(3)}
    state.lines.add('{"step": 1}\n')
    checkpoint.write(path, {**state.state_dict(), "bad": [("a.jpg", "empty")]})
    other, marked = fresh(1), []
    stream = SimpleNamespace(mark_bad=lambda photo, reason: marked.append((str(photo), reason)))
    checkpoint.restore(other, stream, checkpoint.read(path))
    assert marked == [("a.jpg", "empty")]
    for each in (state, other):
        step(each, 2)
    pairs = [(state.student, other.student), (state.ema, other.ema), (state.projection, other.projection)]
    for one, two in pairs:
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert (other.step, other.history, other.best) == (2, state.history, state.best)
    assert torch.equal(other.first_samples, state.first_samples)
    assert torch.equal(other.best_weights["w"], state.best_weights["w"])
    assert other.lines.content() == state.lines.content() == b'{"step": 1}\n'
    assert other.guard.state_dict() == state.guard.state_dict()
    assert set(state.state_dict()) == set(vars(state)) - {"network", "whole"}, (
        "what is not saved would be lost on resume"
    )


def test_a_run_resumes_only_with_its_own_images_and_weights(tmp_path):
    saved = {
        "source_hash": Source([tmp_path / "a.jpg"]).digest,
        "validation_hash": "",
        "photos": 1,
        "hashes": {"a": "0", "b": "1"},
    }
    checkpoint.check_same_images(saved, Source([tmp_path / "a.jpg"]))
    with pytest.raises(UsageProblem, match=r"list of photos has changed .*1 photos then, 2 now"):
        checkpoint.check_same_images(saved, Source([tmp_path / "a.jpg", tmp_path / "b.jpg"]))
    checkpoint.check_same_weights(saved, {"b": "1", "a": "0"})
    with pytest.raises(UsageProblem, match="since the run began: b, c"):
        checkpoint.check_same_weights(saved, {"a": "0", "b": "2", "c": "3"})


def test_the_saved_thread_count_is_taken_up_and_another_machine_is_said():
    saved = {"threads": 3, "device": "cpu", "precision": "fp32", "world": 1}
    report, here = Silent(), Compute("cpu", "fp32")
    checkpoint.match_machine(saved, here, None, report)
    assert torch.get_num_threads() == 3
    assert report.warnings == []
    checkpoint.match_machine(saved, here, 2, report)
    checkpoint.match_machine({**saved, "world": 2}, here, 3, report)
    assert "round differently" in report.warnings[0]
    assert "not bit for bit" in report.warnings[1]
    assert len(report.warnings) == 2
    torch.set_num_threads(2)
    for other in ({"world": 2}, {"device": "cuda"}):  # their threads say nothing about this run's
        checkpoint.match_machine({**saved, **other}, here, None, report)
        assert torch.get_num_threads() == 2
    assert len(report.warnings) == 4


def test_a_run_that_needed_no_scale_goes_on_in_a_precision_that_does(tmp_path):
    state, path = fresh(0), tmp_path / "last.pt"
    checkpoint.write(path, {**state.state_dict(), "bad": []})
    other = fresh(1)
    other.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    checkpoint.restore(other, None, checkpoint.read(path))
    assert (other.scaler.is_enabled(), other.scaler.get_scale()) == (True, 512.0)
    checkpoint.write(path, {**other.state_dict(), "bad": []})
    checkpoint.restore(state, None, checkpoint.read(path))
    assert not state.scaler.is_enabled()


def test_changed_recipes_are_refused_with_the_difference(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    base = {"name": "x", "images": "p", "teachers": ["builtin:tiny"]}
    recipe = check_recipe(base | {"out": "a", "optim": {"steps": 5}}, "t")
    folder.recipe.write_text(to_yaml(recipe))

    def now(**changes):
        return check_recipe(base | {"optim": {"steps": 5}} | changes, "t").model_dump(mode="json")

    checkpoint.check_same_recipe(folder, now(out="b"))  # `out` does not touch the weights
    with pytest.raises(UsageProblem, match=r"optim\.steps: 5 then, 9 now"):
        checkpoint.check_same_recipe(folder, now(optim={"steps": 9}))


def test_a_run_of_a_version_without_a_key_goes_on_where_the_key_has_its_default(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    base = {"name": "x", "images": "p", "teachers": ["builtin:tiny"]}
    old = check_recipe(base, "t").model_dump(mode="json")
    del old["augment"]["flip_probability"]
    folder.recipe.write_text(yaml.safe_dump(old))
    checkpoint.check_same_recipe(folder, check_recipe(base, "t").model_dump(mode="json"))
    flipped = check_recipe(base | {"augment": {"flip_probability": 0.5}}, "t").model_dump(mode="json")
    with pytest.raises(UsageProblem, match=r"flip_probability: 0\.0 then, 0\.5 now"):
        checkpoint.check_same_recipe(folder, flipped)
    folder.recipe.write_text(yaml.safe_dump(old | {"gone": 1}))
    with pytest.raises(CcdError, match="of a version with other keys"):
        checkpoint.check_same_recipe(folder, flipped)


def test_state_is_whole_or_absent_and_carries_no_code(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert checkpoint.read(folder.state) is None
    checkpoint.write(folder.state, {"step": 3, "weights": {"w": torch.ones(2)}, "history": [{"a": 1.0}], "best": None})
    assert checkpoint.read(folder.state)["step"] == 3
    folder.state.write_bytes(folder.state.read_bytes()[:200])
    with pytest.raises(CcdError, match="damaged"):
        checkpoint.read(folder.state)

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/PWNED",)

    folder.state.write_bytes(pickle.dumps({"format": checkpoint.FORMAT, "x": Evil()}))
    with pytest.raises(CcdError, match="damaged"):
        checkpoint.read(folder.state)
    torch.save({"format": checkpoint.FORMAT, "x": Evil()}, folder.state)
    with pytest.raises(CcdError, match="damaged"):
        checkpoint.read(folder.state)
    assert not (tmp_path / "PWNED").exists()
    torch.save({"format": 2, "step": 3}, folder.state)
    with pytest.raises(CcdError, match="this version"):
        checkpoint.read(folder.state)


def test_a_state_with_a_single_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.write(path, {"step": 3, "weights": torch.arange(500.0)})
    whole = path.read_bytes()
    assert torch.load(path, weights_only=True)["step"] == 3, "other programs read it"
    for place in (*range(0, len(whole), 41), *range(len(whole) - 70, len(whole))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(CcdError, match=r"damaged|this version"):
            checkpoint.read(path)
    for damaged in (b"", whole[:-1], whole[:-68], whole[: len(whole) // 2], bytes(len(whole))):
        path.write_bytes(damaged)
        with pytest.raises(CcdError, match="damaged"):
            checkpoint.read(path)
    path.write_bytes(whole)
    assert checkpoint.read(path)["step"] == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": "2"}, "'threads'"),
        ({"bad": [("a.jpg",)]}, "'bad.0.1'"),
        ({"guard": None}, "'guard'"),
        ({"history": [{"step": "1"}]}, "'history.0.step'"),
        ({"student": {}}, "does not fit"),
        ({"lines": torch.zeros(3)}, "does not fit"),
        ({"optimizer": {"state": {}, "param_groups": []}}, "does not fit"),
    ],
)
def test_a_state_with_a_right_checksum_that_lacks_something_is_refused_by_name(tmp_path, change, words):
    state, path = fresh(0), tmp_path / "last.pt"
    words_of_run = {"device": "cpu", "precision": "fp32", "source_hash": "x", "validation_hash": "", "hashes": {}}
    whole = {**state.state_dict(), "bad": [], "threads": 1, "world": 1, "photos": 1, **words_of_run}
    checkpoint.write(path, whole)
    checkpoint.restore(fresh(1), None, checkpoint.read_whole(path))
    checkpoint.write(path, whole | change)
    with pytest.raises(CcdError, match=words):
        checkpoint.restore(fresh(1), None, checkpoint.read_whole(path))
