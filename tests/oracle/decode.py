"""Files that decoders read in their own ways, as Pillow and OpenCV read them: damaged and rare JPEGs, EXIF orientation,
BMPs of 16 bits and run lengths, PNGs of 16 bits.

pip install pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy; cjpeg of libjpeg-turbo 2.1.5 (Debian's libjpeg-turbo-progs)

    python tests/oracle/decode.py golden              rewrites tests/golden/image/decode.json
    python tests/oracle/decode.py flips DIR [COUNT]   flips one bit of the entropy-coded data of COUNT (1,000) JPEGs chosen from
                                                      DIR, seed 17, and compares with what the example decode_raw reads
    python tests/oracle/decode.py files FILE...       compares the files themselves
"""

import base64, io, json, os, random, re, struct, subprocess, sys, tempfile, zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from common import digest
from image import ROOT, smooth

WIDTH, HEIGHT = 43, 37


def pillow(data):
    """Pixels as stored, as timm and torchvision read them; None where it raises."""
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except Exception:
        return None


def opencv(data):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else image[..., ::-1]


def saved(image, format, **options):
    data = io.BytesIO()
    image.save(data, format, **options)
    return data.getvalue()


def picture():
    noise = np.random.default_rng(5).integers(-20, 20, (HEIGHT, WIDTH, 3))
    return Image.fromarray((smooth(HEIGHT, WIDTH).astype(int) + noise).clip(0, 255).astype(np.uint8))


def cjpeg(*options, scans=None):
    with tempfile.TemporaryDirectory() as temp:
        source = Path(temp) / "source.ppm"
        picture().save(source)
        if scans:
            (Path(temp) / "scans").write_text(scans)
            options = [*options, "-scans", f"{temp}/scans"]
        return subprocess.run([os.environ.get("CJPEG", "cjpeg"), "-quality", "85", *options, source], check=True, capture_output=True).stdout


def scan_start(data):
    at = 2
    while data[at + 1] != 0xDA:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def rare():
    """Kinds that are whole, and scans that were not all sent."""
    yield "arithmetic", cjpeg("-arithmetic")
    yield "arithmetic-progressive", cjpeg("-arithmetic", "-progressive")
    yield "arithmetic-restarts", cjpeg("-arithmetic", "-restart", "3B")
    single = "3x1 1x3 4x1 1x4 2x1 1x2 4x2 2x4 1x1 3x2 2x3".split()
    several = "1x1,2x2,2x2 1x1,2x1,1x1 2x1,1x2,1x2 1x2,2x1,2x1 2x2,2x1,1x2 2x2,1x1,2x2 1x1,1x1,2x2 2x2,1x2,2x1 3x1,1x1,3x1 4x1,2x1,1x1 3x2,1x1,1x1".split()
    for sampling in single + several:
        yield f"sampling-{sampling}", cjpeg("-sample", sampling)
        if sampling in several:
            yield f"sampling-{sampling}-progressive", cjpeg("-sample", sampling, "-progressive")
    yield "grey-2x2", cjpeg("-grayscale", "-sample", "2x2")
    yield "components-rgb", cjpeg("-rgb")
    scans = [
        "0 1 2: 0-0, 0, 0;\n0: 1-5, 0, 0;", "0 1 2: 0-0, 0, 1;", "0 1 2: 0-0, 0, 0;", "0;\n1;\n2;",
        "0 1 2: 0-0, 0, 0;\n0: 1-5, 0, 2;\n1: 1-63, 0, 1;", "0: 0-0, 0, 0;\n1: 0-0, 0, 0;\n2: 0-0, 0, 0;",
        "0 1 2: 0-0, 0, 1;\n0 1 2: 0-0, 1, 0;\n0: 1-63, 0, 1;",
    ]
    for index, script in enumerate(scans):
        for sampling in ["2x2", "1x1"]:
            yield f"scans-{index}-{sampling}", cjpeg("-sample", sampling, scans=script)


