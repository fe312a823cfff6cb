"""Work in the background: order, bounds, exceptions, and no thread that stays."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ccd_cli.core.concurrency import BackgroundWork, chunks, prefetch, prefetched


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def counted(most, seen):
    for i in range(most):
        seen.append(i)
        yield i


def test_chunks():
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(chunks([], 3)) == []


def test_ahead_keeps_order_and_its_bound():
    taken = []
    with ThreadPoolExecutor(3) as pool:
        for number, (item, future) in enumerate(prefetch(pool, lambda i: i * i, counted(20, taken), 4)):
            assert item == number
            assert future.result() == item * item
            assert len(taken) <= number + 4
    assert len(taken) == 20


def test_ahead_keeps_an_exception_with_its_item():
    with ThreadPoolExecutor(2) as pool:
        made = list(prefetch(pool, lambda i: 1 // i, [1, 0, 2], 2))
    assert [future.exception() is None for _, future in made] == [True, False, True]


def test_prefetched_keeps_order_and_its_bound():
    taken = []
    with prefetched(counted(30, taken), 3) as items:
        for number, item in enumerate(items):
            assert item == number
            time.sleep(0.001)
            assert len(taken) <= number + 1 + 3 + 1  # yielded, in the queue, and in the thread's hand
    assert len(taken) == 30


def test_prefetched_raises_where_the_item_would_have_come():
    def broken():
        yield 1
        yield 2
        raise ValueError("third")

    got = []
    with pytest.raises(ValueError, match="third"), prefetched(broken(), 8) as items:
        for item in items:
            got.append(item)
    assert got == [1, 2]


@pytest.mark.parametrize("take", [0, 2])
def test_prefetched_left_early_stops_its_thread(take):
    seen = []
    with prefetched(counted(10_000, seen), 2) as items:
        for _ in range(take):
            next(items)
    assert len(seen) < 100


def test_prefetched_left_early_closes_what_it_reads():
    closed = []

    def reading():
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread().name)

    with prefetched(reading(), 2) as items:
        next(items)
    assert len(closed) == 1


def test_prefetched_left_by_an_exception_stops_its_thread():
    with pytest.raises(KeyError), prefetched(counted(10_000, []), 2) as items:
        next(items)
        raise KeyError


def test_behind_keeps_order_and_its_bound():
    running, most, lock, done = [0], [0], threading.Lock(), []

    def call(i):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002 * (i % 3))
        with lock:
            running[0] -= 1
        return i

    with ThreadPoolExecutor(8) as pool:
        behind = BackgroundWork(pool, 3, done.append)
        for i in range(30):
            behind.add(call, i)
            assert len(done) >= i + 1 - 3
        behind.finish()
    assert done == list(range(30))
    assert most[0] <= 3


def test_behind_begins_nothing_after_an_exception():
    begun, done, gate = [], [], threading.Event()

    def call(i):
        begun.append(i)
        gate.wait(5)
        if i == 1:
            raise OSError("full")
        return i

    with ThreadPoolExecutor(1) as pool:
        behind = BackgroundWork(pool, 10, done.append)
        for i in range(6):
            behind.add(call, i)
        gate.set()
        with pytest.raises(OSError, match="full"):
            behind.finish()
    assert begun == [0, 1]
    assert done == [0]


def test_a_writer_that_fails_frees_the_decoder_that_waits():
    def call(i):
        if i == 3:
            raise OSError("full")

    with (
        pytest.raises(OSError, match="full"),
        ThreadPoolExecutor(1) as pool,
        prefetched(counted(10_000, []), 2) as items,
    ):
        behind = BackgroundWork(pool, 2, lambda _: None)
        for item in items:
            behind.add(call, item)
