"""A contact sheet: photos beside the models' maps, each with its own color range, near is warm.

python tests/benchmarks/sheet_models.py assets/photos docs/builtin.jpg --model builtin:sharp --model builtin:tiny
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from ccd_cli.media.colorize import colorize
from ccd_cli.media.find import list_photos
from ccd_cli.media.photos import read_photo
from ccd_cli.reports.contact_sheet import sheet
from ccd_cli.teachers.load import load_teacher


def main() -> None:
    """Predict every photo at the models' default resolutions and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", action="append", required=True)
    args = parser.parse_args()
    teachers = [load_teacher(model) for model in args.model]
    rows, names = [], []
    for path in list_photos([str(args.photos)]):
        photo = read_photo(path)
        maps = [teacher.predict_photos([photo])[0] for teacher in teachers]
        rows.append([photo, *(colorize(m.values, m.valid, m.kind) for m in maps)])
        names.append(Path(path).name)
    Image.fromarray(sheet(rows, ["photo", *args.model], names)).save(args.target, quality=88)
    print(f"wrote {args.target}: {len(rows)} photos")


if __name__ == "__main__":
    main()
