"""Golden values of a detector's augmentation, from cv2 and Ultralytics.

pip install opencv-python==5.0.0.93 ultralytics==8.4.190 torch numpy

    python tests/oracle/augment_detect.py          rewrites tests/golden/augment/{image,detect}.json

The warps and the way from HSV to RGB depend on the instruction set: run it on x86 with AVX2.
"""

import contextlib, json, random
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from ultralytics.data.augment import CutMix, Format, v8_transforms
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.instance import Instances

import seeded
from common import digest
from image import case, synthetic

GOLDEN = Path(__file__).resolve().parents[2] / "tests/golden/augment"
BORDER = 114
DEFAULTS = dict(hsv_h=0.015, hsv_s=0.7, hsv_v=0.4, degrees=0.0, translate=0.1, scale=0.5, shear=0.0, perspective=0.0,
                flipud=0.0, fliplr=0.5, bgr=0.0, mosaic=1.0, mixup=0.0, cutmix=0.0, copy_paste=0.0, copy_paste_mode="flip")


def matrices(rng):
    """[height, width] of source and output, and an affine matrix: the kinds that training draws, and odd ones."""
    for index in range(14):
        size = (rng.randint(1, 120), rng.randint(1, 120))
        out = (rng.randint(1, 90), 32 * rng.randint(1, 4))
        a, s = rng.uniform(-40, 40) * (index % 3 > 0), rng.uniform(0.4, 1.8)
        m = np.eye(3, dtype=np.float32)
        m[:2] = cv2.getRotationMatrix2D((0, 0), a, s)
        centre, place = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
        centre[:2, 2] = -size[1] / 2, -size[0] / 2
        place[:2, 2] = rng.uniform(0.4, 0.6) * out[1], rng.uniform(0.4, 0.6) * out[0]
        yield size, out, place @ m @ centre, centre, place @ m
    eye = np.eye(3, dtype=np.float32)
    for odd in [eye, eye * np.float32([[0], [0], [1]]), np.float32([[1, 2, 3], [2, 4, 6], [0, 0, 1]]),
                np.float32([[1, 0, 1e6], [0, 1, 0], [0, 0, 1]]), np.float32([[1e-30, 0, 0], [0, 1e-30, 0], [0, 0, 1]])]:
        yield (40, 50), (30, 64), odd, eye, odd


def warp_cases():
    rng = random.Random(11)
    for seed, (size, out, matrix, centre, rest) in enumerate(matrices(rng)):
        picture = synthetic(seed, *size)
        warped = cv2.warpAffine(picture, matrix[:2], dsize=out[::-1], borderValue=(BORDER,) * 4)
        yield "affine", case(warped, seed=seed, out=out, matrix=matrix[:2].tolist(), **{"in": size})
        tilt = np.eye(3, dtype=np.float32)
        tilt[2, :2] = rng.uniform(-0.01, 0.01), rng.uniform(-0.01, 0.01)
        matrix = rest @ tilt @ centre
        warped = cv2.warpPerspective(picture, matrix, dsize=out[::-1], borderValue=(BORDER,) * 4)
        yield "perspective", case(warped, seed=seed, out=out, matrix=matrix.tolist(), **{"in": size})


def hsv_digests():
    """Of all colours whose levels are multiples of 5, and of all hues with such saturations and values."""
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(1, -1, 3)
    hues = np.arange(256, dtype=np.uint8)
    hsv = np.stack(np.meshgrid(hues, levels, levels, indexing="ij"), -1).reshape(1, -1, 3)
    # 32 pixels more, so that none of those asked for is in the last part of a row, which cv2 rounds.
    def convert(row, code):
        return cv2.cvtColor(np.concatenate([row, np.zeros((1, 32, 3), np.uint8)], 1), code)[:, :-32]
    return {"hsv_from_rgb": digest(convert(colours, cv2.COLOR_RGB2HSV).tobytes()),
            "rgb_from_hsv": digest(convert(hsv, cv2.COLOR_HSV2RGB).tobytes())}


