"""PNG copies of the pictures of tests/golden/real_checkpoint.json, decoded by PIL's libjpeg-turbo, which cv2 agrees with.

pip install pillow==13.0.0
usage: png_copies.py ASSETS DATA OUT     a picture that is not there is left out
"""
import json
import pathlib
import sys

from PIL import Image

assets, data, out = map(pathlib.Path, sys.argv[1:])
golden = json.loads((pathlib.Path(__file__).parents[1] / "golden/real_checkpoint.json").read_text())
out.mkdir(parents=True, exist_ok=True)
for part, root in (("assets", assets), ("data", data)):
    for picture in golden[part]["pictures"]:
        source = root / picture["path"]
        if source.is_file():
            name = picture["path"].rsplit(".", 1)[0].replace("/", "_")
            Image.open(source).convert("RGB").save(out / f"{name}.png")
