"""Fine-tuning by Ultralytics, to lay beside ghostzoo's: a source checkpoint of 80 classes, then the same runs over seeds.

pip install torch==2.15.0 torchvision==0.29.2 ultralytics==8.4.190 opencv-python-headless numpy
usage: finetune.py source OUT.pt [--data CROPS]   trains yolov8n from nothing at 128 px, 19 of 30 epochs, seed 0
       finetune.py tune SOURCE.pt --out DIR [--data BCCD] [--seeds 0 1 2 3 4] [--own-width] [--set KEY=VALUE ...]
       finetune.py table DIR...      epochs of every DIR/SEED/results.csv: mean and standard deviation over the seeds
       finetune.py welch DIR DIR     Welch's test of the last epochs of two such folders

CROPS and BCCD are folders in YOLO's layout with images/train, images/val and a data.yaml. The source's first names are those
of CROPS; plain words fill up to 80. No weights are downloaded. Each run takes one thread and no worker process.
With --own-width the class branch has the width that the new class count gives, and starts anew: Ultralytics says 319 of 355
instead of 349. KEY=VALUE are arguments of Ultralytics' trainer. `ghostzoo train detect model=SOURCE.pt data=BCCD/data.yaml
seed=SEED project=DIR name=SEED KEY=VALUE` writes a results.csv of the same columns, which `table` and `welch` read too.
"""
import argparse
import csv
import logging
import math
import os
import pathlib
import statistics
import sys
import tempfile
import time

CLASSES = 80
WORDS = """person bicycle car motorcycle airplane bus train truck boat bench bird cat dog horse sheep cow elephant bear zebra
giraffe backpack umbrella handbag tie suitcase frisbee skis snowboard kite skateboard surfboard bottle cup fork knife spoon bowl
banana apple sandwich orange broccoli carrot pizza donut cake chair couch bed toilet tv laptop mouse remote keyboard phone
microwave oven toaster sink fridge book clock vase scissors toothbrush lamp shoe""".split()
MEASURES = {
    "box": "train/box_loss",
    "cls": "train/cls_loss",
    "dfl": "train/dfl_loss",
    "mAP50": "metrics/mAP50(B)",
    "mAP50-95": "metrics/mAP50-95(B)",
}