def colors():
    plain = cjpeg("-restart", "1B")
    at = plain.index(b"\xff\xe0")
    end = at + 2 + int.from_bytes(plain[at + 2 : at + 4], "big")
    adobe = lambda transform: b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])
    for transform in [0, 1, 2, 3, 255]:
        yield f"adobe-{transform}", plain[:at] + adobe(transform) + plain[end:]
        yield f"jfif-adobe-{transform}", plain[:end] + adobe(transform) + plain[end:]
    bare = bytearray(plain[:at] + plain[end:])
    yield "no-jfif", bytes(bare)
    frame, scan = bare.index(b"\xff\xc0"), bare.index(b"\xff\xda")
    for ids in [(82, 71, 66), (0, 1, 2), (3, 4, 5), (1, 1, 1)]:
        for number, id in enumerate(ids):
            bare[frame + 10 + 3 * number] = bare[scan + 5 + 2 * number] = id
        yield "ids-" + "-".join(map(str, ids)), bytes(bare)
    inks = np.asarray(picture().convert("CMYK")).copy()
    inks[..., 3] = np.arange(WIDTH)[None] * 6
    cmyk = saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=90)
    yield "cmyk", cmyk
    yield "cmyk-progressive", saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=90, progressive=True)
    at = cmyk.index(b"\xff\xee")
    yield "cmyk-no-adobe", cmyk[:at] + cmyk[at + 16 :]
    for transform in [1, 2, 3]:
        changed = bytearray(cmyk)
        changed[changed.index(b"Adobe") + 11] = transform
        yield f"cmyk-adobe-{transform}", bytes(changed)


def damaged():
    data = cjpeg("-restart", "1B")
    marks = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    for number in [0, 3, 6]:
        at = marks[number]
        other = lambda step: data[: at + 1] + bytes([0xD0 + (data[at + 1] - 0xD0 + step) % 8]) + data[at + 2 :]
        yield f"restart-{number}-missing", data[:at] + data[at + 2 :]
        yield f"restart-{number}-doubled", data[: at + 2] + data[at:]
        for step in [1, 2, 3, 4, 7]:
            yield f"restart-{number}-plus-{step}", other(step)
        yield f"restart-{number}-segment-missing", data[:at] + data[marks[number + 1] :]
        yield f"restart-{number}-segments-missing", data[:at] + data[marks[min(number + 3, len(marks) - 1)] :]
    yield "stray-in-scan", data[: marks[3]] + bytes([0x12, 0x34, 0x56, 0x78]) * 4 + data[marks[3] :]
    at = data.index(b"\xff\xc4")
    yield "fill-bytes", data[:at] + b"\xff\xff\xff" + data[at:]
    yield "stray-in-header", data[:at] + b"\0\x11\x22" + data[at:]
    at = data.index(b"\xff\xdd")
    yield "restarts-not-announced", data[:at] + data[at + 6 :]
    yield "restarts-announced-rarer", data[: at + 5] + b"\2" + data[at + 6 :]
    plain = cjpeg()
    at = plain.index(b"\xff\xda")
    yield "restarts-announced-only", plain[:at] + b"\xff\xdd\0\4\0\5" + plain[at:]
    at = data.index(b"\xff\xc0") + 5
    for name, height in [("taller", HEIGHT + 20), ("lower", HEIGHT - 20), ("height-0", 0)]:
        yield name, data[:at] + struct.pack(">H", height) + data[at + 2 :]
    yield "trailing-bytes", data + b"abc"
    yield "followed-by-another", data + data
    yield "zeros-before-end", data[:-2] + bytes(30) + data[-2:]
    yield "number-of-lines", data[:-2] + b"\xff\xdc\0\4" + struct.pack(">H", HEIGHT) + data[-2:]
    for name, whole in [("baseline", plain), ("progressive", cjpeg("-progressive")), ("arithmetic", cjpeg("-arithmetic"))]:
        for part in [0.4, 0.6, 0.8, 0.95]:
            yield f"{name}-cut-{part}", whole[: int(len(whole) * part)]
            yield f"{name}-cut-{part}-closed", whole[: int(len(whole) * part)] + b"\xff\xd9"
        yield f"{name}-no-end", whole[:-2]
        yield f"{name}-half-end", whole[:-1]
    start = scan_start(plain)
    at = start + (len(plain) - start) // 2
    left = len(plain) - at
    markers = "e8 0010,e8 ffff,e8 0001,fe 0010,db 0043,c4 0010,c0 0011,da 000c,d8,d0,d3,dd 0004,01,02,dc 0004,c8 0004,cc 0004,fd 0010,f0 0010,bf,d9"
    for marker in [*markers.split(","), f"e8 {left - 2:04x}", f"e8 {left - 4:04x}", f"e8 {left - 3:04x}"]:
        put = b"\xff" + bytes.fromhex(marker)
        yield f"marker-{marker.replace(' ', '-')}-in-scan", plain[:at] + put + plain[at + len(put) :]
    rng = random.Random(11)
    for kind, whole in [("baseline", plain), ("restarts", data), ("progressive", cjpeg("-progressive")), ("arithmetic", cjpeg("-arithmetic"))]:
        for number in range(8):
            start = scan_start(whole)
            flipped = bytearray(whole)
            flipped[rng.randrange(start, len(whole) - 2)] ^= 1 << rng.randrange(8)
            yield f"{kind}-flip-{number}", bytes(flipped)


