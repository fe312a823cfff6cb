"""The smallest DNG that LibRaw develops: a Bayer mosaic of 16 bits, with a small preview as cameras write one."""

import struct

import numpy as np


def dng(rgb, orientation=1):
    """Return the bytes of a DNG of uint8 RGB [H, W, 3] (even sizes), linear values in an RGGB mosaic."""
    height, width = rgb.shape[:2]
    mosaic = np.empty((height, width), "<u2")
    linear = ((rgb / 255.0) ** 2.2 * 65535).astype("<u2")
    mosaic[0::2, 0::2], mosaic[0::2, 1::2] = linear[0::2, 0::2, 0], linear[0::2, 1::2, 1]
    mosaic[1::2, 0::2], mosaic[1::2, 1::2] = linear[1::2, 0::2, 1], linear[1::2, 1::2, 2]
    matrix = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570]  # XYZ to sRGB
    extra, entries = b"", []
    tags = [
        (254, 4, [0]),
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [16]),
        (259, 3, [1]),
        (262, 3, [32803]),
        (271, 2, b"Maker\0"),
        (272, 2, b"Model\0"),
        (273, 4, [None]),
        (274, 3, [orientation]),
        (277, 3, [1]),
        (278, 4, [height]),
        (279, 4, [mosaic.nbytes]),
        (33421, 3, [2, 2]),
        (33422, 1, bytes([0, 1, 1, 2])),
        (50706, 1, bytes([1, 4, 0, 0])),
        (50708, 2, b"Maker Model\0"),
        (50714, 4, [0]),
        (50717, 4, [65535]),
        (50721, 10, [part for value in matrix for part in (round(value * 10000), 10000)]),
        (50728, 5, [1, 1, 1, 1, 1, 1]),
        (50778, 3, [21]),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    for tag, kind, value in tags:
        if value == [None]:
            entries.append([tag, kind, 1, None])
            continue
        count = len(value) // (2 if kind in (5, 10) else 1)
        form = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 10: "i"}[kind]
        data = bytes(value) if isinstance(value, bytes) else struct.pack(f"<{len(value)}{form}", *value)
        if len(data) <= 4:
            entries.append([tag, kind, count, data.ljust(4, b"\0")])
        else:
            entries.append([tag, kind, count, struct.pack("<I", start + len(extra))])
            extra += data + b"\0" * (len(data) % 2)
    body = b"".join(
        struct.pack("<HHI", tag, kind, count) + (struct.pack("<I", start + len(extra)) if data is None else data)
        for tag, kind, count, data in entries
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + b"\0\0\0\0" + extra + mosaic.tobytes()
