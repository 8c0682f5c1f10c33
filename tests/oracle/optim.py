"""Golden values of candle_vision::train: optimizers, averages, clipping, schedules, losses, in float64.

pip install torch==2.15.0 timm==1.0.31 ultralytics==8.4.190 numpy opencv-python
usage: optim.py     writes tests/golden/train/{optimizers,averages,schedules,losses}.json; parameters and gradients are
                    the values u(name, i) of seeded.py; the warm-up is what Ultralytics' trainer does on images of
                    noise, step by step
"""
import json
import pathlib
import sys
import tempfile

import numpy as np
import timm.loss
import timm.scheduler
import torch
import torch.nn.functional as F
from timm.optim.rmsprop_tf import RMSpropTF
from timm.utils import ModelEmaV3
from ultralytics.optim.muon import MuSGD
from ultralytics.utils.torch_utils import ModelEMA

import seeded

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "train"
SHAPES = {"one": [3], "wide": [2, 5], "tall": [5, 2], "column": [3, 2, 3, 1], "row": [2, 2, 1, 3]}
STEPS = 20


def uniform(name, shape):
    return torch.from_numpy(seeded.uniform(name, int(np.prod(shape)))).reshape(shape)


def numbers(tensor):
    return [float(x) for x in tensor.detach().flatten()]


def rate(step):
    return 0.01 * (1 + step / 10)


def momentum(step):
    return 0.8 + step / 200


def has_gradient(name, step):
    """`tall` lacks a gradient in three steps, the first included."""
    return name != "tall" or step not in (0, 7, 8)


def optimizers():
    """Parameters after each half of the steps; rate and momentum change in each step."""
    decay = 0.05
    make = {
        "sgd_plain": lambda p: torch.optim.SGD(p, lr=1, weight_decay=decay),
        "sgd_momentum": lambda p: torch.optim.SGD(p, lr=1, momentum=0.9, weight_decay=decay),
        "sgd_nesterov": lambda p: torch.optim.SGD(p, lr=1, momentum=0.9, nesterov=True, weight_decay=decay),
        "sgd_nesterov_undecayed": lambda p: torch.optim.SGD(p, lr=1, momentum=0.9, nesterov=True),
        "adam": lambda p: torch.optim.Adam(p, lr=1, weight_decay=decay),
        "adamw": lambda p: torch.optim.AdamW(p, lr=1, weight_decay=decay),
        "adamax": lambda p: torch.optim.Adamax(p, lr=1, weight_decay=decay),
        "nadam": lambda p: torch.optim.NAdam(p, lr=1, weight_decay=decay),
        "radam": lambda p: torch.optim.RAdam(p, lr=1, weight_decay=decay),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1, momentum=0.9, weight_decay=decay),
        "rmsprop_plain": lambda p: torch.optim.RMSprop(p, lr=1, weight_decay=decay),
        "rmsprop_tf": lambda p: RMSpropTF(p, lr=1, momentum=0.9, weight_decay=decay),
        "rmsprop_tf_outside": lambda p: RMSpropTF(p, lr=1, momentum=0.9, weight_decay=decay, lr_in_momentum=False),
        "rmsprop_tf_plain": lambda p: RMSpropTF(p, lr=1, weight_decay=decay),
    }
    golden = {}
    for name, build in make.items():
        golden[name] = run(lambda params: build(list(params.values())), keeps_momentum=name.endswith("plain"))
    matrices = [name for name, shape in SHAPES.items() if len(shape) in (2, 4)]

    def musgd(params):
        options = {"nesterov": True, "momentum": 0.9, "weight_decay": decay}
        groups = [
            {"params": [params[name] for name in matrices], "use_muon": True, **options},
            {"params": [params[name] for name in SHAPES if name not in matrices], **options},
        ]
        return MuSGD(groups, lr=1, muon=0.2, sgd=1.0)

    narrow = run(musgd)
    bfloat16, torch.Tensor.bfloat16 = torch.Tensor.bfloat16, lambda self: self
    golden["musgd"] = run(musgd)
    torch.Tensor.bfloat16 = bfloat16
    pairs = zip(narrow["end"].values(), golden["musgd"]["end"].values())
    distance = max(abs(a - b) for ours, theirs in pairs for a, b in zip(ours, theirs))
    print(f"musgd: the orthogonalisation in bfloat16 moves a parameter by up to {distance:.1e} of its course in float64")
    return golden