class Pictures:
    """A dataset of noise: what the transforms of Ultralytics ask of one."""

    cache, use_obb, use_keypoints, data = "ram", False, False, {}

    def __init__(self, sizes, rng):
        self.sizes, self.objects = sizes, []
        for _ in sizes:
            count = rng.randint(0, 5)
            rows = [[rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0, 0.6), rng.uniform(0, 0.6)] for _ in range(count)]
            rows += [[0.5, 0.5, 1.0, 1.0]] if count == 4 else []
            rows += [[0.25, 0.25, 0.0, 0.3], [0.5, 0.5, 0.01, 0.01]] if count == 5 else []
            self.objects.append((np.float32([rng.randint(0, 6) for _ in rows]).reshape(-1, 1), np.float32(rows).reshape(-1, 4)))

    def __len__(self):
        return len(self.sizes)

    def rgb(self, index):
        shape = (*self.sizes[index], 3)
        levels = (seeded.uniform(f"picture {index}", int(np.prod(shape))) + 1) * 128
        return levels.astype(np.uint8).reshape(shape)

    rect_shape = None

    def get_image_and_label(self, index):
        classes, boxes = self.objects[index]
        instances = Instances(boxes.copy(), np.zeros((0, 1000, 2), np.float32), None, bbox_format="xywh", normalized=True)
        picture = np.ascontiguousarray(self.rgb(index)[..., ::-1])
        return {"im_file": str(index), "img": picture, "cls": classes.copy(), "instances": instances,
                "ori_shape": picture.shape[:2], "resized_shape": picture.shape[:2], "rect_shape": self.rect_shape}


@contextlib.contextmanager
def recorded(draws):
    """Notes each random number that is drawn, with its range."""
    def note(kind, function):
        def call(*range_):
            value = function(*range_)
            draws.append((kind, range_, value.tolist() if isinstance(value, np.ndarray) else value))
            return value
        return call

    def rectangle(mix, width, height, rand=CutMix._rand_bbox):
        before = len(draws)
        draws[before:] = [("rectangle", (), [int(side) for side in rand(mix, width, height)])]
        return draws[before][2]

    with mock.patch.object(CutMix, "_rand_bbox", rectangle), \
         mock.patch.object(np.random, "choice", note("choice", np.random.choice)), \
         mock.patch.object(random, "uniform", note("uniform", random.uniform)), \
         mock.patch.object(random, "randint", note("randint", random.randint)), \
         mock.patch.object(random, "random", note("random", random.random)), \
         mock.patch.object(np.random, "uniform", note("array", np.random.uniform)), \
         mock.patch.object(np.random, "beta", note("beta", np.random.beta)):
        yield


class Plan:
    """What was drawn, under the names of our plans."""

    def __init__(self, draws, hyp, size):
        self.draws, self.hyp, self.size = list(draws), hyp, size

    def next(self, kind):
        found, _, value = self.draws.pop(0)
        assert found == kind, (found, kind)
        return value

    def view(self):
        mosaic = None
        if self.next("uniform") <= self.hyp.mosaic:
            partners = [self.next("randint") for _ in range(3)]
            y, x = (int(self.next("uniform")) for _ in range(2))
            mosaic = {"partners": partners, "centre": [x, y]}
        perspective = [self.next("uniform") for _ in range(2)]
        degrees, scale = self.next("uniform"), self.next("uniform")
        shear, translate = [self.next("uniform") for _ in range(2)], [self.next("uniform") for _ in range(2)]
        affine = dict(perspective=perspective, degrees=degrees, scale=scale, shear=shear, translate=translate)
        return {"mosaic": mosaic, "affine": affine}

    def sample(self):
        plan = {"view": self.view(), "mixup": None}
        if self.next("uniform") <= self.hyp.mixup:
            partner = self.next("randint")
            view = self.view()
            plan["mixup"] = {"partner": partner, "view": view, "ratio": self.next("beta")}
        plan["cutmix"] = None
        if self.next("uniform") <= self.hyp.cutmix:
            partner, view, areas = self.next("randint"), self.view(), [self.next("rectangle") for _ in range(3)]
            choice = 0.5
            if self.draws[0][0] == "choice":
                _, (places,), value = self.draws.pop(0)
                choice = (places.tolist().index(value) + 0.5) / len(places)
            plan["cutmix"] = {"partner": partner, "view": view, "areas": areas, "choice": choice}
        gains = [self.hyp.hsv_h, self.hyp.hsv_s, self.hyp.hsv_v]
        plan["hsv"] = {"gains": [a * b for a, b in zip(self.next("array"), gains)]} if any(gains) else None
        plan["flip_vertical"] = self.next("random") < self.hyp.flipud
        plan["flip_horizontal"] = self.next("random") < self.hyp.fliplr
        plan["bgr"] = self.next("uniform") <= self.hyp.bgr
        assert not self.draws
        return plan


