"""A set of the zero-shot suite, from a folder or a tar, with or without a list file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ccd_cli.benchmarks.base import Sample, Spec
from ccd_cli.benchmarks.decode import FloatMap, decode_npy, decode_rgb, known, one_channel
from ccd_cli.benchmarks.layouts import Layout
from ccd_cli.benchmarks.members import FolderMembers, Members, TarMembers, safe_name
from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.parse import decode_text

MAX_LIST_BYTES = 20_000_000


@dataclass(frozen=True)
class Entry:
    """Paths of one sample inside its set."""

    rgb: str
    depth: str
    mask: str = ""


@dataclass(frozen=True)
class ZeroShotSet:
    """A set in Marigold's layout. `unpaired` are photos that were left out because their depth is not there."""

    layout: Layout
    members: Members
    entries: list[Entry]
    unpaired: tuple[str, ...] = ()
    list_file: Path | None = None

    @property
    def spec(self) -> Spec:
        """What the protocol says."""
        return self.layout.spec

    def __len__(self) -> int:
        return len(self.entries)

    def names(self) -> list[str]:
        """Return the photo paths, in the order of the list file, otherwise sorted."""
        return [entry.rgb for entry in self.entries]

    def read(self, index: int) -> Sample:
        """Read one sample; raises ImageError for a missing or damaged file and for sizes that differ."""
        entry, layout = self.entries[index], self.layout
        rgb = decode_rgb(self.members.read(entry.rgb), entry.rgb)
        size = rgb.shape[:2]
        depth = layout.decode(self.members.read(entry.depth), size, entry.depth)
        same_size(depth.shape, size, entry.depth)
        try:
            frame = layout.frame(size)
            rgb, depth = rgb[frame], depth[frame]
            mask = self._mask(entry, depth)
        except ImageError as error:
            raise ImageError(f"{entry.rgb}: {error.message}") from error
        return Sample(entry.rgb, np.ascontiguousarray(rgb), known(depth), mask, None)

    def fingerprint(self, index: int) -> str:
        """Return size and time of a sample's files: a set may be prepared again, or come from another place."""
        entry = self.entries[index]
        return " ".join(self.members.fingerprint(name) for name in (entry.rgb, entry.depth, entry.mask) if name)

    def prediction_names(self, index: int) -> list[str]:
        """Return `<folder>/pred_<rest>.npy`, as Marigold names predictions, then the photo's own name as `.npy`."""
        path = PurePosixPath(self.entries[index].rgb)
        rest = path.stem.removeprefix(self.layout.prefix)
        return [(path.parent / f"pred_{rest}.npy").as_posix(), path.with_suffix(".npy").as_posix()]

    def _mask(self, entry: Entry, depth: FloatMap) -> np.ndarray:
        if entry.mask:
            mask = one_channel(decode_npy(self.members.read(entry.mask), entry.mask), entry.mask).astype(bool)
            same_size(mask.shape, depth.shape, entry.mask)
            return mask & np.isfinite(known(depth))
        assert self.layout.valid is not None
        least, most = self.layout.valid
        inside = np.zeros(depth.shape, dtype=bool)
        inside[self.layout.region((depth.shape[0], depth.shape[1]))] = True
        return inside & (depth > least) & (depth < most)


def same_size(shape: tuple[int, ...], wanted: tuple[int, ...], name: str) -> None:
    """Raise ImageError where a map is not of its photo's size."""
    if tuple(shape) != tuple(wanted):
        raise ImageError(f"{name}: {shape[1]}x{shape[0]} pixels, its photo has {wanted[1]}x{wanted[0]}")


def open_layout(layout: Layout, data_root: Path) -> ZeroShotSet:
    """Open a set below the data root; raises CcdError with the reason where it is missing or cannot be used."""
    members = _find_members(layout, data_root)
    listed = find_list(layout, data_root)
    if listed is not None:
        entries, dropped = read_list(listed, layout)
        return ZeroShotSet(layout, members, entries, tuple(dropped), list_file=listed)
    entries, unpaired = pair(layout, members.names())
    if not entries:
        raise CcdError(f"{members.place} holds no photo with depth: wanted {layout.photo.pattern} and {layout.depth}.")
    return ZeroShotSet(layout, members, entries, tuple(unpaired))


def find_list(layout: Layout, data_root: Path) -> Path | None:
    """Return the list file of a set: `<folder>.txt` beside its folder, or the published one inside."""
    places = (data_root / f"{layout.folder}.txt", data_root / layout.folder / layout.listing)
    return next((place for place in places if place.is_file()), None)


def pair(layout: Layout, names: Collection[str]) -> tuple[list[Entry], list[str]]:
    """Return (samples sorted by photo path, photos whose depth or mask is not among `names`)."""
    entries, unpaired = [], []
    for name in sorted(names):
        match = layout.photo.match(name)
        if match is None:
            continue
        entry = Entry(name, match.expand(layout.depth), match.expand(layout.mask))
        if entry.depth in names and (not entry.mask or entry.mask in names):
            entries.append(entry)
        else:
            unpaired.append(name)
    return entries, unpaired


def read_list(path: Path, layout: Layout) -> tuple[list[Entry], list[str]]:
    """Return (samples, photos whose depth is `None`) of a list file in Marigold's format: photo, depth and more, separated
    by white space, one sample a line. Raises CcdError for what is not such a list.
    """
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise CcdError(f"{path} is larger than {MAX_LIST_BYTES:,} bytes: not a list of samples.")
        lines = decode_text(path.read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CcdError(f"{path} is not a readable list of samples.") from error
    entries, dropped = [], []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) > 1 and fields[1] == "None":
            dropped.append(fields[0])
            continue
        wanted = 3 if layout.mask else 2
        try:
            if len(fields) < wanted:
                raise ImageError(f"{wanted} fields are needed")
            rgb, depth, *rest = (safe_name(field) for field in fields[:wanted])
        except ImageError as error:
            raise CcdError(f"{path}, line {number}: {error.message}.") from error
        entries.append(Entry(rgb, depth, rest[0] if rest else ""))
    if not entries:
        raise CcdError(f"{path} lists no sample with depth.")
    return entries, dropped


def _find_members(layout: Layout, data_root: Path) -> Members:
    """Return the unpacked folder where it holds a photo with depth, otherwise the tar."""
    folder, beside = data_root / layout.folder, data_root / f"{layout.folder}.tar"
    members = FolderMembers(folder) if folder.is_dir() else None
    if members and pair(layout, members.names())[0]:
        return members
    tars = sorted(folder.glob("*.tar"))
    named = [tar for tar in tars if tar.name == layout.tar] or tars
    if len(named) > 1:
        raise CcdError(f"{folder} holds {len(named)} tars and none is called {layout.tar}: keep one.")
    if named or beside.is_file():
        return TarMembers(named[0] if named else beside)
    if members is None:
        raise CcdError(f"no {folder} and no {beside}.")
    if not any(layout.photo.match(name) for name in members.names()):
        raise CcdError(f"{folder} holds neither {layout.tar} nor photos at {layout.photo.pattern}.")
    return members
