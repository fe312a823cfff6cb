"""Free memory is handed out: those who need much of it wait for each other, and only what never fits is refused."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ccd_cli.core import memory
from ccd_cli.core.memory import MemoryBudget, NotEnoughMemory


class Count:
    """How many are inside a block at a time."""

    def __init__(self):
        self.now, self.most, self._lock = 0, 0, threading.Lock()

    def __enter__(self):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_):
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize(("free", "most"), [(10, 1), (19, 1), (20, 2), (39, 3), (None, 8)])
def test_as_many_at_a_time_as_fit(monkeypatch, free, most):
    monkeypatch.setattr(memory, "available_memory", lambda: free)
    budget, count = MemoryBudget(), Count()

    def work(number):
        with budget.hold(10), count:
            time.sleep(0.05)
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == list(range(16))
    assert count.most == most


def test_what_never_fits_is_refused_and_holds_nothing(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 9)
    budget = MemoryBudget()
    with pytest.raises(NotEnoughMemory) as error, budget.hold(10):
        pytest.fail("was let in")
    assert error.value.free == 9
    with budget.hold(9):
        assert not budget.fits(1)
    assert budget.fits(9)


def test_small_sums_are_not_judged(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 0)
    budget = MemoryBudget(ignored=20)
    budget.add(15)
    assert budget.fits(5)
    assert not budget.fits(6)
    budget.remove(15)
    assert budget.fits(20)
