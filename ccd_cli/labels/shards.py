"""Shards of labels: tar files with fixed headers, written whole, and a reader that trusts none of them.

A folder of labels is `index.json` and `shard-NNNNNN.tar`; see `docs/labels.md`.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.files import atomic_write
from ccd_cli.core.seeding import Draw, step_seed
from ccd_cli.labels.format import (
    FORMAT,
    MAX_IMAGE_BYTES,
    MEMBER,
    OLD_FORMAT,
    Index,
    ShardFacts,
    Sidecar,
)
from ccd_cli.labels.sample import LabelSample

INDEX = "index.json"
QUICK_BYTES = 4_000_000_000
"""Size of shards that are hashed in seconds."""
_MAX_SIDECAR, _MAX_LABEL = 4_000_000, 128_000_000  # bytes of a member
_LEAST = 1024  # bytes of a sample in a tar: a header and a block of its sidecar
_MAX_OPEN = 16  # shards held open at once
_NAMED = re.compile(rb'"format"\s*:\s*"(ccd-labels/\w{1,20})"')
_DAMAGED = "Create it anew: ccd label RECIPE --overwrite"


def write_tar(
    path: Path, members: Iterable[tuple[str, bytes]], before: Callable[[Path], None] = lambda written: None
) -> None:
    """Write a tar whole or not at all: members in their order, plain headers without times, owners or extensions.

    `before` gets the whole file under its temporary name, before it is there under its own.
    """
    with atomic_write(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in members:
                head = tarfile.TarInfo(name)
                head.size, head.mtime, head.mode = len(data), 0, 0o644
                tar.addfile(head, io.BytesIO(data))
        before(temporary)


def read_index(folder: Path) -> Index:
    """Return the checked index of a folder of labels; raises CcdError where it is missing, of another format or damaged."""
    path = folder / INDEX
    data = b""
    try:
        data = path.read_bytes()
        found = Index.model_validate_json(data)
    except FileNotFoundError as error:
        raise CcdError(
            f"{folder} holds no finished labels (no {INDEX}).", "Create them, or resume: ccd label RECIPE"
        ) from error
    except ValidationError as error:
        named = _NAMED.search(data)
        if named is not None and named[1].decode() not in (OLD_FORMAT, FORMAT):
            raise CcdError(
                f"{path} says {named[1].decode()}; this ccd reads {OLD_FORMAT} and {FORMAT}.",
                "Update ccd, or label the images again in another folder.",
            ) from error
        raise CcdError(f"{path} is not an index of labels that this ccd knows.", _DAMAGED) from error
    except OSError as error:
        raise CcdError(f"{path} cannot be read ({error.strerror}).", _DAMAGED) from error
    if found.format != OLD_FORMAT and (found.images is None or found.checksum != found.expected_checksum):
        raise CcdError(f"{path} is damaged: its checksum does not fit.", _DAMAGED)
    names = [shard.file for shard in found.shards]
    full = any(shard.samples * _LEAST > shard.bytes for shard in found.shards)
    if full or len(set(names)) != len(names) or sum(shard.samples for shard in found.shards) != found.samples:
        raise CcdError(f"{path} contradicts itself.", _DAMAGED)
    return found


def is_quick_to_verify(index: Index) -> bool:
    """Return whether hashing all shards takes seconds only."""
    return sum(shard.bytes for shard in index.shards) <= QUICK_BYTES


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Shard:
    """One shard, open for reading: `keys` in order, members found by a scan of its headers alone.

    Raises CcdError for a file that is cut short or too long, holds links, folders, foreign or repeated names, whose
    number of samples is not the index's, or with `verify` whose hash is not. Nothing is ever extracted to a path.
    """

    def __init__(self, path: Path, facts: ShardFacts, index: Index, verify: bool = False) -> None:
        self.path, self._index = path, index
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise CcdError(f"{path} cannot be read ({error.strerror}).", _DAMAGED) from error
        try:
            self._members = self._scan(facts)
            if verify:
                self._compare_hash(facts)
        except BaseException:
            self._file.close()
            raise
        self.keys: list[str] = list(self._members)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def sizes(self, key: str) -> dict[str, int]:
        """Return the bytes of a sample's members by name."""
        return {name: size for name, (_, size) in self._members[key].items()}

    def read(self, key: str, teachers: Collection[int] | None = None) -> LabelSample:
        """Return a sample: its checked sidecar and its members, of the labels those of `teachers` alone (None: all)."""
        facts = self.facts(key)
        chosen = range(len(facts.labels)) if teachers is None else teachers
        names = [crop.file for teacher in chosen for crop in facts.labels[teacher].crops]
        names += [] if facts.photo.file is None else [facts.photo.file]
        return LabelSample(key, facts, {name: self._bytes(key, name) for name in names})

    def facts(self, key: str) -> Sidecar:
        """Return a sample's sidecar, checked against the members beside it, which are not read."""
        name = f"{key}.json"
        where = f"{self.path}: {name}"
        try:
            facts = Sidecar.model_validate_json(self._bytes(key, name) if name in self._members[key] else b"")
        except ValidationError as error:
            raise CcdError(f"{where} is missing or not a sidecar that this ccd knows.", _DAMAGED) from error
        named = {crop.file for labels in facts.labels for crop in labels.crops} | {name}
        named |= set() if facts.photo.file is None else {facts.photo.file}
        boxes = [[crop.box for crop in labels.crops] for labels in facts.labels]
        shape = (facts.size, len(boxes), len(boxes[0]))
        if shape != (self._index.size, len(self._index.teachers), self._index.crops):
            raise CcdError(f"{where} has other labels than the index says.", _DAMAGED)
        if (facts.format, facts.key) != (self._index.format, key) or named != set(self._members[key]):
            raise CcdError(f"{where} does not match the members beside it.", _DAMAGED)
        if any(row != boxes[0] for row in boxes):
            raise CcdError(f"{where} does not match the members beside it.", _DAMAGED)
        if any(box[0] + box[2] > facts.photo.height or box[1] + box[2] > facts.photo.width for box in boxes[0]):
            raise CcdError(f"{where} names a box outside of its image.", _DAMAGED)
        return facts

    def _bytes(self, key: str, name: str) -> bytes:
        offset, size = self._members[key][name]
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) != size:
            raise CcdError(f"{self.path} ends within {name}.", _DAMAGED)
        return data

    def _compare_hash(self, facts: ShardFacts) -> None:
        self._file.seek(0)
        digest = hashlib.sha256()
        while data := self._file.read(1 << 20):
            digest.update(data)
        if digest.hexdigest() != facts.sha256:
            raise CcdError(f"{self.path} is not the file that the index describes: its hash differs.", _DAMAGED)

    def _scan(self, facts: ShardFacts) -> dict[str, dict[str, tuple[int, int]]]:
        length = _checked_size(self.path, facts)
        found: dict[str, dict[str, tuple[int, int]]] = {}
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for head in tar:
                    match = MEMBER.fullmatch(head.name)
                    if match is None or head.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or head.pax_headers:
                        raise CcdError(f"{self.path} holds {head.name[:80]!r}, which is no part of labels.", _DAMAGED)
                    limit = _MAX_LABEL if "." in match[2] else MAX_IMAGE_BYTES
                    limit = _MAX_SIDECAR if match[2] == "json" else limit
                    if head.size > limit or head.offset_data + head.size > length:
                        raise CcdError(f"{self.path}: the size of {head.name} is impossible.", _DAMAGED)
                    group = found.setdefault(match[1], {})
                    if head.name in group:
                        raise CcdError(f"{self.path} holds {head.name} twice.", _DAMAGED)
                    group[head.name] = (head.offset_data, head.size)
        except (tarfile.TarError, EOFError, ValueError, OSError) as error:
            raise CcdError(f"{self.path} is no whole tar file ({error}).", _DAMAGED) from error
        if len(found) != facts.samples:
            raise CcdError(f"{self.path} holds {len(found)} samples; the index says {facts.samples}.", _DAMAGED)
        return found


