"""TIFFs and GIFs, as Pillow and as Ultralytics 8.4.190 (by OpenCV) read them.

pip install pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy
usage: more_formats.py          writes tests/golden/image/more_formats.json
"""
import struct

import cv2
import numpy as np
from PIL import Image

from decode import golden, opencv, saved
from image import smooth


def ultralytics(data):
    """Of a coloured TIFF the first page with its bits, of which the high byte counts; the rest as OpenCV reads it."""
    image = None
    if data[:4] in (b"II*\0", b"MM\0*"):
        read, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        image = pages[0][..., :3] if read and pages[0].ndim == 3 else None
    if image is None:
        return opencv(data)
    return (image >> 8 if image.dtype == np.uint16 else image).astype(np.uint8)[..., ::-1]


def written(order, tags, data):
    """A TIFF without compression. `tags`: the values of each, as 16-bit numbers; `data`: its strips or tiles."""
    places = (324, 325) if 322 in tags else (273, 279)
    at = 8 + 2 + 12 * (len(tags) + 2) + 4
    fields = {tag: ("H", values) for tag, values in tags.items()} | {tag: ("I", [0] * len(data)) for tag in places}
    for tag, (kind, values) in fields.items():
        size = struct.calcsize(kind) * len(values)
        fields[tag] = kind, values, (at if size > 4 else None)
        at += size if size > 4 else 0
    starts = [at + sum(map(len, data[:index])) for index in range(len(data))]
    body = b""
    for tag, (kind, values, place) in sorted(fields.items()):
        values = {places[0]: starts, places[1]: [len(part) for part in data]}.get(tag, values)
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        fields[tag] = place, packed
        value = packed.ljust(4, b"\0") if place is None else struct.pack(order + "I", place)
        body += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + value
    outside = b"".join(packed for place, packed in fields.values() if place is not None)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(fields))
    return head + body + bytes(4) + outside + b"".join(data)