def run(build, keeps_momentum=False):
    params = {name: torch.nn.Parameter(uniform(name, shape)) for name, shape in SHAPES.items()}
    optimizer = build(params)
    golden = {}
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
            if "betas" in group:
                group["betas"] = (momentum(step), 0.999)
            elif not keeps_momentum:
                group["momentum"] = momentum(step)
        for name, param in params.items():
            param.grad = uniform(f"{name}.{step}", SHAPES[name]) if has_gradient(name, step) else None
        optimizer.step()
        if step + 1 == STEPS // 2:
            golden["half"] = {name: numbers(param) for name, param in params.items()}
    golden["end"] = {name: numbers(param) for name, param in params.items()}
    return golden


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 1, bias=False)
        self.bn = torch.nn.BatchNorm2d(3)

    def fill(self, update):
        for name, value in self.state_dict().items():
            if value.is_floating_point():
                value.copy_(uniform(f"{name}.{update}", list(value.shape)))
        return self


def averages():
    """Averages after 5 updates of changing values, and clipped gradients."""
    golden = {}
    with torch.no_grad():
        for name, make in {
            "ramp": lambda m: ModelEMA(m),
            "ramp_late": lambda m: ModelEMA(m, updates=3000),
            "constant": lambda m: ModelEmaV3(m, decay=0.9),
        }.items():
            model = Model().double().fill(0)
            ema = make(model)
            for update in range(1, 6):
                ema.update(model.fill(update))
            state = (ema.ema if name != "constant" else ema.module).state_dict()
            golden[name] = {k: numbers(v) for k, v in state.items() if v.is_floating_point()}
    clipped = {}
    for limit in (0.5, 1e3):
        params = {name: torch.nn.Parameter(torch.zeros(shape).double()) for name, shape in SHAPES.items()}
        for name, param in params.items():
            param.grad = uniform(f"{name}.0", SHAPES[name]) if name != "row" else None
        norm = float(torch.nn.utils.clip_grad_norm_(params.values(), limit))
        clipped[str(limit)] = {"norm": norm, "grads": {n: numbers(p.grad) for n, p in params.items() if n != "row"}}
    golden["clip_norm"] = clipped
    return golden