def tiff(entries, order="<", offset=8, magic=42, beside=b""):
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", magic, offset) + bytes(offset - 8)
    rows = b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return head + struct.pack(order + "H", len(entries)) + rows + bytes(4) + beside


def orientations():
    """Name, TIFF structures of the EXIF segments."""
    short = lambda value, order="<", high=0: struct.pack(order + "HH", value, high)
    long = lambda value, order="<": struct.pack(order + "I", value)
    entry = lambda kind, count, value: (0x112, kind, count, value)
    kinds = {"byte": 1, "ascii": 2, "short": 3, "long": 4, "rational": 5, "sbyte": 6, "undefined": 7, "sshort": 8, "slong": 9, "float": 11, "type-0": 0, "type-13": 13}
    for name, kind in kinds.items():
        for order, ending in [("<", "little"), (">", "big")]:
            yield f"{name}-{ending}", [tiff([entry(kind, 1, long(6, order))], order)]
            yield f"{name}-{ending}-as-short", [tiff([entry(kind, 1, short(6, order))], order)]
    yield "float-6", [tiff([entry(11, 1, struct.pack("<f", 6))])]
    yield "digit-6", [tiff([entry(2, 2, b"6\0\0\0")])]
    for count in [0, 2]:
        yield f"count-{count}", [tiff([entry(3, count, short(6))])]
    yield "count-2-others", [tiff([entry(3, 2, short(6, high=3))])]
    yield "count-3", [tiff([entry(3, 3, long(26))], beside=struct.pack("<3H", 6, 3, 3))]
    for values in [(6, 3), (3, 6), (6, 9), (9, 6)]:
        name = "-".join(map(str, values))
        yield f"tags-{name}", [tiff([entry(3, 1, short(value)) for value in values])]
        yield f"blocks-{name}", [tiff([entry(3, 1, short(value))]) for value in values]
    good, other = tiff([entry(3, 1, short(6))]), tiff([(0x110, 3, 1, short(2))])
    broken = tiff([(0x11A, 5, 1, long(2000)), entry(3, 1, short(3))])
    yield "blocks-none-6", [other, good]
    yield "blocks-6-none", [good, other]
    yield "blocks-broken-6", [broken, good]
    yield "blocks-short-6", [b"II*", good]
    yield "blocks-unknown-6", [b"XX" + good[2:], good]
    yield "value-0", [tiff([entry(3, 1, short(0))])]
    yield "value-long", [tiff([entry(4, 1, long(0x60006))])]
    yield "magic-43", [tiff([entry(3, 1, short(6))], magic=43)]
    yield "offset-10", [tiff([entry(3, 1, short(6))], offset=10)]
    for tag, kind in [(0x10E, 2), (0x10F, 2), (0x110, 2), (0x100, 5), (0x103, 3)]:
        yield f"outside-before-{tag:x}", [tiff([(tag, kind, 500, long(4000)), entry(3, 1, short(6))])]
        yield f"inside-before-{tag:x}", [tiff([(tag, kind, 8, long(38)), entry(3, 1, short(6))], beside=b"abcdefg\0")]
    yield "outside-behind", [tiff([entry(3, 1, short(6)), (0x11A, 5, 1, long(2000))])]
    for tag in [0x11A, 0x11B, 0x131, 0x132, 0x13E, 0x13F, 0x211, 0x214, 0x8298, 0x128, 0x213, 0x8769]:
        yield f"unsorted-{tag:x}", [tiff([(tag, 5, 9, long(2000)), entry(3, 1, short(6))])]
    yield "entry-cut", [good[:-6]]
    yield "entries-fewer", [good[:8] + b"\5\0" + good[10:]]
    yield "upright-only-in-second-directory", [tiff([(0x110, 3, 1, short(2))])[:-4] + struct.pack("<IH", 26, 1) + struct.pack("<HHI", 0x112, 3, 1) + short(6) + bytes(4)]


