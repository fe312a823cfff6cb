"""Photos predicted together: one that fails fails alone, and a stop is a stop."""

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError, ImageError, Interrupted
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.teachers.model import predict_each


class Teacher:
    """Gives maps of the photo's first value and its focal length; fails as it is told."""

    def __init__(self, most=99, bad=None, error=None):
        self.most, self.bad, self.error = most, bad, error
        self.sizes = []

    def predict_photos(self, photos, resolution=None, focals=None):
        self.sizes.append(len(photos))
        assert len(focals) == len(photos)
        if len(photos) > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")
        if self.error and any(photo[0, 0, 0] == self.bad for photo in photos):
            raise self.error
        return [
            DepthMap(
                np.full(photo.shape[:2], float(photo[0, 0, 0]) + 100 * (focal or 0) + (resolution or 0), np.float32),
                "depth",
            )
            for photo, focal in zip(photos, focals, strict=True)
        ]


def photos(count):
    return [np.full((2, 3, 3), i, np.uint8) for i in range(count)]


def values(made):
    return [m if isinstance(m, CcdError) else float(m.values[0, 0]) for m in made]


def test_all_at_once_where_it_fits():
    teacher = Teacher()
    assert values(predict_each(teacher, photos(3), 7000, [None, 1.0, None])) == [7000, 7101, 7002]
    assert teacher.sizes == [3] and predict_each(teacher, [], None, []) == []


def test_half_as_many_where_memory_ends():
    teacher = Teacher(most=1)
    assert values(predict_each(teacher, photos(5), None, [None, None, None, 2.0, None])) == [0, 1, 2, 203, 4]
    assert max(teacher.sizes[1:]) < 5
    made = predict_each(Teacher(most=0), photos(2), None, [None] * 2)
    assert all(isinstance(m, CcdError) and "Out of memory" in m.message for m in made)


def test_one_that_is_refused_is_refused_alone():
    problem = ImageError("too flat")
    made = values(predict_each(Teacher(bad=2, error=problem), photos(4), None, [None] * 4))
    assert made == [0, 1, problem, 3]


@pytest.mark.parametrize("error", [Interrupted("stopped"), RuntimeError("a bug"), KeyboardInterrupt()])
def test_a_stop_and_a_bug_are_no_maps(error):
    teacher = Teacher(bad=1, error=error)
    with pytest.raises(type(error)):
        predict_each(teacher, photos(4), None, [None] * 4)
    assert teacher.sizes == [4], "not tried again"