def _checked_size(path: Path, facts: ShardFacts) -> int:
    """Return the bytes of a shard; raises CcdError where it is missing or the index says another size."""
    try:
        length = path.stat().st_size
    except OSError as error:
        raise CcdError(f"{path} cannot be read ({error.strerror}).", _DAMAGED) from error
    if length != facts.bytes:
        raise CcdError(f"{path} has {length} bytes; the index says {facts.bytes}.", _DAMAGED)
    return length


class StreamPosition(NamedTuple):
    """Position of a stream: `position` of this rank's samples of `epoch` are done."""

    epoch: int
    position: int


class ShardReader:
    """A seeded, resumable stream over a folder of labels.

    Each epoch visits every sample once: shards in shuffled order, then a shuffle buffer of `buffer` samples (1: none), then
    every `world`-th to this `rank`, so that each sample is in exactly one rank. The order is a function of
    (seed, epoch) alone and is drawn on numbers, not data: resuming at any position reads nothing twice, and the
    buffer costs no memory. `verify` compares a shard's sha256 with the index's before its first use. For one thread: create
    one reader per worker. Raises CcdError where a shard is missing or of another size than the index says.
    """

    def __init__(
        self,
        folder: str | Path,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        buffer: int = 1000,
        verify: bool = True,
    ) -> None:
        if not 0 <= rank < world or buffer < 1:
            raise UsageProblem(f"A reader needs 0 <= rank < world and buffer >= 1, not {rank}, {world}, {buffer}.")
        self.folder = Path(folder)
        self.index = read_index(self.folder)
        for facts in self.index.shards:  # before the order of as many samples as the index promises takes memory
            _checked_size(self.folder / facts.file, facts)
        self.seed, self.rank, self.world, self.buffer = seed, rank, world, buffer
        self._open: OrderedDict[int, Shard] = OrderedDict()
        self._unverified = set(range(len(self.index.shards))) if verify else set()

    def __len__(self) -> int:
        """Return the number of samples of this rank in one epoch."""
        return len(range(self.rank, self.index.samples, self.world))

    @cached_property
    def files(self) -> int:
        """Return the number of different images, each of which may be damaged: one has a sample for every epoch labeled.

        Version 1 does not say it: there, the samples divided by the epochs.
        """
        if self.index.images is not None:
            return self.index.images
        if not self.index.samples:
            return 0
        last = self.sample(self.index.samples - 1)
        return -(-self.index.samples // (last.facts.epoch + 1))

    @property
    def digest(self) -> str:
        """Return the sha256 of the index, which holds those of all shards."""
        return sha256_of(self.folder / INDEX)

    def epoch(self, epoch: int = 0, position: int = 0) -> Iterator[LabelSample]:
        """Yield this rank's samples of one epoch, without the first `position`."""
        order = epoch_order([shard.samples for shard in self.index.shards], self.seed, epoch, self.buffer)
        for shard, number in order[self.rank :: self.world][position:]:
            yield self.at(int(shard), int(number))

    def stream(self, epoch: int = 0, position: int = 0) -> Iterator[tuple[StreamPosition, LabelSample]]:
        """Yield (position after the sample, sample) without end; `stream(*position)` resumes exactly there."""
        if len(self) == 0:
            raise CcdError(f"{self.folder} has {self.index.samples} samples: none for process {self.rank}.")
        while True:
            for sample in self.epoch(epoch, position):
                position += 1
                yield StreamPosition(epoch, position), sample
            epoch, position = epoch + 1, 0

    def sidecars(self) -> Iterator[tuple[Sidecar, dict[str, int]]]:
        """Yield (sidecar, bytes by member) of every sample in the order of the shards, whatever rank and seed."""
        for number in range(len(self.index.shards)):
            opened = self._shard(number)
            for key in opened.keys:
                yield opened.facts(key), opened.sizes(key)

    def sample(self, number: int) -> LabelSample:
        """Return sample `number` of all, counted as they lie in the shards; IndexError beyond the last."""
        for shard, facts in enumerate(self.index.shards):
            if number < facts.samples:
                return self.at(shard, number)
            number -= facts.samples
        raise IndexError(number)

    def at(self, shard: int, number: int, teachers: Collection[int] | None = None) -> LabelSample:
        """Return sample `number` of a shard, with the labels of `teachers` alone (None: all)."""
        opened = self._shard(shard)
        return opened.read(opened.keys[number], teachers)

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def _shard(self, number: int) -> Shard:
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        facts = self.index.shards[number]
        self._open[number] = opened = Shard(
            self.folder / facts.file, facts, self.index, verify=number in self._unverified
        )
        self._unverified.discard(number)
        if len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return opened


def epoch_order(counts: Sequence[int], seed: int, epoch: int, buffer: int) -> NDArray[np.int64]:
    """Return the samples of an epoch as (shard, number within it), int64 [N, 2], each once, for all ranks together."""
    rng = np.random.default_rng(step_seed(seed, Draw.SHARD_ORDER, epoch))
    shards = rng.permutation(len(counts))
    lengths = np.asarray(counts, np.int64)[shards]
    starts = np.cumsum(lengths) - lengths
    within = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    incoming = np.stack([np.repeat(shards, lengths), within], axis=1)
    if buffer == 1:
        return incoming
    buffered, ordered = np.arange(min(buffer, len(incoming))), np.empty(len(incoming), np.int64)
    for i, draw in enumerate(rng.random(len(incoming))):
        filled = min(len(buffered), len(incoming) - i)
        chosen = int(draw * filled)
        ordered[i] = buffered[chosen]
        buffered[chosen] = buffer + i if buffer + i < len(incoming) else buffered[filled - 1]
    return incoming[ordered]
