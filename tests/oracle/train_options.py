"""Golden values of options that a detector's trainer takes, from Ultralytics.

pip install torch==2.15.0 ultralytics==8.4.190 opencv-python-headless numpy

    python tests/oracle/train_options.py          rewrites tests/golden/train/options.json

Images are the values of seeded.py. Aspect ratios are all different: the order of equal ones is that of numpy's unstable
sort, which depends on the processor.
"""

import json
import pathlib
import random
import tempfile
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from ultralytics.cfg import check_cfg, smart_value
from ultralytics.data.base import BaseDataset
from ultralytics.data.utils import get_split_fraction
from ultralytics.models.yolo.detect import DetectionTrainer

import seeded

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "train"
SAMPLES = 24


def fractions():
    """Number of images that a text of `fraction=` takes of 1, 5 and 7 training and validation images; nothing where it
    is refused. The images are the first of the sorted ones."""
    cases = []
    for text in ["1", "1.0", "0.5", "0.7", "0.01", "2", "5", "100", "[0.5,2]", "[2, 0.5, 0]", "[1,1]", "0", "0.0", "-1",
                 "1.5", "2.0", "[0.5]", "[0,1]", "[0.5,0]", "[1,1,1,1]", "half"]:
        try:
            settings = {"fraction": smart_value(text)}
            check_cfg(settings)
            fraction = settings["fraction"]
            taken = {split: [count(get_split_fraction(fraction, split), n) for n in (1, 5, 7)] for split in ("train", "val")}
        except (TypeError, ValueError):
            taken = None
        cases.append({"text": text, "taken": taken})
    return cases


def count(fraction, pictures):
    with tempfile.TemporaryDirectory() as folder:
        names = [pathlib.Path(folder) / f"{index}.jpg" for index in range(pictures)]
        for name in names:
            name.write_bytes(b"picture")
        dataset = SimpleNamespace(fraction=fraction, prefix="")
        files = BaseDataset.get_img_files(dataset, folder)
    assert files == [str(name) for name in names[: len(files)]]
    return len(files)


def classes():
    """Classes of the objects of two images that are left by `classes=` and `single_cls=`."""
    cases = []
    for wanted in (None, 0, 2, [0, 2], [1, 3], [3]):
        for single in (False, True):
            rows = [np.float32([[0], [1]]), np.float32([[2], [2], [0]])]
            labels = [{"cls": r.copy(), "bboxes": np.zeros((len(r), 4), np.float32), "segments": []} for r in rows]
            dataset = SimpleNamespace(labels=labels, single_cls=single)
            BaseDataset.update_labels(dataset, wanted)
            left = [[int(c) for c in label["cls"].flatten()] for label in labels]
            cases.append({"classes": wanted, "single_cls": single, "left": left})
    return cases


def multi_scale():
    """What is drawn from, the size that follows from a draw, the shape and the values of a batch of it."""
    cases = []
    for imgsz, share, shape, place in [
        (64, 0.5, (64, 64), 0.0), (64, 0.5, (64, 64), 0.5), (64, 0.5, (64, 64), 1.0), (96, 0.25, (64, 96), 0.9),
        (96, 0.3, (96, 32), 0.1), (640, 0.5, (64, 64), 0.3), (320, 0.9, (32, 32), 0.0), (96, 0.5, (96, 64), 1.0),
    ]:  # fmt: skip
        drawn = {}

        def draw(low, high):
            drawn["range"], drawn["value"] = [low, high], min(low + int(place * (high - low)), high - 1)
            return drawn["value"]

        name = f"multi {len(cases)}"
        levels = ((seeded.uniform(name, 3 * shape[0] * shape[1]) + 1) * 128).astype(np.uint8)
        trainer = SimpleNamespace(device=torch.device("cpu"), stride=32, args=SimpleNamespace(imgsz=imgsz, multi_scale=share))
        with mock.patch.object(random, "randrange", draw):
            batch = {"img": torch.from_numpy(levels.reshape(1, 3, *shape))}
            out = DetectionTrainer.preprocess_batch(trainer, batch)["img"]
        values = out.flatten().double()
        places = [index * values.numel() // SAMPLES for index in range(SAMPLES)]
        cases.append({"imgsz": imgsz, "share": share, "shape": shape, **drawn, "out": list(out.shape[2:]),
                      "mean": float(values.mean()), "samples": [float(x) for x in values[places]]})
    return cases


def rect():
    """The order of images by their sizes, [height, width], the shape of each batch, and whether batches are shuffled."""
    rng = random.Random(5)
    sizes = [[rng.randint(20, 900), rng.randint(20, 900)] for _ in range(19)]
    wide = [[100, 200 + index] for index in range(5)]
    tall = [[200 + index, 100] for index in range(5)]
    square = [[100 + index, 100 + index] for index in range(1)]
    near = [[97, 100], [98, 100], [99, 100], [100, 99], [100, 98]]
    cases = []
    for sizes in (sizes, wide, tall, square, near):
        for batch, imgsz, stride in ((4, 96, 32), (3, 640, 32), (8, 320, 64)):
            dataset = SimpleNamespace(ni=len(sizes), batch_size=batch, imgsz=imgsz, stride=stride, pad=0.0,
                                      labels=[{"shape": size, "index": i} for i, size in enumerate(sizes)],
                                      im_files=[str(i) for i in range(len(sizes))])
            BaseDataset.set_rectangle(dataset)
            shapes = dataset.batch_shapes
            cases.append({"sizes": sizes, "batch": batch, "imgsz": imgsz, "stride": stride,
                          "order": [label["index"] for label in dataset.labels], "shapes": shapes.tolist(),
                          "is_shuffled": bool(np.all(shapes == shapes[0]))})
    return cases


if __name__ == "__main__":
    torch.set_num_threads(1)
    parts = {"fractions": fractions(), "classes": classes(), "multi_scale": multi_scale(), "rect": rect()}
    text = "{\n" + ",\n".join(f'"{k}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for k, rows in parts.items())
    (GOLDEN / "options.json").write_text(text + "\n}\n")
