"""Threads that read, encode and compare images while the model computes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch


class ImageThreads(ThreadPoolExecutor):
    """A pool of `count` threads; torch computes with one thread in each of them."""

    def __init__(self, count: int) -> None:
        super().__init__(count, "images", torch.set_num_threads, (1,))
        self.count = count

    @property
    def ahead(self) -> int:
        """How many images may be in work at a time: enough that no thread waits, few enough for flat memory."""
        return 2 * self.count
