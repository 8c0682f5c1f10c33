"""Golden values of candle_vision::augment, from PIL, torchvision and timm.

pip install pillow==13.0.0 torchvision==0.29.2 timm==1.0.31 torch numpy

    python tests/oracle/augment_classify.py golden     rewrites tests/golden/augment_classify
    python tests/oracle/augment_classify.py speed      prints the time that timm takes for a sample, in one thread;
                                                       the ignored test `time_of_a_sample` prints ours
    python tests/oracle/augment_classify.py upsample TAR
                                                       how far PIL's resize of 32 to 64 pixels, in 8 bits, is from torch's
                                                       in floating point, on the images of a tar file

Random choices are not compared: the parameters are fixed here, or the generators that timm draws from are replaced.
Seeds: images by `synthetic` of image.py, tensors by `uniform` of seeded.py; cases below.
"""

import io, json, math, random, sys, tarfile, time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from PIL import Image, ImageEnhance, ImageOps
from timm.data import auto_augment, create_transform
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation
from torchvision.transforms import InterpolationMode

from image import case, synthetic
from seeded import uniform

GOLDEN = Path(__file__).resolve().parents[2] / "tests/golden/augment_classify"
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
FILL = (124, 116, 104)
SIZES = [(33, 47), (64, 64), (50, 21)]


def picture(kind, seed, size):
    """rgb: noise, gradients and edges; grey: of one channel; dim: few levels; flat: one colour."""
    levels = synthetic(seed, *size)
    if kind == "grey":
        levels = np.repeat(levels[..., :1], 3, 2)
    elif kind == "dim":
        levels = levels // 5 + 70
    elif kind == "flat":
        levels = np.full_like(levels, 90)
    return Image.fromarray(levels)


def operations():
    """Name, values and the function of every change of an image; odd and even sizes, grey and flat images."""
    fill = {"fillcolor": FILL}
    yield from ((name, [], function) for name, function in [
        ("auto_contrast", ImageOps.autocontrast), ("equalize", ImageOps.equalize), ("invert", ImageOps.invert),
        ("grayscale", lambda p: TF.to_grayscale(p, 3)), ("hflip", TF.hflip), ("vflip", TF.vflip)])
    for bits in range(1, 9):
        yield "posterize", [bits], lambda p, bits=bits: auto_augment.posterize(p, bits)
    for threshold in (0, 1, 26, 128, 255, 256):
        yield "solarize", [threshold], lambda p, t=threshold: auto_augment.solarize(p, t)
    for add in (0, 1, 55, 99, 110):
        yield "solarize_add", [add], lambda p, add=add: auto_augment.solarize_add(p, add)
    for factor in (0.0, 0.1, 0.37, 0.91, 1.0, 1.09, 1.4, 1.72, 1.9):
        yield "brightness", [factor], lambda p, f=factor: ImageEnhance.Brightness(p).enhance(f)
        yield "contrast", [factor], lambda p, f=factor: ImageEnhance.Contrast(p).enhance(f)
        yield "saturation", [factor], lambda p, f=factor: ImageEnhance.Color(p).enhance(f)
        yield "sharpness", [factor], lambda p, f=factor: ImageEnhance.Sharpness(p).enhance(f)
    for shift in (-0.5, -0.31, -0.1, -0.003, 0.0, 0.05, 0.27, 0.5):
        yield "hue", [shift], lambda p, shift=shift: TF.adjust_hue(p, shift)
    for name, filter in FILTERS.items():
        options = {"resample": filter, **fill}
        for sign in (-1, 1):
            for strength in (0.03, 0.5, 0.97):
                value = sign * strength
                yield "rotate", [30 * value, name], lambda p, v=30 * value, o=options: auto_augment.rotate(p, v, **o)
                yield "shear_x", [0.3 * value, name], lambda p, v=0.3 * value, o=options: auto_augment.shear_x(p, v, **o)
                yield "shear_y", [0.3 * value, name], lambda p, v=0.3 * value, o=options: auto_augment.shear_y(p, v, **o)
                yield "translate_x_rel", [0.45 * value, name], \
                    lambda p, v=0.45 * value, o=options: auto_augment.translate_x_rel(p, v, **o)
                yield "translate_y_rel", [0.45 * value, name], \
                    lambda p, v=0.45 * value, o=options: auto_augment.translate_y_rel(p, v, **o)
        yield "rotate", [0.0, name], lambda p, o=options: auto_augment.rotate(p, 0.0, **o)


def operation_cases():
    for number, (name, values, function) in enumerate(operations()):
        kinds = ["rgb", "grey", "dim", "flat"] if number % 4 == 0 or not values else ["rgb"]
        for kind in kinds:
            size = SIZES[number % 3]
            out = np.asarray(function(picture(kind, number, size)))
            yield case(out, seed=number, **{"in": size}, kind=kind, name=name, values=values)
    for size in [(1, 1), (2, 9), (9, 2), (3, 3)]:  # smaller than the sharpness filter, or just as large
        for name, function in [("sharpness", lambda p: ImageEnhance.Sharpness(p).enhance(1.7)),
                               ("rotate", lambda p: auto_augment.rotate(p, 20.0, resample=Image.BICUBIC, fillcolor=FILL))]:
            values = [1.7] if name == "sharpness" else [20.0, "bicubic"]
            out = np.asarray(function(picture("rgb", 1, size)))
            yield case(out, seed=1, **{"in": size}, kind="rgb", name=name, values=values)


