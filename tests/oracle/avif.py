"""AVIFs, as Pillow and as Ultralytics 8.4.190 (by Pillow too, turned upright) read them.

pip install pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy
usage: avif.py          writes tests/golden/image/avif.json, encoded by the libavif of OpenCV's wheel: Pillow's writes 8 bits only
"""
import ctypes
import io
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from decode import golden, opencv, saved
from image import smooth

LIBRARY = next(Path(cv2.__file__).parent.parent.glob("opencv_python_headless.libs/libavif*"))
YUV444, YUV422, YUV420, YUV400 = 1, 2, 3, 4
LIMITED, FULL = 0, 1
CLAP, IROT, IMIR = 2, 4, 8
U32 = ctypes.c_uint32


class Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class AvifImage(ctypes.Structure):
    _fields_ = [
        ("width", U32), ("height", U32), ("depth", U32), ("format", U32), ("range", U32), ("position", U32),
        ("planes", ctypes.c_void_p * 3), ("strides", U32 * 3), ("owns", U32),
        ("alpha", ctypes.c_void_p), ("alpha_stride", U32), ("owns_alpha", U32), ("premultiplied", U32), ("icc", Bytes),
        ("primaries", ctypes.c_uint16), ("transfer", ctypes.c_uint16), ("matrix", ctypes.c_uint16), ("clli", ctypes.c_uint16 * 2),
        ("transforms", U32), ("pasp", U32 * 2), ("clap", U32 * 8), ("irot", ctypes.c_uint8), ("imir", ctypes.c_uint8),
    ]


class AvifEncoder(ctypes.Structure):
    _fields_ = [
        ("codec", U32), ("threads", ctypes.c_int), ("speed", ctypes.c_int), ("interval", ctypes.c_int), ("timescale", ctypes.c_uint64),
        ("repetitions", ctypes.c_int), ("layers", U32), ("quality", ctypes.c_int), ("quality_alpha", ctypes.c_int),
    ]


def library():
    lib = ctypes.CDLL(str(LIBRARY))
    lib.avifImageCreate.restype = ctypes.POINTER(AvifImage)
    lib.avifEncoderCreate.restype = ctypes.POINTER(AvifEncoder)
    lib.avifEncoderAddImage.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, U32]
    return lib


LIB = library()


def ultralytics(data):
    """What `_imread_pil` of ultralytics.utils.patches makes of a file named .avif."""
    try:
        return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    except Exception:
        return None


def image(planes, depth=8, format=YUV444, range=FULL, primaries=1, matrix=6, alpha=None, premultiplied=False, **more):
    """An avifImage of levels as they are: Y, U and V, of which monochrome has the first."""
    height, width = planes[0].shape
    made = LIB.avifImageCreate(width, height, depth, format)
    it = made.contents
    it.range, it.primaries, it.transfer, it.matrix, it.premultiplied = range, primaries, 13, matrix, premultiplied
    LIB.avifImageAllocatePlanes(made, 1 if alpha is None else 3)
    kind = np.uint8 if depth == 8 else np.uint16
    sources = [*zip(it.planes, it.strides, planes)] + ([(it.alpha, it.alpha_stride, alpha)] if alpha is not None else [])
    for address, stride, levels in sources:
        for index, row in enumerate(levels.astype(kind)):
            ctypes.memmove(address + index * stride, row.tobytes(), row.nbytes)
    for name, value in more.items():
        if name == "clap":
            it.clap[:] = value
        else:
            setattr(it, name, value)
    return made


