"""Seeded mutations of valid files: of their bytes, of their text, and of the values that JSON and YAML hold."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

import yaml

ODD_TEXT = [
    "",
    " ",
    "²",
    "٣",
    "𝟘",
    "\u202e",
    "\x00",
    "\ufeff",
    "é",
    "\u2028",
    "a" * 3000,
    "~nosuchuser",
    "../../x",
    "/",
    "NaN",
]
ODD_TEXT += [
    "-1",
    "0",
    "1e999",
    "1_000",
    "0x10",
    "yes",
    "null",
    "💥",
    "con",
    "builtin:",
    "file:///etc/passwd",
    "%s%n",
    "{}",
    "$HOME",
]
ODD_NUMBERS = [
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    10**30,
    10**400,
    1e308,
    -1e308,
    5e-324,
    0.5,
    float("nan"),
    float("inf"),
]
ODD_VALUES: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    [[]],
    {"": {}},
    {"a": [1, {"b": None}]},
    [1, "a"],
    *ODD_NUMBERS,
    *ODD_TEXT,
]
TAGS = [
    "!!int ''",
    "!!timestamp abc",
    "!!bool maybe",
    "!!map [1]",
    "!!set {a, b}",
    "!!binary '?'",
    "!!float x",
    "!!omap [1]",
]
TAGS += [
    "!!python/object/apply:os.system ['touch PWNED']",
    "!!pairs 3",
    "!x y",
    "! z",
    "2001-99-99",
    "<<: {a: 1}",
    "=",
    "&a [*a]",
]
EDGE_INTEGERS = [
    b"\xff" * 8,
    b"\x00" * 8,
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\xff" * 4,
    b"\x00" * 4,
    b"\x01\x00\x00\x00",
]


def mutate(data: bytes, other: bytes, style: str, rng: random.Random) -> bytes:
    """Return `data` changed in one to three ways; `other` is what a splice takes from. Styles: bytes, text, json, yaml."""
    if style in ("json", "yaml") and rng.random() < 0.5:
        return _structured(data, style, rng)
    changes: list[Callable[[bytes, bytes, random.Random], bytes]] = (
        _BYTES if style == "bytes" else [*_BYTES[:6], *_TEXT * 2]
    )
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(changes)(data, other, rng)
    return data


def mutate_word(word: str, other: str, rng: random.Random) -> str:
    """Return a word of a command line, changed; no null byte, which no system passes on."""
    made = mutate(word.encode(), other.encode(), "text", rng)
    return made.decode("utf-8", "surrogateescape").replace("\x00", "")[:5000]


def _flip(data: bytes, _: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _i in range(rng.choice((1, 1, 2, 8, 64))):
        if made:
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def _truncate(data: bytes, _: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((0, 1, rng.randrange(len(data) + 1), max(0, len(data) - 1), len(data) // 2))]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _cut_out(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 4, 16, 512)) :]


def _repeat(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start : start + rng.choice((1, 8, 512))] * rng.choice((2, 3, 50)) + data[start:]


def _noise(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.choice((1, 2, 4, 16))) + data[start + 4 :]


def _integers(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(min(len(data), rng.choice((32, 256, 10**9))) + 1)
    word = rng.choice(EDGE_INTEGERS)
    return data[:start] + word + data[start + len(word) :]


def _zeros(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    size = rng.choice((4, 64, 4096))
    return data[:start] + bytes(len(data[start : start + size])) + data[start + size :]


def _digits(data: bytes, _: bytes, rng: random.Random) -> bytes:
    places = list(re.finditer(rb"\d+(\.\d+)?", data))
    if not places:
        return data
    place = rng.choice(places)
    return data[: place.start()] + _words(rng).encode("utf-8", "surrogateescape") + data[place.end() :]


def _words(rng: random.Random) -> str:
    return str(rng.choice([*ODD_NUMBERS, *ODD_TEXT])) if rng.random() < 0.9 else "9" * rng.choice((30, 5000))


def _insert_text(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.choice([*ODD_TEXT, *TAGS]).encode() + data[start:]


def _nest(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start, depth = rng.randrange(len(data) + 1), rng.choice((20, 70, 500, 1500, 100_000))
    left, right = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"{a: ", b"}"), (b"- ", b""), (b"(", b")")))
    return data[:start] + left * depth + b"1" + right * rng.choice((depth, 0)) + data[start:]


def _lines(data: bytes, _: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.randrange(4)
    if how == 0:
        lines[i], lines[j] = lines[j], lines[i]
    elif how == 1:
        del lines[i]
    elif how == 2:
        lines.insert(i, lines[j])
    else:
        lines[i] = b"  " + lines[i]
    return b"\n".join(lines)


def _value(data: bytes, _: bytes, rng: random.Random) -> bytes:
    """Replace what follows a colon or an equals sign."""
    places = list(re.finditer(rb"(?<=[:=])[^\n,}]*", data))
    if not places:
        return data
    place = rng.choice(places)
    return (
        data[: place.start()] + b" " + rng.choice([*TAGS, _words(rng)]).encode("utf-8", "replace") + data[place.end() :]
    )


def _encoding(data: bytes, _: bytes, rng: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    made = rng.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp037"))
    return text.replace("\n", "\r\n").encode(made, "replace")


_BYTES = [_flip, _truncate, _splice, _cut_out, _repeat, _noise, _integers, _zeros]
_TEXT = [_digits, _insert_text, _nest, _lines, _value, _encoding]


def _structured(data: bytes, style: str, rng: random.Random) -> bytes:
    """Return a JSON or YAML document with one to three values replaced, removed, renamed or nested."""
    value = json.loads(data) if style == "json" else yaml.safe_load(data)
    holder = {"": copy.deepcopy(value)}
    for _ in range(rng.choice((1, 1, 2, 3))):
        parent, key = rng.choice(_places(holder))
        how = rng.random()
        if how < 0.6:
            parent[key] = copy.deepcopy(rng.choice(ODD_VALUES))
        elif how < 0.75 and parent is not holder:
            del parent[key]
        elif how < 0.85 and isinstance(parent, dict) and parent is not holder:
            parent[rng.choice(ODD_TEXT)] = parent.pop(key)
        elif how < 0.93:
            for _level in range(rng.choice((1, 5, 40, 100, 300))):
                parent[key] = [parent[key]]
        else:
            parent[key] = copy.deepcopy(holder[""])
    if style == "json":
        return json.dumps(holder[""]).encode("utf-8", "replace")
    try:
        return yaml.safe_dump(holder[""], allow_unicode=rng.random() < 0.5).encode("utf-8", "replace")
    except RecursionError:
        return data


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    level = [value]
    while level and len(found) < 2000:
        nodes = level
        level = []
        for node in nodes:
            keys = node.keys() if isinstance(node, dict) else range(len(node))
            for key in list(keys):
                found.append((node, key))
                if isinstance(node[key], dict | list):
                    level.append(node[key])
    return found
