"""Golden values of a training's run: keys, folders, files, the best epoch, the end by the clock.

pip install torch==2.15.0 torchvision==0.29.2 ultralytics==8.4.190 opencv-python-headless numpy
usage: train_run.py     writes tests/golden/train/run.json (keys with their defaults, folders, files of a run, its best
                        epoch, a run of limited time) and tests/golden/train/ultralytics_args.yaml, and reads
                        tests/golden/train/ghostzoo_args.yaml, which ghostzoo wrote, with Ultralytics' own reader
       train_run.py read  reads that file only

Images are noise of numpy's seed 0; no value depends on them.
"""
import csv
import json
import os
import pathlib
import sys
import tempfile

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "train"
HERE = tempfile.mkdtemp()
os.chdir(HERE)
os.environ.update(YOLO_CONFIG_DIR=HERE, YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")

import cv2
import numpy as np
import torch
import ultralytics
from ultralytics import settings
from ultralytics.cfg import DEFAULT_CFG_DICT, check_dict_alignment, get_cfg, get_save_dir
from ultralytics.engine import trainer as engine
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import YAML
from ultralytics.utils.autobatch import check_train_batch_size
from ultralytics.utils.metrics import DetMetrics

torch.set_num_threads(1)
settings.update(runs_dir=f"{HERE}/runs")


def folders():
    """Where runs go; `there` is what exists before, a name with a dot being a file."""
    cases = []
    for task, mode in [("detect", "train"), ("detect", "predict"), ("detect", "val"), ("classify", "train"), ("classify", "predict"), ("classify", "val")]:
        cases += [
            (task, mode, None, None, False, []),
            (task, mode, None, None, False, [f"runs/{task}/{mode}"]),
            (task, mode, "foo", None, False, []),
        ]
    first = "runs/detect/train"
    cases += [
        ("detect", "train", None, None, False, [first, first + "-2"]),
        ("detect", "train", None, None, False, [first, first + "-3"]),
        ("detect", "train", None, None, False, [first, first + "2"]),
        ("detect", "train", None, None, True, [first]),
        ("detect", "train", None, None, False, [first + "-2"]),
        ("detect", "train", "foo", None, False, ["runs/detect/foo/train"]),
        ("detect", "train", "foo", "bar", False, []),
        ("detect", "train", "foo", "bar", True, ["runs/detect/foo/bar"]),
        ("detect", "train", "foo/", "bar/", False, ["runs/detect/foo/bar"]),
        ("detect", "train", "foo/baz", "a/b", False, ["runs/detect/foo/baz/a/b"]),
        ("detect", "train", "runs/detect", None, False, []),
        ("detect", "train", "./foo", None, False, []),
        ("detect", "train", "../foo", None, False, []),
        ("detect", "train", ".", None, False, []),
        ("detect", "train", "", "", False, []),
        ("detect", "train", "HERE/foo", None, False, []),
        ("detect", "train", "HERE/foo/", "x", False, ["foo/x", "foo/x-2"]),
        ("detect", "train", "HERE", "a/b", False, []),
        ("detect", "train", "foo", "HERE/x", False, ["x"]),
        ("detect", "train", None, "v1.5", False, []),
        ("detect", "train", None, "v1.d", False, ["runs/detect/v1.d/"]),
        ("detect", "train", None, "file.txt", False, ["runs/detect/file.txt"]),
        ("detect", "train", None, "train-2", False, ["runs/detect/train-2"]),
        ("detect", "train", None, "train2", False, ["runs/detect/train2"]),
        ("detect", "train", None, "a b", False, ["runs/detect/a b"]),
    ]
    found = []
    for task, mode, project, name, exist_ok, there in cases:
        with tempfile.TemporaryDirectory(dir=HERE) as here:
            settings.update(runs_dir=f"{here}/runs")
            for path in there:
                path = pathlib.Path(here, path)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("") if path.suffix == ".txt" else path.mkdir()
            whole = lambda text: text and text.replace("HERE", here)
            args = get_cfg(overrides=dict(task=task, mode=mode, project=whole(project), name=whole(name), exist_ok=exist_ok))
            folder = os.path.relpath(get_save_dir(args), os.path.realpath(here))
        found.append(dict(task=task, mode=mode, project=project, name=name, exist_ok=exist_ok, there=there, folder=folder))
    settings.update(runs_dir=f"{HERE}/runs")
    return found


def data():
    rng = np.random.default_rng(0)
    for split, count in [("train", 6), ("val", 2)]:
        for kind in ("images", "labels"):
            os.makedirs(f"set/{kind}/{split}", exist_ok=True)
        for i in range(count):
            cv2.imwrite(f"set/images/{split}/{i}.png", rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
            pathlib.Path(f"set/labels/{split}/{i}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    pathlib.Path("set/data.yaml").write_text(f"path: {HERE}/set\ntrain: images/train\nval: images/val\nnames: [a]\n")


def trained(name, fitness=None, **kw):
    """A run of three steps an epoch; `fitness` is what the validations find in turn."""
    args = dict(model="yolov8n.yaml", data="set/data.yaml", imgsz=32, batch=2, nbs=2, workers=0, device="cpu", name=name)
    run = DetectionTrainer(overrides={**args, **kw})
    before = DetMetrics.fitness
    if fitness is not None:
        values = iter(fitness)
        DetMetrics.fitness = property(lambda self: next(values))
    try:
        run.train()
    finally:
        DetMetrics.fitness = before
    return run


def rows(run):
    with open(run.csv) as file:
        return list(csv.DictReader(file))


def files():
    """Names of a run's files; three steps an epoch, four epochs, no mosaics in the last two."""
    run = trained("files", epochs=4, close_mosaic=2, save_period=2)
    names = sorted(str(path.relative_to(run.save_dir)) for path in run.save_dir.rglob("*") if path.is_file())
    few = trained("few", epochs=3, close_mosaic=1, batch=6, nbs=6)
    few = sorted(path.name for path in few.save_dir.glob("train_batch*"))
    long_closed = trained("closed", epochs=1, close_mosaic=10)
    long_closed = sorted(path.name for path in long_closed.save_dir.glob("train_batch*"))
    text = (run.save_dir / "args.yaml").read_text()
    (GOLDEN / "ultralytics_args.yaml").write_text(text.replace(HERE, "/home/me"))
    return dict(names=names, one_step_an_epoch_three_epochs_the_last_closed=few, one_epoch_close_mosaic_10=long_closed)


def best():
    """Epoch, from 1, whose weights best.pt holds, for the fitness of six epochs."""
    cases = [
        [0.1, 0.3, 0.2, 0.3, 0.1, 0.2],
        [0.3, 0.300004, 0.299996, 0.1, 0.2, 0.1],
        [0.3, 0.300006, 0.3, 0.1, 0.2, 0.1],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.000004, 0.0, 0.00001, 0.0, 0.00001],
        [0.5, 0.4, 0.4, 0.4, 0.4, 0.5],
        [0.2, 0.1, 0.1, 0.1, 0.1, 0.1],
    ]
    found = []
    for number, fitness in enumerate(cases):
        kept = []
        run = DetectionTrainer(overrides=dict(model="yolov8n.yaml", data="set/data.yaml", imgsz=32, batch=6, nbs=6,
                               workers=0, device="cpu", name=f"best{number}", epochs=6, patience=3, plots=False, close_mosaic=0))
        values = iter(fitness + [0.0])
        before = DetMetrics.fitness
        DetMetrics.fitness = property(lambda self: next(values))
        written = lambda t: kept.append(torch.load(t.best, weights_only=False)["epoch"] + 1)
        run.add_callback("on_model_save", written)
        try:
            run.train()
        finally:
            DetMetrics.fitness = before
        found.append(dict(fitness=fitness, patience=3, best=kept[-1], epochs=len(kept)))
    return found


def timed():
    """Runs of limited time by a clock that moves by 36 seconds a step: the rates after each epoch and the steps."""
    found = []
    for hours, epochs, cos_lr in [(0.1, 100, False), (0.1, 2, False), (0.2, 100, True), (0.005, 100, False)]:
        clock = [1000.0]
        steps, planned, rates, closed = [0], [], [], []
        real = engine.time.time
        engine.time.time = lambda: clock[0]
        run = DetectionTrainer(overrides=dict(
            model="yolov8n.yaml", data="set/data.yaml", imgsz=32, batch=2, nbs=2, workers=0, device="cpu",
            name=f"timed{len(found)}", epochs=epochs, time=hours, plots=False, optimizer="SGD", warmup_epochs=1.0,
            cos_lr=cos_lr, close_mosaic=1))
        def step(t):
            clock[0] += 36.0
            steps[0] += 1
        run.add_callback("on_train_batch_start", step)
        run.add_callback("on_fit_epoch_end", lambda t: planned.append(t.epochs) if len(planned) < len(rows(t)) else None)
        shut = run._close_dataloader_mosaic
        run._close_dataloader_mosaic = lambda: (closed.append(run.epoch), shut())
        try:
            run.train()
        finally:
            engine.time.time = real
        found.append(dict(hours=hours, epochs=epochs, cos_lr=cos_lr, lr0=0.01, lrf=0.01, warmup_epochs=1.0, seconds_a_step=36.0, steps_an_epoch=3,
                          steps=steps[0], planned=planned, closed=closed,
                          rates=[[float(row[f"lr/pg{g}"]) for g in range(3)] for row in rows(run)]))
    return found


def batches():
    """What -1 and shares of the memory become on the CPU."""
    model = ultralytics.YOLO("yolov8n.yaml").model
    return {str(batch): check_train_batch_size(model, imgsz=64, amp=False, batch=batch, dataset_size=6) for batch in (-1, 0, 0.3, 0.7)}


def read_back():
    """What Ultralytics reads from the args.yaml of ghostzoo, type by type; fails where it cannot."""
    path = GOLDEN / "ghostzoo_args.yaml"
    if not path.exists():
        return None
    values = YAML.load(path)
    check_dict_alignment(DEFAULT_CFG_DICT, dict(values))
    cfg = vars(get_cfg(overrides=values))
    return {key: [type(cfg[key]).__name__, cfg[key]] for key in values}


def main():
    version = ultralytics.__version__
    assert version == "8.4.190", version
    if sys.argv[1:] == ["read"]:
        golden = {**json.loads((GOLDEN / "run.json").read_text()), "read_back": read_back()}
    else:
        data()
        golden = dict(
            keys=DEFAULT_CFG_DICT, folders=folders(), files=files(), best=best(), timed=timed(), batches=batches(), read_back=read_back())
    lines = ",\n".join(f"{json.dumps(key)}: " + (
        "[\n" + ",\n".join(json.dumps(row) for row in value) + "\n]" if isinstance(value, list) else json.dumps(value)) for key, value in golden.items())
    (GOLDEN / "run.json").write_text("{\n" + lines + "\n}\n")
    for key in ("files", "best", "timed", "batches", "read_back"):
        print(key, json.dumps(golden[key]))
    print(len(golden["keys"]), "keys,", len(golden["folders"]), "folders")


main()
