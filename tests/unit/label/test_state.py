"""The record of a labeling that was stopped: damaged, it is refused when labeling goes on."""

import json

import pytest

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.report import Silent
from ccd_cli.label.folder import LabelFolder
from ccd_cli.label.setup import _resumed_state
from ccd_cli.labels.format import FORMAT

NOW = {"photos": "0" * 64, "device": "cpu", "precision": ["fp32"], "runtime": ["torch"], "ccd": "1"}
TEACHER = {"teacher": "a", "kind": "depth", "license": "MIT", "checkpoint_sha256": "0" * 64}


@pytest.mark.parametrize(
    "teacher",
    [None, "a", {}, TEACHER | {"license": 3}, TEACHER | {"kind": "color"}, {**TEACHER, "checkpoint_sha256": None}],
)
def test_a_teacher_in_the_record_that_is_none_is_refused(tmp_path, teacher):
    folder = LabelFolder(tmp_path)
    state = {**NOW, "format": FORMAT, "teachers": {"0": TEACHER}}
    folder.state.write_text(json.dumps(state))
    assert _resumed_state(folder, NOW, Silent()) == state
    folder.state.write_text(json.dumps({**state, "teachers": {"0": TEACHER, "1": teacher}}))
    with pytest.raises(CcdError, match=r"label\.json is damaged"):
        _resumed_state(folder, NOW, Silent())


def test_labels_of_before_runtimes_were_recorded_go_on_in_torch(tmp_path):
    folder = LabelFolder(tmp_path)
    state = {**NOW, "format": FORMAT, "teachers": {"0": TEACHER}}
    del state["runtime"]
    folder.state.write_text(json.dumps(state))
    assert _resumed_state(folder, NOW, Silent())["runtime"] == ["torch"]
    with pytest.raises(UsageProblem, match=r"The runtime is \['openvino'\] and was \['torch'\]"):
        _resumed_state(folder, {**NOW, "runtime": ["openvino"]}, Silent())
