"""Do things in the background, a bounded number ahead, so that memory stays flat however much there is to do."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetch(
    pool: Executor, make: Callable[[Item], Made], items: Iterable[Item], count: int
) -> Iterator[tuple[Item, Future[Made]]]:
    """Yield (item, future of make(item)) in order, with at most `count` futures not yet yielded."""
    waiting: deque[tuple[Item, Future[Made]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(make, item)))
        if len(waiting) >= count:
            yield waiting.popleft()
    yield from waiting


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield `items` in lists of `size`; the last may be shorter."""
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


@contextmanager
def prefetched(items: Iterator[Item], count: int) -> Iterator[Iterator[Item]]:
    """Give an iterator over `items` that a thread runs `count` ahead; leaving the block stops the thread.

    An exception of `items` is raised where its item would have come.
    """
    ready: queue.Queue[Any] = queue.Queue(count)
    stop, end = threading.Event(), object()

    def put(thing: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(thing, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((end, None))
        except BaseException as error:
            put((end, error))
        finally:
            if isinstance(items, Generator):
                items.close()  # a file that it reads is closed now, not some day

    def take() -> Iterator[Item]:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stop.set()
        thread.join()


class BackgroundWork:
    """Runs calls in the background, at most `count` at once: a further one waits for the oldest.

    `done(result)` receives results in the order of the calls. An exception of a call is raised by the next `add` or by
    `finish`, and no call begins after it: what goes from call to call may be in pieces.
    """

    def __init__(self, pool: Executor, count: int, done: Callable[[object], None]) -> None:
        self._pool, self._count, self._done = pool, count, done
        self._broken = threading.Event()
        self._waiting: deque[Future[object]] = deque()

    def add(self, call: Callable[..., object], *arguments: object) -> None:
        """Start `call(*arguments)`, after waiting for the oldest where too many are under way."""
        while len(self._waiting) >= self._count:
            self.wait()
        self._waiting.append(self._pool.submit(self._unless_broken, call, arguments))

    def _unless_broken(self, call: Callable[..., object], arguments: tuple[object, ...]) -> object:
        if self._broken.is_set():
            return None  # nobody asks: the exception comes first
        try:
            return call(*arguments)
        except BaseException:
            self._broken.set()
            raise

    def wait(self) -> bool:
        """Wait for the oldest call; False where there is none."""
        if self._waiting:
            self._done(self._waiting.popleft().result())
            return True
        return False

    def finish(self) -> None:
        """Wait for all."""
        while self.wait():
            pass