def jitter_cases():
    adjust = {"brightness": TF.adjust_brightness, "contrast": TF.adjust_contrast,
              "saturation": TF.adjust_saturation, "hue": TF.adjust_hue}
    rng = random.Random(2)
    for seed in range(12):
        names = rng.sample(list(adjust), 4)
        changes = [(n, round(rng.uniform(-0.5, 0.5) if n == "hue" else rng.uniform(0.6, 1.4), 3)) for n in names]
        out = picture("rgb", seed, SIZES[seed % 3])
        for name, value in changes:
            out = adjust[name](out, value)
        yield case(np.asarray(out), seed=seed, **{"in": SIZES[seed % 3]}, changes=changes)


def crop_cases():
    boxes = [((40, 60), (0, 0, 40, 60)), ((40, 60), (3, 7, 30, 40)), ((41, 33), (40, 32, 1, 1)), ((64, 64), (0, 5, 64, 11)),
             ((200, 150), (13, 9, 177, 133)), ((30, 30), (10, 10, 16, 16))]
    for seed, (size, box) in enumerate(boxes):
        for out_size in [(16, 16), (24, 32)]:
            for name in FILTERS:
                out = TF.resized_crop(picture("rgb", seed, size), *box, out_size, InterpolationMode(name))
                yield case(np.asarray(out), seed=seed, **{"in": size}, box=box, out=out_size, interpolation=name)


def padded_cases():
    for seed, (size, padding, at) in enumerate([((32, 32), 4, (0, 0)), ((32, 32), 4, (8, 8)), ((32, 32), 4, (3, 7)),
                                                ((9, 14), 2, (4, 0)), ((5, 3), 10, (0, 20)), ((5, 3), 0, (0, 0))]):
        out = TF.crop(TF.pad(picture("rgb", seed, size), padding), *at, *size)
        yield case(np.asarray(out), seed=seed, **{"in": size}, padding=padding, at=at)


def window_cases():
    """Sides that timm's crop has for a share of the area and a ratio; `null` where ten tries fail, then the fallback."""
    rng = random.Random(3)
    for number in range(60):
        size = [rng.randint(1, 500), rng.randint(1, 500)]
        share, ratio = rng.uniform(0.08, 1.0), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        draws = iter([share, math.log(ratio)] * 10)
        places = []
        with patch("random.uniform", lambda *_: next(draws)), patch("random.randint", lambda a, b: places.append(b) or a):
            top, left, height, width = RandomResizedCropAndInterpolation.get_params(
                Image.new("RGB", (size[1], size[0])), (0.08, 1.0), (3 / 4, 4 / 3))
        yield {"in": size, "share": share, "ratio": ratio, "fits": bool(places), "box": [top, left, height, width]}


def erase_cases():
    rng = random.Random(4)
    for number in range(40):
        size = [rng.randint(4, 300), rng.randint(4, 300)]
        share, ratio, count = rng.uniform(0.02, 1 / 3), math.exp(rng.uniform(math.log(0.3), -math.log(0.3))), rng.randint(1, 3)
        draws = iter([share, math.log(ratio)] * 10 * count)
        erasing = RandomErasing(1.0, mode="const", min_count=count, device="cpu")
        tensor = torch.ones(3, *size)
        with patch("random.uniform", lambda *_: next(draws)), patch("random.randint", lambda a, b: a):
            erasing(tensor)
        gone = (tensor[0] == 0).nonzero()
        sides = (gone.max(0).values + 1).tolist() if len(gone) else None
        yield {"in": size, "share": share, "ratio": ratio, "count": count, "sides": sides}


def policy_cases():
    """The arguments of each operation by magnitude; `sign` is the direction of those that have two."""
    for increasing, names in [(False, auto_augment._RAND_TRANSFORMS), (True, auto_augment._RAND_INCREASING_TRANSFORMS)]:
        for name in names:
            for magnitude in (0, 0.4, 2.5, 4.99, 5, 7.3, 9, 9.6, 10):
                for sign in (-1, 1):
                    levels = auto_augment.LEVEL_TO_ARG[name]
                    with patch("random.random", lambda: 0.9 if sign < 0 else 0.1):
                        values = levels(magnitude, {}) if levels else ()
                    yield {"name": name.removesuffix("Increasing"), "increasing": increasing, "magnitude": magnitude,
                           "sign": sign, "values": list(values)}


