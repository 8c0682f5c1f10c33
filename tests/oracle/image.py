"""Golden values of candle-vision's image module, from PIL, cv2, timm and Ultralytics.

pip install pillow==13.0.0 opencv-python-headless==5.0.0.93 timm==1.0.31 ultralytics==8.4.190 torch numpy

    python tests/oracle/image.py golden            rewrites tests/golden/image
    python tests/oracle/image.py parity DIR        compares whole images (any folder of them, searched in depth):
                                                   runs the example preprocess_parity of candle-vision and prints a table
"""

import argparse, io, json, random, shutil, subprocess, sys, tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from common import digest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/image"
FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def synthetic(seed, height, width):
    y, x, channel = np.mgrid[0:height, 0:width, 0:3].astype(np.int64)
    h = (np.arange(height * width * 3, dtype=np.uint64).reshape(height, width, 3) * 2654435761 + seed * 40503) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    h ^= h >> 13
    noise = (h >> 24).astype(np.int64)
    gradient = (x * 255 // width + y * (channel + 1) * 127 // height) % 256
    edges = (x // 3 + y // 2) % 2 * 255
    kind = (x // 8 + y // 8) % 3
    return np.where(kind == 0, noise, np.where(kind == 1, gradient, edges)).astype(np.uint8)


def case(output, **facts):
    data = output.tobytes()
    return {**facts, "head": list(data[:12]), "digest": digest(data)}


def sizes(rng):
    """Up, down, exact halves and doubles, one-pixel sides, odd sizes; [height, width] pairs."""
    fixed = [
        ((64, 64), (32, 32)), ((62, 50), (31, 25)), ((30, 40), (60, 80)), ((1, 1), (7, 5)), ((33, 47), (1, 1)),
        ((1, 60), (20, 30)), ((60, 1), (30, 20)), ((40, 30), (40, 17)), ((40, 30), (13, 30)), ((40, 30), (40, 30)),
        ((64, 40), (32, 40)), ((2, 2), (1, 1)), ((3, 200), (2, 13)), ((200, 3), (13, 2)), ((9, 300), (256, 256)),
        ((75, 100), (51, 68)), ((2, 64), (1, 32)), ((5, 5), (64, 100)),
    ]
    return fixed + [tuple(tuple(rng.randint(1, 90) for _ in range(2)) for _ in range(2)) for _ in range(30)]


def resize_cases():
    for seed, (a, b) in enumerate(sizes(random.Random(1))):
        for name, filter in FILTERS.items():
            out = np.asarray(Image.fromarray(synthetic(seed, *a)).resize((b[1], b[0]), filter))
            yield case(out, seed=seed, **{"in": a, "out": b, "interpolation": name})


def cv2_cases():
    for seed, (a, b) in enumerate(sizes(random.Random(2))):
        out = cv2.resize(synthetic(seed, *a), (b[1], b[0]), interpolation=cv2.INTER_LINEAR)
        yield case(out.reshape(*b, 3), seed=seed, **{"in": a, "out": b})


def classify_cases():
    import torch
    from timm.data import create_transform

    rng = random.Random(3)
    fixed = [((75, 100), 56, 0.875), ((100, 75), 56, 0.875), ((40, 40), 60, 0.95), ((41, 300), [48, 80], 0.875),
             ((300, 41), [48, 80], 0.875), ((90, 121), [80, 48], 0.9), ((77, 53), 64, 1.0), ((30, 31), 33, 0.75),
             ((1, 1), 32, 0.875), ((64, 64), [64, 31], 1.0), ((50, 60), [40, 60], 1.5), ((64, 48), 40, 1.6)]
    extra = [((rng.randint(8, 120), rng.randint(8, 120)), rng.choice([32, 45, [40, 56], [57, 33]]), rng.choice([0.8, 0.875, 0.965]))
             for _ in range(12)]
    for seed, (a, size, pct) in enumerate(fixed + extra):
        name = ["bicubic", "bilinear"][seed % 2]
        hw = size if isinstance(size, list) else [size, size]
        transform = create_transform([3, *hw], is_training=False, interpolation=name, crop_pct=pct, crop_mode="center")
        tensor = transform(Image.fromarray(synthetic(seed, *a)))
        assert tensor.dtype == torch.float32 and list(tensor.shape) == [3, *hw]
        yield case(tensor.contiguous().numpy(), seed=seed, interpolation=name, crop_pct=pct, size=hw, **{"in": a})


def letterbox_cases():
    import torch
    from ultralytics.data.augment import LetterBox
    from ultralytics.utils.ops import scale_boxes

    rng = random.Random(4)
    shapes = [(108, 81), (72, 128), (50, 50), (64, 64), (128, 128), (1, 1), (1, 200), (200, 1), (31, 97), (20, 64), (96, 10)]
    shapes += [(rng.randint(2, 220), rng.randint(2, 220)) for _ in range(12)]
    for seed, a in enumerate(shapes):
        for size, auto, scale_up in [((64, 64), True, True), ((64, 64), False, True), ((96, 64), True, True), ((64, 64), False, False)]:
            picture = synthetic(seed, *a)
            out = LetterBox(size, auto=auto, scaleup=scale_up, stride=32)(image=picture)
            yield_case = case(out, seed=seed, size=size, auto=auto, scale_up=scale_up, padded=out.shape[:2], **{"in": a})
            if scale_up:
                boxes = torch.tensor([[3.25, 5.5, 41.0, 50.75], [-4.0, -3.0, 300.0, 300.0], [31.9, 17.3, 32.4, 40.1]])
                yield_case["boxes"] = boxes.tolist()
                yield_case["original"] = scale_boxes(out.shape[:2], boxes.clone(), a).tolist()
            yield yield_case


def plan_cases():
    """Real sizes, whose pixels would be too many to keep: padded shapes only."""
    from ultralytics.data.augment import LetterBox

    rng = random.Random(5)
    shapes = [(1080, 810), (720, 1280), (480, 640), (375, 500), (2, 2000), (2000, 3), (10, 20000), (20000, 10)]
    shapes += [(rng.randint(1, 1500), rng.randint(1, 1500)) for _ in range(40)]
    for a in shapes:
        for size in [(640, 640), (640, 480), (320, 320)]:
            for auto in [False, True]:
                out = LetterBox(size, auto=auto, stride=32)(image=np.zeros((*a, 3), np.uint8))
                rows, columns = (np.nonzero((out[..., 0] == 0).any(axis))[0] for axis in (1, 0))
                yield {"in": a, "size": size, "auto": auto, "padded": out.shape[:2], "pad": [int(rows[0]), int(columns[0])],
                       "resized": [len(rows), len(columns)]}


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (height + width - 2)], -1)
    picture[: height // 3, : width // 3] = [250, 20, 20]
    return picture.astype(np.uint8)


def fixtures():
    """Name, bytes, expected RGB (PIL's unless a comment says otherwise)."""
    rgb = smooth(24, 36)
    picture = Image.fromarray(rgb)
    alpha = np.tile(np.linspace(0, 255, 36).astype(np.uint8), (24, 1))
    rgba = Image.fromarray(np.dstack([rgb, alpha]))
    cmyk = Image.fromarray(np.dstack([rgb, (alpha // 2)]), "CMYK")

    def saved(image, format, **options):
        data = io.BytesIO()
        image.save(data, format, **options)
        return data.getvalue()

    def pil(data):
        return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))

    def cv(data):
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = saved(picture, "JPEG", quality=95, subsampling=0, exif=exif)
        assert np.array_equal(pil(data), cv(data))
        yield f"orientation-{orientation}.jpg", data, pil(data)
    jpegs = {
        "baseline-420": saved(picture, "JPEG", quality=95, subsampling=2),
        "baseline-422": saved(picture, "JPEG", quality=95, subsampling=1),
        "progressive": saved(picture, "JPEG", quality=95, progressive=True),
        "grey": saved(picture.convert("L"), "JPEG", quality=95),
        "cmyk": saved(cmyk, "JPEG", quality=95),
        "one-pixel": saved(picture.crop((0, 0, 1, 1)), "JPEG", quality=95),
    }
    # PIL writes CMYK inverted and untransformed: planes of YCbCr plus K under a header that says YCCK are a YCCK file.
    ycck = np.dstack([255 - np.asarray(picture.convert("YCbCr")), alpha // 2])
    ycck = bytearray(saved(Image.fromarray(ycck, "CMYK"), "JPEG", quality=95))
    adobe = ycck.index(b"Adobe")
    assert ycck[adobe + 11] == 0
    ycck[adobe + 11] = 2
    jpegs["ycck"] = bytes(ycck)
    for name, data in jpegs.items():
        yield f"{name}.jpg", data, pil(data)

    exif = Image.Exif()
    exif[0x0112] = 6
    small = Image.fromarray(rgb[::2, ::2])
    grey16 = (np.arange(24 * 36, dtype=np.uint32).reshape(24, 36) * 75 % 65536).astype(np.uint16)
    rgb16 = np.dstack([grey16, grey16[::-1], grey16[:, ::-1]])
    palette = picture.quantize(8)
    encoded = lambda array: cv2.imencode(".png", array)[1].tobytes()
    lossless = {
        "rgb.png": saved(small, "PNG"), "rgba.png": saved(rgba.resize((18, 12)), "PNG"), "grey.png": saved(picture.convert("L"), "PNG"),
        "grey-alpha.png": saved(rgba.convert("LA"), "PNG"), "palette.png": saved(palette, "PNG"),
        "palette-transparent.png": saved(palette, "PNG", transparency=2), "one-bit.png": saved(picture.convert("1"), "PNG"),
        "rotated.png": saved(small, "PNG", exif=exif),
        "rgb16.png": encoded(rgb16[:12, :12, ::-1]), "rgba16.png": encoded(np.dstack([rgb16, grey16])[:12, :12]),
        "rgb.bmp": saved(small, "BMP"), "palette.bmp": saved(palette, "BMP"), "grey.bmp": saved(small.convert("L"), "BMP"),
        "lossless.webp": saved(picture, "WEBP", lossless=True), "lossless-alpha.webp": saved(rgba, "WEBP", lossless=True, exact=True),
    }
    for name, data in lossless.items():
        yield name, data, pil(data)
    # PIL clips 16-bit grey to 255; cv2 keeps the high byte.
    data = encoded(grey16)
    yield "grey16.png", data, cv(data)
    data = saved(picture, "WEBP", quality=90)
    yield "lossy.webp", data, pil(data)
    yield "rotated.webp", (data := saved(picture, "WEBP", quality=90, exif=exif)), pil(data)


def golden():
    shutil.rmtree(GOLDEN, ignore_errors=True)
    (GOLDEN / "expected").mkdir(parents=True)
    for name, data, expected in fixtures():
        assert len(data) < 2048, (name, len(data))
        (GOLDEN / name).write_bytes(data)
        Image.fromarray(expected).save(GOLDEN / "expected" / f"{name}.png", optimize=True)
    sections = {"resize": resize_cases(), "cv2": cv2_cases(), "classify": classify_cases(), "letterbox": letterbox_cases(), "plan": plan_cases()}
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(one, separators=(",", ":")) for one in cases) + "\n]" for name, cases in sections.items()]
    (GOLDEN / "cases.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def parity(folder):
    pictures = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".bmp"})
    assert pictures, f"no pictures in {folder}"
    with tempfile.TemporaryDirectory() as temp:
        sources, exact, ours, out = (Path(temp) / name for name in ["sources", "exact", "ours", "out"])
        for made in (sources, exact, ours, out):
            made.mkdir()
        for index, path in enumerate(pictures):
            shutil.copyfile(path, sources / f"{index}{path.suffix}")
            ImageOps.exif_transpose(Image.open(path)).convert("RGB").save(exact / f"{index}.png", compress_level=1)
        for source, target in [(exact, out), (sources, ours)]:
            subprocess.run(["cargo", "run", "-q", "-p", "candle-vision", "--example", "preprocess_parity", "--", source, target], check=True, cwd=ROOT)
        rows = {}
        for index in range(len(pictures)):
            decoded = Image.open(exact / f"{index}.png").convert("RGB")
            short = 256 / min(decoded.size)
            size = tuple(256 if side == min(decoded.size) else int(256 * side / min(decoded.size)) for side in decoded.size)
            ratio = min(640 / decoded.width, 640 / decoded.height)
            wanted = {
                "decoded PNG": np.asarray(decoded),
                "bicubic": np.asarray(decoded.resize(size, Image.BICUBIC)),
                "bilinear": np.asarray(decoded.resize(size, Image.BILINEAR)),
                "cv2": cv2.resize(np.asarray(decoded), (round(decoded.width * ratio), round(decoded.height * ratio)), interpolation=cv2.INTER_LINEAR),
            }
            got = {name: out / f"{index}.{name.split()[0]}.png" for name in wanted}
            wanted["source file"], got["source file"] = wanted["decoded PNG"], ours / f"{index}.decoded.png"
            wanted["source file, bicubic"], got["source file, bicubic"] = wanted["bicubic"], ours / f"{index}.bicubic.png"
            wanted["source file, cv2"], got["source file, cv2"] = wanted["cv2"], ours / f"{index}.cv2.png"
            for name, want in wanted.items():
                have = np.asarray(Image.open(got[name]))
                assert have.shape == want.shape, (pictures[index], name, have.shape, want.shape)
                gap = np.abs(have.astype(np.int16) - want)
                rows.setdefault(name, []).append((gap.mean(), gap.max(), (gap.max(-1) > 0).mean()))
    print(f"{len(pictures)} pictures, cv2 {cv2.__version__}, PIL {Image.__version__}")
    print(f"{'':24}{'mean |diff|':>12}{'max |diff|':>12}{'pixels that differ':>20}")
    for name, values in rows.items():
        mean, worst, share = np.array(values).T
        print(f"{name:24}{mean.mean():12.4f}{worst.max():12.0f}{share.mean():20.2%}")
    return all(worst == 0 for name in ["decoded PNG", "bicubic", "bilinear", "cv2"] for _, worst, _ in rows[name])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["golden", "parity"])
    parser.add_argument("folder", nargs="?", type=Path)
    arguments = parser.parse_args()
    if arguments.mode == "golden":
        golden()
    else:
        sys.exit(not parity(arguments.folder))
