"""Archives of benchmark sets."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

from tests.fuzz.campaign import Reader


def archive_readers() -> list[Reader]:
    from ccd_cli.benchmarks.members import TarMembers
    from ccd_cli.prepare.archives import copy_item, list_items, open_items

    def tar(packed: str) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=f"w:{packed}") as archive:
            for name in ("a/b.txt", "a/c.txt"):
                head = tarfile.TarInfo(name)
                head.size = 700
                archive.addfile(head, io.BytesIO(b"x" * 700))
            link = tarfile.TarInfo("a/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        return buffer.getvalue()

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", b"x" * 700)
        archive.writestr("a/d.csv", b"y" * 70)

    def unpack(place: Path, name: str) -> None:
        items = {item.name: item for item in list_items(place / name, [])}
        for number, (key, file) in enumerate(open_items(place / name, items.keys())):
            if items[key].size < 10**7:
                copy_item(file, items[key].size, place / "out" / str(number), key)

    def members(place: Path, name: str) -> None:
        found = TarMembers(place / name)
        for member in list(found.names())[:5]:
            found.read(member)

    packed = {"a.zip": buffer.getvalue(), "b.tar": tar(""), "c.tar.gz": gzip.compress(tar(""))}
    return [
        Reader("archives", unpack, packed, dict.fromkeys(packed, "bytes"), weight=5),
        Reader("tar members", members, {"b.tar": packed["b.tar"]}, {"b.tar": "bytes"}, weight=2),
    ]
