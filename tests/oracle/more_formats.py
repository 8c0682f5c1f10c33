"""TIFFs and GIFs, as Pillow and as Ultralytics 8.4.190 (by OpenCV) read them.

pip install pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy
usage: more_formats.py          writes tests/golden/image/more_formats.json
"""
import struct

import cv2
import numpy as np
from PIL import Image

from decode import golden, opencv, saved


def ultralytics(data):
    """Of a coloured TIFF the first page with its bits, of which the high byte counts; the rest as OpenCV reads it."""
    image = None
    if data[:4] in (b"II*\0", b"MM\0*"):
        read, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        image = pages[0][..., :3] if read and pages[0].ndim == 3 else None
    if image is None:
        return opencv(data)
    return (image >> 8 if image.dtype == np.uint16 else image).astype(np.uint8)[..., ::-1]


def tiffs():
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    image = Image.fromarray(colors)
    for compression in [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"]:
        yield f"rgb-{compression or 'plain'}", saved(image, "TIFF", compression=compression)
    yield "rgb-predicted", saved(image, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield "grey", saved(image.convert("L"), "TIFF")
    yield "bilevel", saved(image.convert("1"), "TIFF")
    yield "bilevel-fax", saved(image.convert("1"), "TIFF", compression="group4")
    yield "palette", saved(image.quantize(16), "TIFF")
    yield "rgba", saved(Image.fromarray(np.dstack([colors, colors[..., 0]])), "TIFF")
    yield "grey-alpha", saved(image.convert("RGBA").convert("LA"), "TIFF")
    yield "cmyk", saved(Image.fromarray(np.dstack([colors, colors[..., 1]]), "CMYK"), "TIFF")
    yield "grey-16", saved(Image.fromarray(rng.integers(0, 65536, (13, 17)).astype(np.uint16)), "TIFF")
    yield "grey-float", saved(Image.fromarray(rng.random((13, 17)).astype(np.float32) * 300), "TIFF")
    for orientation in range(1, 9):
        yield f"orientation-{orientation}", saved(image, "TIFF", tiffinfo={274: orientation})
    yield "bigtiff", saved(image, "TIFF", big_tiff=True)
    yield "pages", saved(image, "TIFF", save_all=True, append_images=[image.rotate(180)])
    yield "pages-grey", saved(image.convert("L"), "TIFF", save_all=True, append_images=[image.convert("L").rotate(180)])
    yield "pages-of-sizes", saved(image, "TIFF", save_all=True, append_images=[image.resize((9, 9))])
    deep = rng.integers(0, 65536, (13, 17, 4)).astype(np.uint16)
    yield "rgb-16-lzw", cv2.imencode(".tif", deep[..., :3])[1].tobytes()
    yield "rgba-16", cv2.imencode(".tif", deep)[1].tobytes()

    def written(order, bits, photometric, samples, data, more=()):
        """A TIFF of one strip, without compression."""
        fields = [(256, 17), (257, 13), (258, bits), (259, 1), (262, photometric), (273, None), (277, samples), (278, 13), (279, len(data)), *more]
        end = 8 + 2 + 12 * len(fields) + 4
        depths = struct.pack(f"{order}{samples}H", *[bits] * samples) if samples > 2 else b""
        body = b""
        for tag, value in fields:
            if tag == 258 and depths:
                body += struct.pack(order + "HHII", tag, 3, samples, end)
            elif tag == 273:
                body += struct.pack(order + "HHII", tag, 4, 1, end + len(depths))
            elif tag == 279:
                body += struct.pack(order + "HHII", tag, 4, 1, value)
            else:
                body += struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
        head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
        return head + struct.pack(order + "H", len(fields)) + body + bytes(4) + depths + data

    for order, name in [("<", "little"), (">", "big")]:
        yield f"rgb-16-{name}-endian", written(order, 16, 2, 3, deep[..., :3].astype(order + "u2").tobytes())
    yield "rgb-planes", written("<", 8, 2, 3, colors.tobytes(), [(284, 1)])
    yield "grey-white-is-zero", written("<", 8, 0, 1, colors[..., 0].tobytes())


def gifs():
    rows = (np.mgrid[0:12, 0:15].sum(0)[..., None] * np.array([8, 6, 4]) % 256).astype(np.uint8)
    image = Image.fromarray(rows).quantize(16)
    yield "plain", saved(image, "GIF")
    yield "interlaced", saved(image, "GIF", interlace=1)
    yield "grey", saved(Image.fromarray(rows[..., 0]), "GIF")
    yield "frames", saved(image, "GIF", save_all=True, append_images=[image.rotate(180), image.rotate(90)], duration=50)


def main():
    cases = [(f"{name}.tif", data) for name, data in tiffs()] + [(f"{name}.gif", data) for name, data in gifs()]
    golden("more_formats.json", cases, ultralytics)


if __name__ == "__main__":
    main()