def samples():
    size = 96
    rng = random.Random(12)
    sizes = [(size, 71), (50, size), (size, size), (64, size), (size, 1), (size, 96)]
    pictures = Pictures(sizes, rng)
    random.seed(13)
    np.random.seed(13)
    cases = []
    for change in [{}, {}, {}, {"mosaic": 0.0}, {"mosaic": 0.0}, {"degrees": 30.0, "shear": 8.0}, {"mosaic": 0.0, "degrees": 15.0},
                   {"perspective": 0.001}, {"perspective": 0.002, "degrees": 20.0, "mosaic": 0.0}, {"mixup": 1.0},
                   {"mixup": 1.0, "mosaic": 0.5}, {"flipud": 1.0, "fliplr": 1.0}, {"bgr": 1.0, "fliplr": 0.0},
                   {"hsv_h": 0.5, "hsv_s": 0.9, "hsv_v": 0.9}, {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "scale": 0.9},
                   {"scale": [0.6, 2.2]}, {"scale": [1.5, 1.5], "mosaic": 0.0}, *[{"cutmix": 1.0}] * 3,
                   *[{"cutmix": 1.0, "mosaic": 0.0}] * 6, {"cutmix": 1.0, "mixup": 1.0, "mosaic": 0.0, "degrees": 20.0},
                   {"rect": [64, 96]}, {"rect": [96, 32], "flipud": 1.0, "fliplr": 1.0}, {"rect": [64, 96], "degrees": 20.0},
                   {"rect": [32, 96], "perspective": 0.001}]:
        change = dict(change)
        rect = change.pop("rect", None)
        pictures.rect_shape = rect
        if rect:  # YOLODataset.build_transforms
            change.update(mosaic=0.0, mixup=0.0, cutmix=0.0)
        hyp = IterableSimpleNamespace(**{**DEFAULTS, **change})
        transforms = v8_transforms(pictures, size, hyp)
        transforms.append(Format(bgr=hyp.bgr))
        for index in rng.sample(range(len(sizes)), 2):
            draws = []
            with recorded(draws):
                out = transforms(pictures.get_image_and_label(index))
            data = out["img"].numpy()
            assert data.shape == (3, *(rect or (size, size))) and data.dtype == np.uint8
            cases.append({"index": index, "change": change, "input": rect, "plan": Plan(draws, hyp, size).sample(), "digest": digest(data.tobytes()),
                          "classes": [int(c) for c in out["cls"].flatten().tolist()], "boxes": out["bboxes"].tolist()})
    objects = [{"classes": [int(c) for c in classes.flatten()], "boxes": boxes.tolist()} for classes, boxes in pictures.objects]
    return {"size": size, "pictures": [{"size": s, **o} for s, o in zip(sizes, objects)], "cases": cases}


def write(name, sections):
    GOLDEN.mkdir(parents=True, exist_ok=True)
    rows = lambda value: "[\n" + ",\n".join(json.dumps(row) for row in value) + "\n]" if isinstance(value, list) else json.dumps(value)
    text = "{\n" + ",\n".join(f'"{key}": {rows(value)}' for key, value in sections.items()) + "\n}\n"
    (GOLDEN / name).write_text(text)


if __name__ == "__main__":
    warps = list(warp_cases())
    write("image.json", {**{kind: [c for k, c in warps if k == kind] for kind in ("affine", "perspective")}, "hsv": hsv_digests()})
    write("detect.json", samples())
