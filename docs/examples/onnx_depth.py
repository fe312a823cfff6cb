"""python onnx_depth.py student.onnx photo.jpg depth.png: depth by an exported network, 16 bits over the map's range."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

network, photo, out = sys.argv[1:]
facts = json.loads(Path(f"{network}.json").read_text())
image = cv2.cvtColor(cv2.imread(photo), cv2.COLOR_BGR2RGB) / 255.0
height, width = image.shape[:2]
rule, size = facts["input"], facts["size"]
if size is None:  # aspect kept, the short side at least or the long side at most `resolution`, both sides multiples
    side, step = rule["resolution"], rule["multiple"]
    choose, edge, bound = (min, max, -(-side // step)) if rule["side"] == "short" else (max, min, side // step)
    size = [max(1, edge(round(s * side / choose(height, width) / step), bound)) * step for s in (height, width)]
pixels = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_CUBIC).astype(np.float32).transpose(2, 0, 1)
depth = onnxruntime.InferenceSession(network).run(None, {"image": pixels[None]})[0][0]
for count in (width, height):  # to the photo's size: bilinear with aligned corners, one axis after the other
    positions = np.linspace(0, depth.shape[1] - 1, count)
    depth = np.stack([np.interp(positions, np.arange(len(row)), row) for row in depth]).T
cv2.imwrite(out, np.round((depth - depth.min()) / max(np.ptp(depth), 1e-12) * 65535).astype(np.uint16))