def recorded(settings, folder):
    """Rate of each group, momentum, accumulation and steps of each iteration of Ultralytics' own trainer."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    course = {"rates": [], "momentum": [], "accumulate": [], "updates": []}

    def start(trainer):
        # Callbacks come before the warm-up of their iteration: read the state in the forward pass, behind it.
        forward = trainer.model.forward

        def recording(xs, *args, **kwargs):
            if isinstance(xs, dict):  # a batch; images alone are the call within it
                groups = trainer.optimizer.param_groups
                boost = lambda group: "_boosted" if group["initial_lr"] > 2 * settings["lr0"] else ""
                course["rates"].append({group["param_group"] + boost(group): group["lr"] for group in groups})
                course["momentum"].append(groups[0].get("momentum"))
                course["accumulate"].append(trainer.accumulate)
            return forward(xs, *args, **kwargs)

        trainer.model.forward = recording

    options = {"model": "yolov8n.yaml", "data": f"{folder}/data.yaml", "imgsz": 32, "device": "cpu", "workers": 0,
               "pretrained": False, "plots": False, "val": False, "save": False, "amp": False, "project": folder,
               "verbose": False, **settings}  # fmt: skip
    trainer = DetectionTrainer(overrides=options)
    trainer.add_callback("on_train_start", start)
    trainer.add_callback("on_train_batch_end", lambda trainer: course["updates"].append(trainer.ema.updates))
    trainer.train()
    weight = next(g for g in trainer.optimizer.param_groups if g["param_group"] == "weight")
    course["batches"], course["weight_decay"] = len(trainer.train_loader), weight["weight_decay"]
    course["steps"] = [after > before for before, after in zip([0] + course["updates"], course["updates"])]
    del course["updates"]
    return {"settings": settings, **course}


def noise(folder, count):
    """A data set of grey noise with one box each."""
    from PIL import Image

    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for index in range(count):
        pixels = (127 * (1 + seeded.uniform(f"picture.{index}", 32 * 32))).astype(np.uint8).reshape(32, 32)
        Image.fromarray(pixels).convert("RGB").save(folder / "images" / f"{index}.png")
        (folder / "labels" / f"{index}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images\nval: images\nnames: [noise]\n")


def schedules():
    golden = {"ultralytics": [], "timm": []}
    with tempfile.TemporaryDirectory() as folder:
        noise(pathlib.Path(folder), 22)
        common = {"epochs": 4, "batch": 4, "nbs": 12, "lr0": 0.01, "momentum": 0.937, "close_mosaic": 0}
        for settings in (
            {"optimizer": "SGD", "warmup_epochs": 1.5, "lrf": 0.01},
            {"optimizer": "SGD", "warmup_epochs": 3.0, "lrf": 0.1, "cos_lr": True, "epochs": 2, "nbs": 64},
            {"optimizer": "AdamW", "warmup_epochs": 0.0, "lrf": 0.2, "warmup_bias_lr": 0.0},
            {"optimizer": "MuSGD", "warmup_epochs": 0.7, "lrf": 0.2, "nbs": 2},
            {"optimizer": "NAdam", "warmup_epochs": 1.0, "lrf": 0.1},
            {"optimizer": "RMSProp", "warmup_epochs": 1.0, "lrf": 0.1},
        ):
            golden["ultralytics"].append(recorded({**common, **settings}, folder))

    def timm_course(build, length):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
        schedule = build(optimizer)
        return [schedule._get_lr(time)[0] for time in range(length)]

    for prefix in (False, True):
        warm = {"warmup_t": 5, "warmup_lr_init": 0.001, "warmup_prefix": prefix}
        cosine = lambda o: timm.scheduler.CosineLRScheduler(o, t_initial=20, lr_min=0.01, **warm)
        steps = lambda o: timm.scheduler.StepLRScheduler(o, decay_t=2.4, decay_rate=0.9, **warm)
        golden["timm"].append({"prefix": prefix, "cosine": timm_course(cosine, 30), "step": timm_course(steps, 30)})
    return golden


def losses():
    """Values and gradients, of ordinary and of huge logits."""
    golden = {}
    shape = [6, 5]
    for size in (3.0, 2000.0):
        logits = size * uniform("logits", shape)
        targets = (uniform("targets", shape) + 1) / 2
        soft = targets / targets.sum(1, keepdim=True)
        weights = uniform("weights", shape) + 1
        teacher = size / 2 * uniform("teacher", shape)
        classes = torch.tensor([0, 4, 2, 2, 1, 3])
        log_softmax = lambda x: F.log_softmax(x, dim=1)
        temperature = 3.0
        cases = {
            "bce": lambda x: F.binary_cross_entropy_with_logits(x, targets, reduction="sum"),
            "bce_weighted": lambda x: F.binary_cross_entropy_with_logits(x, targets, weights, reduction="sum"),
            "bce_classes": lambda x: timm.loss.BinaryCrossEntropy(smoothing=0.1)(x, classes),
            "bce_threshold": lambda x: timm.loss.BinaryCrossEntropy(smoothing=0.1, target_threshold=0.2)(x, soft),
            "cross_entropy": lambda x: F.cross_entropy(x, classes),
            "cross_entropy_smooth": lambda x: F.cross_entropy(x, classes, label_smoothing=0.1),
            "cross_entropy_soft": lambda x: timm.loss.SoftTargetCrossEntropy()(x, soft),
            "distill_soft": lambda x: temperature**2
            * F.kl_div(
                log_softmax(x / temperature), log_softmax(teacher / temperature), reduction="batchmean", log_target=True
            ),
            "distill_hard": lambda x: F.cross_entropy(x, teacher.argmax(1)),
        }
        found = {}
        for name, loss in cases.items():
            leaf = logits.clone().requires_grad_()
            value = loss(leaf)
            value.backward()
            found[name] = {"value": float(value.detach()), "grad": numbers(leaf.grad)}
        golden[str(size)] = found
    return golden


def write(name, golden):
    GOLDEN.mkdir(parents=True, exist_ok=True)
    path = GOLDEN / f"{name}.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes")


def main():
    parts = {"optimizers": optimizers, "averages": averages, "schedules": schedules, "losses": losses}
    for name in sys.argv[1:] or parts:
        write(name, parts[name]())


if __name__ == "__main__":
    main()