def tiff_kinds():
    """What the tags can say of levels. Of those that both read wrongly or in a way of their own, none: 16 bits in planes, CIE
    Lab, YCbCr outside JPEG."""
    rng = np.random.default_rng(2)
    width, height = 9, 7
    common = {256: [width], 257: [height]}
    packed = lambda values, bits: b"".join(np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :]).tobytes() for row in values)
    for bits in [1, 2, 4, 8]:
        values = rng.integers(0, 1 << bits, (height, width), dtype=np.uint8)
        tags = common | {258: [bits], 277: [1]}
        for order, end in [("<", ""), (">", "-big-endian")]:
            palette = rng.integers(0, 65536, 3 << bits).tolist()
            yield f"palette-{bits}{end}", written(order, tags | {262: [3], 320: palette}, [packed(values, bits)])
        for photometric, zero in [(0, "white"), (1, "black")]:
            yield f"grey-{bits}-{zero}", written("<", tags | {262: [photometric]}, [packed(values, bits)])
    yield "palette-low", written("<", tags | {262: [3], 320: [level >> 8 for level in palette]}, [values.tobytes()])
    yield "palette-turned", written("<", tags | {262: [3], 320: palette, 274: [6]}, [values.tobytes()])
    pairs = np.dstack([values, values[::-1]]).tobytes()
    yield "palette-alpha", written("<", tags | {258: [8, 8], 277: [2], 338: [2], 262: [3], 320: palette}, [pairs])
    for bits in [8, 16]:
        deep = rng.integers(0, 1 << bits, (height, width, 5))
        deep[0, :, 3], deep[1, :, 3], deep[:2, :, 1] = 0, (1 << bits) - 1, deep[:2, :, 3]
        for order, end in [("<", ""), (">", "-big-endian")][: bits // 8]:
            levels = deep.astype(f"{order}u{bits // 8}")
            tags = lambda samples, photometric, more={}: common | {258: [bits] * samples, 262: [photometric], 277: [samples]} | more
            for photometric, zero in [(0, "white"), (1, "black")]:
                yield f"grey-{bits}-{zero}{end}", written(order, tags(1, photometric), [levels[..., 0].tobytes()])
                for alpha in [0, 1, 2]:
                    yield f"grey-alpha-{bits}-{alpha}-{zero}{end}", written(order, tags(2, photometric, {338: [alpha]}), [levels[..., :2].tobytes()])
            for alpha in [0, 1, 2]:
                yield f"rgba-{bits}-{alpha}{end}", written(order, tags(4, 2, {338: [alpha]}), [levels[..., :4].tobytes()])
            yield f"grey-of-two-{bits}{end}", written(order, tags(2, 1), [levels[..., :2].tobytes()])
            yield f"rgb-of-four-{bits}{end}", written(order, tags(4, 2), [levels[..., :4].tobytes()])
            yield f"cmyk-{bits}{end}", written(order, tags(4, 5), [levels[..., :4].tobytes()])
        if bits == 8:
            yield "rgb-of-five", written("<", tags(5, 2, {338: [0, 0]}), [levels.tobytes()])
            for name, samples, photometric, more in [("grey-alpha", 2, 1, {338: [2]}), ("rgb", 3, 2, {}), ("rgba", 4, 2, {338: [2]}), ("cmyk", 4, 5, {})]:
                planes = [levels[..., index].tobytes() for index in range(samples)]
                yield f"{name}-planes", written("<", tags(samples, photometric, {284: [2]} | more), planes)
    for name, bits, samples, photometric in [("grey", 8, 1, 1), ("rgb", 8, 3, 2), ("palette", 8, 1, 3), ("bilevel", 1, 1, 0)]:
        tiles = rng.integers(0, 256, (4, 16, 16 * bits * samples // 8), dtype=np.uint8)
        more = {320: palette} if photometric == 3 else {}
        tags = {256: [20], 257: [18], 258: [bits] * samples, 262: [photometric], 277: [samples], 322: [16], 323: [16]}
        yield f"tiles-{name}", written("<", tags | more, [tile.tobytes() for tile in tiles])
    colors = Image.fromarray(smooth(33, 35))
    for mode in ["L", "RGB", "YCbCr"]:
        yield f"jpeg-{mode.lower()}", saved(colors.convert(mode), "TIFF", compression="jpeg", quality=60)
    yield "jpeg-strips", saved(colors, "TIFF", compression="jpeg", quality=60, tiffinfo={278: 16})
    small = colors.resize((width, height))
    for compression in ["tiff_lzw", "tiff_adobe_deflate", "packbits"]:
        yield f"palette-{compression}", saved(small.quantize(16), "TIFF", compression=compression)
        yield f"grey-alpha-{compression}", saved(small.convert("RGBA").convert("LA"), "TIFF", compression=compression)
        yield f"cmyk-{compression}", saved(small.convert("CMYK"), "TIFF", compression=compression)
    numbers = rng.integers(-300, 600, (height, width))
    yield "integers", saved(Image.fromarray(numbers.astype(np.int32)), "TIFF")
    yield "floats-lzw", saved(Image.fromarray(numbers.astype(np.float32) * 0.7), "TIFF", compression="tiff_lzw")


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

    for order, name in [("<", "little"), (">", "big")]:
        yield f"rgb-16-{name}-endian", written(order, {256: [17], 257: [13], 258: [16] * 3, 262: [2], 277: [3]}, [deep[..., :3].astype(order + "u2").tobytes()])
    yield "grey-white-is-zero", written("<", {256: [17], 257: [13], 258: [8], 262: [0], 277: [1]}, [colors[..., 0].tobytes()])


def gifs():
    rows = (np.mgrid[0:12, 0:15].sum(0)[..., None] * np.array([8, 6, 4]) % 256).astype(np.uint8)
    image = Image.fromarray(rows).quantize(16)
    yield "plain", saved(image, "GIF")
    yield "interlaced", saved(image, "GIF", interlace=1)
    yield "grey", saved(Image.fromarray(rows[..., 0]), "GIF")
    yield "frames", saved(image, "GIF", save_all=True, append_images=[image.rotate(180), image.rotate(90)], duration=50)


def main():
    cases = [(f"{name}.tif", data) for source in (tiffs, tiff_kinds) for name, data in source()]
    cases += [(f"{name}.gif", data) for name, data in gifs()]
    golden("more_formats.json", cases, ultralytics)


if __name__ == "__main__":
    main()