def encoded(images, columns=1, quality=100):
    encoder = LIB.avifEncoderCreate()
    encoder.contents.quality = encoder.contents.quality_alpha = quality
    encoder.contents.threads = 1
    if len(images) == 1:
        result = LIB.avifEncoderAddImage(encoder, images[0], 1, 2)
    else:
        cells = (ctypes.c_void_p * len(images))(*[ctypes.cast(image, ctypes.c_void_p).value for image in images])
        result = LIB.avifEncoderAddImageGrid(encoder, columns, len(images) // columns, cells, 2)
    out = Bytes()
    result = result or LIB.avifEncoderFinish(encoder, ctypes.byref(out))
    assert result == 0, result
    data = ctypes.string_at(out.data, out.size)
    LIB.avifRWDataFree(ctypes.byref(out))
    LIB.avifEncoderDestroy(encoder)
    for image in images:
        LIB.avifImageDestroy(image)
    return data


def noise(rng, height, width, format, depth, range):
    """Levels of all colours, among them such as lie outside the range."""
    halves = {YUV444: (height, width), YUV422: (height, -(-width // 2)), YUV420: (-(-height // 2), -(-width // 2)), YUV400: (0, 0)}[format]
    return [rng.integers(0, 1 << depth, shape) for shape in ((height, width), halves, halves)][: 1 if format == YUV400 else 3]


def cases():
    rng = np.random.default_rng(4)
    formats = {"444": YUV444, "422": YUV422, "420": YUV420, "400": YUV400}
    for name, format in formats.items():
        for depth in [8, 10, 12]:
            for range, word in [(FULL, "full"), (LIMITED, "limited")]:
                for width, height in [(9, 7), (8, 6)]:
                    if depth == 8 or (width == 9 and range == FULL):
                        options = dict(depth=depth, format=format, range=range)
                        yield f"{name}-{depth}-{word}-{width}", encoded([image(noise(rng, height, width, format, depth, range), **options)])
            alpha = rng.integers(0, 1 << depth, (7, 9))
            alpha[0], alpha[1], alpha[2, :4] = 0, (1 << depth) - 1, 1
            for premultiplied in [False, True]:
                word = "-premultiplied" if premultiplied else ""
                yield f"{name}-{depth}-alpha{word}", encoded([image(noise(rng, 7, 9, format, depth, FULL), depth, format, alpha=alpha, premultiplied=premultiplied)])
    for matrix, primaries in [(0, 1), (1, 1), (2, 2), (4, 4), (5, 5), (7, 7), (8, 1), (9, 9), (12, 1), (12, 9), (12, 6)]:
        for range, word in [(FULL, "full"), (LIMITED, "limited")]:
            for name, format in formats.items():
                if matrix == 0 and name != "444" or matrix == 8 and range == LIMITED or matrix in (2, 5, 12) and name != "420":
                    continue
                options = dict(format=format, range=range, matrix=matrix, primaries=primaries)
                yield f"matrix-{matrix}-{primaries}-{name}-{word}", encoded([image(noise(rng, 7, 9, format, 8, range), **options)])
    yield "matrix-0-10-444", encoded([image(noise(rng, 7, 9, YUV444, 10, FULL), depth=10, matrix=0)])
    yield "matrix-7-10-420", encoded([image(noise(rng, 7, 9, YUV420, 10, FULL), depth=10, matrix=7, format=YUV420)])
    for width, height in [(1, 1), (2, 1), (1, 2), (1, 3), (3, 1), (2, 2), (3, 3)]:
        for name in ["422", "420"]:
            yield f"size-{width}x{height}-{name}", encoded([image(noise(rng, height, width, formats[name], 8, FULL), format=formats[name])])
    small = lambda **more: encoded([image(noise(rng, 5, 8, YUV420, 8, FULL), format=YUV420, **more)], quality=60)
    for angle in [0, 1, 2, 3]:
        yield f"irot-{angle}", small(transforms=IROT, irot=angle)
        for axis in [0, 1]:
            yield f"irot-{angle}-imir-{axis}", small(transforms=IROT | IMIR, irot=angle, imir=axis)
    for axis in [0, 1]:
        yield f"imir-{axis}", small(transforms=IMIR, imir=axis)
    yield "clap", small(transforms=CLAP, clap=[4, 1, 2, 1, 0, 1, 0, 1])
    pictures = smooth(37, 43)
    for quality in [30, 80]:
        for subsampling in ["4:2:0", "4:4:4"]:
            yield f"pillow-{subsampling.replace(':', '')}-{quality}", saved(Image.fromarray(pictures), "AVIF", quality=quality, subsampling=subsampling)
    tags = Image.Exif()
    for orientation in [3, 6]:
        tags[274], tags[305] = orientation, "oracle"
        yield f"pillow-exif-{orientation}", saved(Image.fromarray(pictures[:9]), "AVIF", exif=tags)
    turned = image(noise(rng, 5, 8, YUV420, 8, FULL), format=YUV420)
    exif = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHHI", 274, 3, 1, 6, 0, 0)
    LIB.avifImageSetMetadataExif(turned, exif, ctypes.c_size_t(len(exif)))
    turned.contents.transforms = 0
    yield "exif-6-alone", encoded([turned])
    frames = [Image.fromarray(np.roll(pictures, shift, 1)) for shift in (5, 10)]
    yield "pillow-frames", saved(Image.fromarray(pictures), "AVIF", save_all=True, append_images=frames)
    large = smooth(100, 180)
    for word, columns, parts in [("2x2", 2, [(0, 0), (0, 96), (64, 0), (64, 96)]), ("1x2", 2, [(0, 0), (0, 96)])]:
        cells = []
        for top, left in parts:
            levels = [plane.astype(int) for plane in large[top : top + 64, left : left + 96].transpose(2, 0, 1)]
            cells.append(image([levels[0], levels[1][::2, ::2], levels[2][::2, ::2]], format=YUV420))
        yield f"grid-{word}", encoded(cells, columns, quality=40)


def main():
    files = [(f"{name}.avif", data) for name, data in cases()]
    golden("avif.json", files, ultralytics)
    apart = {}
    for name, data in files:
        ours, theirs = Image.open(io.BytesIO(data)).convert("RGB"), opencv(data)
        ours = np.asarray(ours)
        gap = "refused" if theirs is None else "of another size" if theirs.shape != ours.shape else int(np.abs(ours.astype(int) - theirs).max())
        apart.setdefault(gap, []).append(name)
    for gap, names in apart.items():
        print("cv2.imdecode and Pillow, levels apart:", gap, len(names), *names[:40])


if __name__ == "__main__":
    main()
