"""A small folder of shards."""

import itertools

import pytest

from ccd_cli.labels.shards import write_tar
from tests.tiny_shards import COUNTS, index_for, ordered, sample


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Twelve samples in four shards, one of them empty."""
    folder, number = tmp_path_factory.mktemp("labels"), itertools.count()
    for i, count in enumerate(COUNTS):
        write_tar(folder / f"shard-{i:06d}.tar", [item for _ in range(count) for item in ordered(sample(next(number)))])
    index_for(folder, COUNTS)
    return folder
