"""The guards stop what should be stopped and nothing else."""

import math

import pytest

from ccd_cli.core.errors import TrainingStopped
from ccd_cli.distill.guards import Guard


def run(drifts, limit=2.0, window=5, mad=1.0):
    guard = Guard(limit, window, 3)
    return [guard.watch(step, drift, mad) for step, drift in enumerate(drifts, start=1)], guard


def test_growth_without_bound_stops_with_an_explanation():
    with pytest.raises(TrainingStopped, match=r"grew to .* times the labels'") as caught:
        run([0.1 * i for i in range(100)])
    assert "loss.anchor.weight" in caught.value.hint
    with pytest.raises(TrainingStopped, match="shrank"):
        run([-0.1 * i for i in range(100)])


def test_a_student_may_begin_at_any_scale_and_come_to_the_labels():
    run([-6.0 + 0.2 * i for i in range(30)])
    run([5.0] * 50)
    run([math.sin(i) * 3 for i in range(100)])  # noise is averaged over the window


def test_non_finite_steps_are_counted_in_a_row():
    guard = Guard(2.0, 5, 3)
    guard.skipped(1)
    guard.skipped(2)
    guard.watch(3, 0.0, 1.0)
    assert guard.watch(4, 0.0, 0.0, label_mad=0.0) == "", "nothing is labeled: the student is not flat"
    guard.skipped(4)
    guard.skipped(5)
    with pytest.raises(TrainingStopped, match="3 steps in a row"):
        guard.skipped(6)
    assert guard.nonfinite_total == 5


def test_a_flat_student_is_warned_of_once():
    warnings, _ = run([float("-inf")] * 4, mad=0.0)
    assert "flat" in warnings[0]
    assert warnings[1:] == ["", "", ""]


def test_state_goes_on_where_it_was():
    _, guard = run([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    other = Guard(2.0, 5, 3)
    other.load_state_dict(guard.state_dict())
    assert other.state_dict() == guard.state_dict()
    with pytest.raises(TrainingStopped):
        for step in range(7, 40):
            other.watch(step, 1.5 + 0.2 * (step - 6), 1.0)