def exif():
    plain = cjpeg("-grayscale", "-sample", "1x1")
    segment = lambda head, data: b"\xff\xe1" + struct.pack(">H", 2 + len(head) + len(data)) + head + data
    for name, blocks in orientations():
        yield f"exif-{name}", plain[:2] + b"".join(segment(b"Exif\0\0", block) for block in blocks) + plain[2:]
    good, other = tiff([(0x112, 3, 1, b"\6\0\0\0")]), tiff([(0x112, 3, 1, b"\3\0\0\0")])
    frame, scan = plain.index(b"\xff\xc0"), plain.index(b"\xff\xda")
    yield "exif-behind-tables", plain[:scan] + segment(b"Exif\0\0", good) + plain[scan:]
    yield "exif-behind-pixels", plain[:-2] + segment(b"Exif\0\0", good) + plain[-2:]
    yield "exif-behind-xmp", plain[:2] + segment(b"http://ns.adobe.com/xap/1.0/\0", b"<x/>") + segment(b"Exif\0\0", good) + plain[2:]
    yield "exif-no-zeros", plain[:2] + segment(b"Exif\0\xff", good) + plain[2:]
    small = picture().resize((9, 7))
    png, webp = saved(small, "PNG"), saved(small, "WEBP", lossless=True)
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    before, behind = png.index(b"IDAT") - 4, png.index(b"IEND") - 4
    for name, blocks in [("6", [good]), ("6-3", [good, other]), ("with-prefix", [b"Exif\0\0" + good]), ("long", [tiff([(0x112, 4, 1, b"\6\0\0\0")])])]:
        yield f"exif-{name}.png", png[:before] + b"".join(chunk(b"eXIf", block) for block in blocks) + png[before:]
        parts = b"".join(b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2) for block in blocks)
        for flags, word in [(8, ""), (0, "-not-announced")]:
            size = lambda side: struct.pack("<I", side - 1)[:3]
            body = b"WEBPVP8X" + struct.pack("<IB3x", 10, flags) + size(9) + size(7) + webp[12:] + parts
            yield f"exif-{name}{word}.webp", b"RIFF" + struct.pack("<I", len(body)) + body
    yield "exif-behind-pixels.png", png[:behind] + chunk(b"eXIf", good) + png[behind:]