def trainer():
    os.environ.update(OMP_NUM_THREADS="1", YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
    import torch
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils import LOGGER

    torch.set_num_threads(1)

    class Loud(logging.Handler):
        def emit(self, record):
            if "Transferred" in record.getMessage() or "optimizer:" in record.getMessage():
                print(record.getMessage().strip(), flush=True)

    LOGGER.handlers = [Loud()]
    LOGGER.setLevel(logging.INFO)
    return DetectionTrainer


def of_own_width():
    """A trainer whose class branch starts anew, at the width of its own class count."""
    base = trainer()
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils.torch_utils import intersect_dicts

    class Trainer(base):
        def get_model(self, cfg=None, weights=None, verbose=True):
            model = DetectionModel(cfg, nc=self.data["nc"], ch=self.data["channels"], verbose=False)
            taken = intersect_dicts(weights.float().state_dict(), model.state_dict())
            model.load_state_dict(taken, strict=False)
            print(f"Transferred {len(taken)}/{len(model.state_dict())} items, none of the class branch", flush=True)
            return model

    return Trainer


def described(folder, names, to):
    """A data.yaml at `to` for the images of `folder` under `names`."""
    lines = [f"path: {folder.resolve()}", "train: images/train", "val: images/val", "names:"]
    to.write_text("\n".join(lines + [f"  {i}: {name}" for i, name in enumerate(names)]) + "\n")
    return str(to)


def names_of(folder):
    import yaml

    names = yaml.safe_load((folder / "data.yaml").read_text())["names"]
    return list(names.values()) if isinstance(names, dict) else names


def value(text):
    import yaml

    return yaml.safe_load(text)


def run(make, model, data, out, name, stop_after=None, **more):
    fixed = dict(device="cpu", workers=0, amp=False, plots=False, cache="ram", patience=0, deterministic=True)
    train = make()(overrides=dict(model=str(model), data=data, project=str(out.resolve()), name=name, exist_ok=True, **{**fixed, **more}))
    if stop_after:
        train.add_callback("on_fit_epoch_end", lambda t: setattr(t, "stop", t.epoch + 1 >= stop_after))
    start = time.time()
    train.train()
    print(f"{name}: {time.time() - start:.0f} s", flush=True)
    return train


def source(a):
    names = names_of(a.data)
    names += [word for word in WORDS if word not in names][: CLASSES - len(names)]
    assert len(set(names)) == CLASSES, len(set(names))
    work = pathlib.Path(tempfile.mkdtemp())
    train = run(trainer, "yolov8n.yaml", described(a.data, names, work / "crops.yaml"), work, "source", stop_after=19,
                epochs=30, imgsz=128, batch=16, optimizer="AdamW", lr0=0.002, pretrained=False, seed=0)
    a.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    a.checkpoint.write_bytes(pathlib.Path(train.best).read_bytes())
    print({k: round(float(v), 4) for k, v in train.metrics.items() if "mAP" in k}, a.checkpoint)


def tune(a):
    data = described(a.data, names_of(a.data), pathlib.Path(tempfile.mkdtemp()) / "data.yaml")
    for seed in a.seeds:
        run(of_own_width if a.own_width else trainer, a.checkpoint, data, a.out, str(seed), seed=seed, **{k: value(v) for k, v in (pair.split("=", 1) for pair in a.set)})
        table([a.out])


def rows(folder):
    """The results of each run under `folder`: {seed: [row of an epoch]}."""
    found = {}
    for path in sorted(folder.glob("*/results.csv")):
        with path.open() as f:
            found[path.parent.name] = [{k.strip(): v for k, v in row.items()} for row in csv.DictReader(f)]
    return found


def table(folders):
    for folder in folders:
        runs = rows(folder)
        epochs = max(len(r) for r in runs.values())
        print(f"{folder.name}: runs {' '.join(runs)}")
        for epoch in range(epochs):
            cells = []
            for short, column in MEASURES.items():
                values = [float(r[epoch][column]) for r in runs.values() if len(r) > epoch]
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                cells.append(f"{short} {statistics.mean(values):.4f} ± {spread:.4f}")
            print(f"  epoch {epoch + 1}: " + ", ".join(cells))


def chance(t, freedom):
    """The two-sided p of Student's t: one less twice Simpson's integral of the density from 0 to |t|."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    density = lambda x: scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2)
    n, end = 2000, abs(t)
    inner = sum((4 if i % 2 else 2) * density(end * i / n) for i in range(1, n))
    return 1 - 2 * end / n / 3 * (density(0) + inner + density(end))


def welch(one, other):
    for short, column in MEASURES.items():
        sides = [[float(r[-1][column]) for r in rows(folder).values()] for folder in (one, other)]
        (ma, mb), (va, vb) = ([f(s) for s in sides] for f in (statistics.mean, lambda s: statistics.variance(s) / len(s)))
        t = (ma - mb) / math.sqrt(va + vb)
        freedom = (va + vb) ** 2 / (va**2 / (len(sides[0]) - 1) + vb**2 / (len(sides[1]) - 1))
        print(f"{short}: {ma:.4f} against {mb:.4f}, t {t:.2f} of {freedom:.1f} degrees, p {chance(t, freedom):.3f}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    ways = parser.add_subparsers(dest="way", required=True)
    for way in ("source", "tune"):
        p = ways.add_parser(way)
        p.add_argument("checkpoint", type=pathlib.Path)
        here = pathlib.Path(__file__).resolve().parents[2].parent / "shared" / "data"
        p.add_argument("--data", type=pathlib.Path, default=here / ("crops" if way == "source" else "bccd"))
    ways.choices["tune"].add_argument("--out", type=pathlib.Path, required=True)
    ways.choices["tune"].add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    ways.choices["tune"].add_argument("--own-width", action="store_true")
    ways.choices["tune"].add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    ways.add_parser("table").add_argument("folders", type=pathlib.Path, nargs="+")
    ways.add_parser("welch").add_argument("folders", type=pathlib.Path, nargs=2)
    a = parser.parse_args()
    if a.way == "table":
        table(a.folders)
    elif a.way == "welch":
        welch(*a.folders)
    else:
        {"source": source, "tune": tune}[a.way](a)


if __name__ == "__main__":
    sys.exit(main())
