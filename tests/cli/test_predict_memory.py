"""`ccd predict` where memory is short: passes are halved, and one image that does not fit is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ccd_cli.teachers.adapters.native import NativeTeacher
from tests.unit.media.test_video_bars import scene
from tests.unit.media.test_video_track import write


@pytest.fixture
def room_for(monkeypatch):
    """Leaves memory for so many images in a pass; returns the sizes of all passes."""

    def limit(most):
        passes, real = [], NativeTeacher.predict_photos

        def predict_photos(self, photos, *more):
            passes.append(len(photos))
            if len(photos) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return real(self, photos, *more)

        monkeypatch.setattr(NativeTeacher, "predict_photos", predict_photos)
        return passes

    return limit


def test_a_clip_is_halved_until_it_fits(tmp_path, predict, room_for):
    write(tmp_path / "clip.mp4", [np.roll(scene(64, 96), 2 * i, axis=1) for i in range(5)])
    flags = ("--runtime", "torch", "--save", "npy", "--temporal", "none")
    assert predict("clip.mp4", *flags, "--batch", 4, "--out", "whole").exit_code == 0
    passes = room_for(1)
    said = predict("clip.mp4", *flags, "--batch", 4, "--out", "halved")
    assert said.exit_code == 0, said.stderr
    assert max(passes) == 4 and passes.count(1) == 5
    for number in range(5):
        whole, halved = (np.load(tmp_path / out / "clip" / f"{number:06d}.npy") for out in ("whole", "halved"))
        assert np.abs(whole - halved).max() <= 1e-5 * np.ptp(whole)


def test_a_frame_that_does_not_fit_is_said(tmp_path, predict, room_for):
    write(tmp_path / "clip.mp4", [scene(64, 96)] * 3)
    room_for(0)
    said = predict("clip.mp4", "--runtime", "torch", "--batch", 2)
    assert said.exit_code == 1
    assert "Out of memory." in said.stderr and "--resolution" in said.stderr and "bug" not in said.stderr