def bmps():
    rng = np.random.default_rng(3)
    masks = lambda *values: struct.pack(f"<{len(values)}I", *values)
    levels = np.arange(0, 65536, 97, dtype="<u2")[: 15 * 16].reshape(16, 15)
    rows = np.hstack([levels, np.zeros((16, 1), "<u2")]).tobytes()
    palette = b"".join(bytes(rng.integers(0, 256, 3, dtype=np.uint8)) + b"\0" for _ in range(16))

    def bmp(bits, compression, pixels, width, height, behind=b"", header=40, fields=b"", colors=0):
        offset = 14 + header + len(behind)
        head = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(pixels), 0, 0, colors, 0) + fields
        return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + head + behind + pixels

    m565, m555 = masks(0xF800, 0x7E0, 0x1F), masks(0x7C00, 0x3E0, 0x1F)
    yield "555", bmp(16, 0, rows, 15, 16)
    yield "555-top-down", bmp(16, 0, rows, 15, -16)
    yield "555-masks", bmp(16, 3, rows, 15, 16, m555)
    yield "565", bmp(16, 3, rows, 15, 16, m565)
    yield "565-top-down", bmp(16, 3, rows, 15, -16, m565)
    yield "565-v4", bmp(16, 3, rows, 15, 16, header=108, fields=m565 + bytes(56))
    yield "555-v4", bmp(16, 3, rows, 15, 16, header=108, fields=m555 + masks(0x8000) + bytes(52))
    end, line = b"\0\1", b"\0\0"
    run8 = {
        "delta": bytes([10, 3, 0, 2, 6, 0, 16, 9]) + line, "literal": bytes([10, 3, 0, 5, 1, 2, 3, 4, 5, 0, 17, 8]) + line,
        "literal-even": bytes([10, 3, 0, 4, 1, 2, 3, 4, 18, 8]) + line,
    }
    for name, row in run8.items():
        yield f"run8-{name}", bmp(8, 1, row * 32 + end, 32, 32, palette, colors=16)
    yield "run8-delta-rows", bmp(8, 1, bytes([10, 3, 0, 2, 2, 3, 10, 9, 0, 0]) * 7 + end, 32, 32, palette, colors=16)
    yield "run8-early", bmp(8, 1, bytes([10, 3, 0, 0]) * 10 + end, 32, 32, palette, colors=16)
    yield "run8-beyond-row", bmp(8, 1, bytes([30, 3, 5, 7, 0, 0]) * 32 + end, 32, 32, palette, colors=16)
    yield "run8-no-line-ends", bmp(8, 1, bytes([32, 3]) * 32 + end, 32, 32, palette, colors=16)
    yield "run8-no-end", bmp(8, 1, run8["literal"] * 32, 32, 32, palette, colors=16)
    yield "run8-more-lines", bmp(8, 1, bytes([32, 3, 0, 0]) * 40 + end, 32, 32, palette, colors=16)
    yield "run8-top-down", bmp(8, 1, run8["delta"] * 32 + end, 32, -32, palette, colors=16)
    yield "run4-delta", bmp(4, 2, bytes([10, 0x35, 0, 2, 6, 0, 16, 0x79, 0, 0]) * 32 + end, 32, 32, palette, colors=16)
    yield "run4-literal", bmp(4, 2, bytes([10, 0x35, 0, 6, 0x12, 0x34, 0x56, 0, 16, 0x79, 0, 0]) * 32 + end, 32, 32, palette, colors=16)
    yield "run4-odd", bmp(4, 2, bytes([11, 0x35, 0, 5, 0x12, 0x34, 0x50, 0, 16, 0x79, 0, 0]) * 32 + end, 32, 32, palette, colors=16)
    values = rng.integers(0, 16, (16, 16), dtype=np.uint8).tobytes()
    yield "palette-8", bmp(8, 0, values, 16, 16, palette, colors=16)
    yield "palette-4", bmp(4, 0, rng.integers(0, 256, (15, 8), dtype=np.uint8).tobytes(), 15, 15, palette, colors=16)
    yield "palette-1", bmp(1, 0, rng.integers(0, 256, (31, 4), dtype=np.uint8).tobytes(), 31, 31, palette[:8], colors=2)
    colors = rng.integers(0, 256, (8, 8, 4), dtype=np.uint8).tobytes()
    yield "32", bmp(32, 0, colors, 8, 8)
    yield "32-masks", bmp(32, 3, colors, 8, 8, masks(0xFF0000, 0xFF00, 0xFF))
    yield "24-top-down", bmp(24, 0, colors[: 8 * 24], 8, -8)