def config_cases():
    for text in ["rand", "rand-m9-mstd0.5-inc1", "rand-m7-n3", "rand-m15-n1-mmax20-p0.25", "rand-m5-mstd101", "rand-inc0"]:
        made = auto_augment.rand_augment_transform(text, {})
        op = made.ops[0]
        yield {"text": text, "layers": made.num_layers, "magnitude": int(op.magnitude), "probability": op.prob,
               "std": min(float(op.magnitude_std), 101.0), "max": op.magnitude_max or 10,
               "increasing": any(op.name == "ColorIncreasing" for op in made.ops)}


def mixing_cases():
    """A batch mixed with given shares; timm's generators give what the case says."""
    for number, (mode, count, cuts, shares) in enumerate([
        ("batch", 4, False, [0.3]), ("batch", 6, True, [0.7]), ("batch", 2, True, [0.0]), ("batch", 4, True, [1.0]),
        ("pair", 6, False, [0.2, 0.9, 0.5]), ("pair", 6, True, [0.4, 0.05, 0.8]),
        ("elem", 4, False, [0.1, 0.6, 0.25, 0.77]), ("elem", 4, True, [0.1, 0.6, 0.25, 0.77]),
    ]):
        size, classes = (9, 14), 5
        x = torch.from_numpy(uniform(f"mixing.{number}", count * 3 * size[0] * size[1]).astype(np.float32))
        x = x.reshape(count, 3, *size)
        target = torch.arange(count) * 2 % classes
        centers = [[(3 * k + number) % size[0], (5 * k + number) % size[1]] for k in range(count)]
        draws = iter([side for center in centers for side in center])
        mixup = Mixup(0.0 if cuts else 0.8, 0.8 if cuts else 0.0, mode=mode, label_smoothing=0.1, num_classes=classes)
        beta = lambda a, b, size=None: np.array(shares) if size else shares[0]
        with patch("numpy.random.beta", beta), patch("numpy.random.randint", lambda *_, **__: next(draws)):
            mixed, soft = mixup(x.clone(), target)
        yield case(mixed.contiguous().numpy(), number=number, mode=mode, **{"in": size}, count=count, cuts=cuts,
                   shares=shares, centers=centers, classes=target.tolist(), num_classes=classes, soft=soft.flatten().tolist())


def pipeline_cases():
    """Everything between decoding and erasing, in timm's order, as normalised f32."""
    for seed, filter in enumerate(["bilinear", "bicubic"]):
        out = TF.resized_crop(picture("rgb", seed, (61, 83)), 5, 9, 40, 51, (24, 32), InterpolationMode(filter))
        out = TF.vflip(TF.hflip(out))
        if seed == 0:
            out = auto_augment.posterize(auto_augment.rotate(out, 17.0, resample=FILTERS[filter], fillcolor=FILL), 3)
        else:
            out = TF.adjust_contrast(TF.adjust_brightness(out, 1.3), 0.7)
        out = TF.normalize(TF.to_tensor(TF.to_grayscale(out, 3)), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        yield case(out.numpy(), seed=seed, **{"in": (61, 83)}, interpolation=filter)


def golden():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    sections = {"operations": operation_cases, "jitter": jitter_cases, "crop": crop_cases, "padded": padded_cases,
                "window": window_cases, "erase": erase_cases, "policy": policy_cases, "config": config_cases,
                "mixing": mixing_cases, "pipeline": pipeline_cases}
    for name, cases in sections.items():
        lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases())
        (GOLDEN / f"{name}.json").write_text(f"[\n{lines}\n]\n")


def speed():
    torch.set_num_threads(1)
    recipes = [((500, 375), dict(input_size=224, interpolation="bicubic", color_jitter=0.0)),
               ((500, 375), dict(input_size=224, interpolation="bicubic", auto_augment="rand-m9-mstd0.5-inc1")),
               ((500, 375), dict(input_size=224, interpolation="bicubic", color_jitter=0.4))]
    for (width, height), options in recipes:
        transform, source = create_transform(is_training=True, **options), Image.fromarray(synthetic(0, height, width))
        start, count = time.perf_counter(), 300
        for _ in range(count):
            transform(source)
        print(f"{(time.perf_counter() - start) / count * 1e3:.3f} ms for {width}x{height} with {options}")


def upsample(path):
    largest, total, levels = 0.0, 0.0, 0
    with tarfile.open(path) as archive:
        for member in [m for m in archive if m.isfile()][:1000]:
            source = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
            exact = F.interpolate(TF.pil_to_tensor(source)[None].double(), size=64, mode="bilinear", align_corners=False)[0]
            apart = (TF.pil_to_tensor(source.resize((64, 64), Image.BILINEAR)).double() - exact).abs()
            largest, total, levels = max(largest, apart.max().item()), total + apart.pow(2).sum().item(), levels + apart.numel()
    print(f"largest {largest:.3f} levels, root mean square {math.sqrt(total / levels):.3f} levels")


if __name__ == "__main__":
    {"golden": golden, "speed": speed, "upsample": upsample}[sys.argv[1]](*sys.argv[2:])