def pngs():
    rng = np.random.default_rng(8)
    deep = rng.integers(0, 65536, (6, 7, 4), dtype=np.uint16)
    deep[0] = np.arange(28, dtype=np.uint16).reshape(7, 4) * 20

    def png(pixels, color, bits, chunks=()):
        rows = b"".join(b"\0" + row.tobytes() for row in pixels)
        chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        head = struct.pack(">IIBBBBB", 7, 6, bits, color, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunk(*one) for one in chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    big = deep.astype(">u2")
    yield "grey-16", png(big[..., 0], 0, 16)
    yield "grey-16-transparent", png(big[..., 0], 0, 16, [(b"tRNS", b"\0\x14")])
    yield "grey-alpha-16", png(big[..., :2], 4, 16)
    yield "rgb-16", png(big[..., :3], 2, 16)
    yield "rgb-16-transparent", png(big[..., :3], 2, 16, [(b"tRNS", bytes(6))])
    yield "rgba-16", png(big, 6, 16)
    small = rng.integers(0, 256, (6, 7, 4), dtype=np.uint8)
    yield "grey-8-transparent", png(small[..., 0], 0, 8, [(b"tRNS", b"\0" + small[0, 0, :1].tobytes())])
    yield "grey-alpha-8", png(small[..., :2], 4, 8)
    yield "rgb-8-transparent", png(small[..., :3], 2, 8, [(b"tRNS", bytes(6))])
    yield "rgba-8", png(small, 6, 8)
    palette = (b"PLTE", rng.integers(0, 256, 48, dtype=np.uint8).tobytes())
    for bits in [1, 2, 4, 8]:
        width = -(-7 * bits // 8)
        packed = rng.integers(0, 256 if bits < 8 else 16, (6, width), dtype=np.uint8)
        yield f"palette-{bits}", png(packed, 3, bits, [(b"PLTE", palette[1][: 3 << min(bits, 4)])])
        yield f"palette-{bits}-transparent", png(packed, 3, bits, [(b"PLTE", palette[1][: 3 << min(bits, 4)]), (b"tRNS", b"\0\x80")])
        if bits < 8:
            yield f"grey-{bits}", png(packed, 0, bits)
            yield f"grey-{bits}-transparent", png(packed, 0, bits, [(b"tRNS", b"\0\1")])
    yield "grey-16-gamma", png(big[..., 0], 0, 16, [(b"gAMA", struct.pack(">I", 100000))])


def cases():
    for source, ending in [(rare, "jpg"), (colors, "jpg"), (damaged, "jpg"), (exif, "jpg"), (bmps, "bmp"), (pngs, "png")]:
        for name, data in source():
            yield name if name.endswith((".png", ".webp")) else f"{name}.{ending}", data


def golden(file, cases, opencv=opencv):
    lines, counts = [], {"both": 0, "Pillow": 0, "OpenCV": 0, "neither": 0, "equal": 0}
    for name, data in cases:
        read = {"pillow": pillow(data), "opencv": opencv(data)}
        both = all(pixels is not None for pixels in read.values())
        counts["both" if both else "Pillow" if read["pillow"] is not None else "OpenCV" if read["opencv"] is not None else "neither"] += 1
        counts["equal"] += both and np.array_equal(*read.values())
        told = {who: pixels is not None and [pixels.shape[1], pixels.shape[0], digest(np.ascontiguousarray(pixels).tobytes())] or None for who, pixels in read.items()}
        lines.append(json.dumps({"name": name, **told, "file": base64.b64encode(data).decode()}, separators=(",", ":")))
    (ROOT / "tests/golden/image" / file).write_text('{"files": [\n' + ",\n".join(lines) + "\n]}\n")
    print(file, len(lines), "files; read by", counts)


def ours(files, reference):
    """Of each file: warning and pixels, or the error."""
    results = []
    for start in range(0, len(files), 50):
        command = ["cargo", "run", "-q", "-p", "candle-vision", "--example", "decode_raw", "--", reference, *files[start : start + 50]]
        out = io.BytesIO(subprocess.run(command, check=True, cwd=ROOT, capture_output=True).stdout)
        for _ in files[start : start + 50]:
            first, *rest = out.readline().decode().rstrip("\n").split(" ", 2)
            if first == "error":
                results.append((" ".join(rest), None))
            else:
                width, height = int(first), int(rest[0])
                results.append((rest[1], np.frombuffer(out.read(3 * width * height), np.uint8).reshape(height, width, 3)))
    return results


def compare(files):
    read = {"pillow": pillow, "opencv": opencv}
    data = [Path(file).read_bytes() for file in files]
    wrong = 0
    for reference, decode in read.items():
        counts = {}
        for file, content, (word, pixels) in zip(files, data, ours(files, reference)):
            wanted = decode(content)
            kind = "refused by both" if wanted is None and pixels is None else "read by the reference only" if pixels is None else "read by us only" if wanted is None else "equal" if np.array_equal(wanted, pixels) else "different"
            kind += ", with a warning" if pixels is not None and word else ""
            counts[kind] = counts.get(kind, 0) + 1
            if "only" in kind or "different" in kind:
                wrong += 1
                print(" ", reference, Path(file).name, kind, word)
        print(f"{reference}: {counts}")
    return wrong == 0


def flips(folder, count):
    sources = sorted(folder.rglob("*.jpg"))
    rng = random.Random(17)
    with tempfile.TemporaryDirectory() as temp:
        files = []
        for number in range(count):
            data = bytearray(rng.choice(sources).read_bytes())
            data[rng.randrange(scan_start(data), len(data) - 2)] ^= 1 << rng.randrange(8)
            files.append(f"{temp}/{number}.jpg")
            Path(files[-1]).write_bytes(data)
        return compare(files)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["golden"]:
            golden("decode.json", cases())
        case ["flips", folder, *count]:
            sys.exit(not flips(Path(folder), int(count[0]) if count else 1000))
        case ["files", *files]:
            sys.exit(not compare(files))
        case _:
            sys.exit(__doc__)
