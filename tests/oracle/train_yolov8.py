"""Golden values of candle-yolov8's training, by Ultralytics in float64 on weights filled by the rule of seeded.py.

pip install torch==2.15.0 torchvision==0.29.2 ultralytics==8.4.190 opencv-python-headless numpy
usage: train_yolov8.py           writes all of tests/golden/train/yolov8*.json
       train_yolov8.py parts     writes yolov8-parts.json: CIoU, DFL, and the loss of raw levels
       train_yolov8.py weights   writes class_weights.json: what cls_pw weights classes by
       train_yolov8.py MODEL…    writes <MODEL>.json: the first steps of a training, of yolov8n, yolov8n-ghost, …

Prints how far the assigner is from another choice, and fails where that is less than MARGIN.
"""
import copy
import json
import pathlib
import sys
from types import SimpleNamespace

import numpy as np
import torch
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils.loss import DFLoss, v8DetectionLoss
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.torch_utils import ModelEMA

import seeded
from common import write
import yolov8

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "train"
MODELS = {"yolov8n": "yolov8", "yolov8n-ghost": "yolov8-ghost", "yolov8n-ghostnet": "yolov8-ghostnet"}
GAINS = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
SIZE = [96, 128]
PICTURES, CLASSES, STEPS, WARM_UP = 3, 3, 3, 4
SAMPLES = 2
# Relative distance of the metrics, and absolute distance of overlaps and pixels, at which the assigner would choose
# otherwise. A network in float32 is off by some 1e-5.
MARGIN = 2e-4


def rounded(value):
    return float(f"{float(value.detach() if isinstance(value, torch.Tensor) else value):.12g}")


def describe(name, tensor):
    """Norm, largest magnitude, product with a fixed direction, and samples spread over the tensor in row-major order."""
    flat = tensor.detach().double().flatten()
    direction = torch.from_numpy(seeded.uniform(f"direction {name}", flat.numel()))
    places = [index * flat.numel() // SAMPLES for index in range(min(SAMPLES, flat.numel()))]
    numbers = [flat.norm(), flat.abs().max(), flat @ direction, *flat[places]]
    return [rounded(number) for number in numbers]


def objects(name, count, pictures, classes, least, most):
    """Rows of image, class, and xywhn in float32, inside the image; sides are shares from `least` to `most`."""
    u = (seeded.uniform(name, 6 * count).reshape(count, 6) + 1) / 2
    sides = least * (most / least) ** u[:, 2:4]
    centres = sides / 2 + u[:, 4:6] * (1 - sides)
    rows = np.concatenate([np.floor(u[:, :1] * pictures), np.floor(u[:, 1:2] * classes), centres, sides], 1)
    return rows[np.argsort(rows[:, 0], kind="stable")].astype(np.float32).astype(np.float64)


def batch_of(rows):
    rows = torch.tensor(rows, dtype=torch.get_default_dtype()).reshape(-1, 6)
    return {"batch_idx": rows[:, 0], "cls": rows[:, 1], "bboxes": rows[:, 2:]}


class Watch:
    """Runs an assigner, keeps what it returned, and measures how far it was from another choice."""

    def __init__(self, assigner):
        self.assigner, self.margins = assigner, {}

    def closer(self, what, distances):
        if distances.numel():
            self.margins[what] = min(self.margins.get(what, 1e9), float(distances.min()))

    @torch.no_grad()
    def __call__(self, scores, boxes, anchors, labels, truths, valid):
        self.result = self.assigner(scores, boxes, anchors, labels, truths, valid)
        if truths.shape[1] == 0:
            return self.result
        a = self.assigner
        a.bs, a.n_max_boxes = scores.shape[0], truths.shape[1]
        chosen, metric, overlap = a.get_pos_mask(scores, boxes, labels, truths, anchors, valid)
        best = metric.sort(-1, descending=True).values[..., : a.topk + 1]
        best = best[best[..., a.topk] > 0]
        self.closer("metric", 1 - best[:, a.topk] / best[:, a.topk - 1])
        contested = chosen.sum(1) > 1
        top = overlap.transpose(1, 2)[contested].sort(-1, descending=True).values
        self.closer("overlap", top[:, 0] - top[:, 1] if top.shape[-1] > 1 else top[:0, 0])
        # Anchors of metric 0 fill up what an object takes, and could contest another's.
        self.closer("filler", 1e9 - 2e9 * ((chosen > 0) & (metric == 0) & contested[:, None]).any(-1).double())
        real = valid[..., 0].bool()
        centre, side = (truths[..., :2] + truths[..., 2:]) / 2, (truths[..., 2:] - truths[..., :2]).clamp(a.stride_val)
        offset = (anchors[None, None] - centre[:, :, None]).abs() - side[:, :, None] / 2
        self.closer("inside", offset.abs()[real])
        return self.result


def check(name, watch):
    print(f"{name:24}", "  ".join(f"{what} {margin:.2g}" for what, margin in sorted(watch.margins.items())), flush=True)
    if min(watch.margins.values(), default=1) < MARGIN:
        sys.exit(f"{name}: the assigner nearly chose otherwise")


def watched(criterion):
    criterion.assigner = Watch(criterion.assigner)
    return criterion


# Parts


def ciou_cases():
    """Pairs of boxes: alike, apart, nested, thin, and at random."""
    pairs = [
        [[1, 2, 5, 8], [1.5, 2.5, 5.5, 8.5]],
        [[0, 0, 2, 2], [5, 6, 9, 7]],
        [[0, 0, 10, 10], [3, 4, 5, 7]],
        [[3, 4, 5, 7], [0, 0, 10, 10]],
        [[0, 0, 10, 0.5], [4, -3, 4.25, 6]],
        [[1, 1, 1, 1], [0, 0, 2, 2]],
    ]
    corner = seeded.uniform("ciou corners", 80).reshape(20, 2, 2) * 4
    side = seeded.uniform("ciou sides", 80).reshape(20, 2, 2) * 3 + 3.5
    pairs += np.concatenate([corner, corner + side], -1).tolist()
    cases = []
    for first, second in pairs:
        a = torch.tensor(first, dtype=torch.float64, requires_grad=True)
        value = bbox_iou(a, torch.tensor(second, dtype=torch.float64), xywh=False, CIoU=True)
        value.sum().backward()
        cases.append([first, second, rounded(value), [rounded(x) for x in a.grad]])
    return cases


def dfl_cases():
    """Rows of four distances; the logits (4, 16) of row i are 3 · u(dfl i)."""
    rows = [[0, 0.25, 7.5, 14.9], [-2, 3, 15, 40], [1, 2.999, 14.99, 11.0625], [5.5, 0.001, 9.75, 13.375]]
    cases = []
    for index, row in enumerate(rows):
        logits = torch.tensor(seeded.uniform(f"dfl{index}", 64).reshape(4, 16) * 3, requires_grad=True)
        value = DFLoss(16)(logits, torch.tensor([row], dtype=torch.float64))
        value.sum().backward()
        cases.append({"distances": row, "value": rounded(value), "gradient": [rounded(x) for x in logits.grad.flatten()]})
    return cases


class Head(torch.nn.Module):
    """What the criterion asks of a model."""

    def __init__(self, classes, strides, class_weights=None):
        super().__init__()
        if class_weights:
            self.class_weights = torch.tensor(class_weights)
        self.anything = torch.nn.Parameter(torch.zeros(1))
        self.args = GAINS
        self.model = [SimpleNamespace(stride=torch.tensor(strides), nc=classes, reg_max=16)]


def loss_case(name, size, pictures, classes, strides, rows, class_weights=None):
    """The loss of raw levels 2 · u(name level) with box logits that fall by a quarter per bin."""
    levels, feats = [], []
    for index, stride in enumerate(strides):
        h, w = (int(side / stride) for side in size)
        values = torch.tensor(seeded.uniform(f"{name}{index}", pictures * (64 + classes) * h * w) * 2)
        values = values.reshape(pictures, 64 + classes, h, w)
        values[:, :64] -= (torch.arange(64) % 16 / 4).reshape(1, 64, 1, 1)
        levels.append(values.requires_grad_())
        feats.append(torch.zeros(1, 1, h, w))
    joint = torch.cat([level.flatten(2) for level in levels], 2)
    criterion = watched(v8DetectionLoss(Head(classes, strides, class_weights)))
    total, items = criterion({"boxes": joint[:, :64], "scores": joint[:, 64:], "feats": feats}, batch_of(rows))
    total.sum().backward()
    check(name, criterion.assigner)
    _, _, scores, _, chosen = criterion.assigner.result
    weight = scores.sum(-1)
    positives = [[*place, int(chosen[tuple(place)]), rounded(weight[tuple(place)])] for place in weight.nonzero().tolist()]
    return {
        "name": name,
        "size": size,
        "pictures": pictures,
        "classes": classes,
        "strides": strides,
        "class_weights": class_weights,
        "objects": rows if isinstance(rows, list) else rows.tolist(),
        "total": rounded(total.sum()),
        "parts": [rounded(item) for item in items.values()],
        "positives": positives,
        "gradients": [describe(f"{name}{index}", level.grad) for index, level in enumerate(levels)],
    }


def parts():
    three = [8.0, 16.0, 32.0]
    flat = [0, 1, 0.53125, 0.484375, 0.25, 0.0]
    point = [1, 0, 0.265625, 0.703125, 0.0, 0.0]
    small = objects("small", 20, 3, 2, 0.01, 0.08).tolist()
    golden = {
        "ciou": ciou_cases(),
        "dfl": dfl_cases(),
        "losses": [
            loss_case("many classes", [320, 320], 1, 80, three, objects("many classes", 9, 1, 80, 0.1, 0.5)),
            loss_case("crowd", [96, 128], 2, 3, three, objects("crowd", 60, 2, 3, 0.15, 0.9)),
            loss_case("small", [128, 96], 3, 2, three, small),
            loss_case("no area", [128, 96], 3, 2, three, [flat, *small[:4], point]),
            loss_case("four levels", [64, 64], 1, 1, [4.0, 8.0, 16.0, 32.0], objects("four", 4, 1, 1, 0.1, 0.6)),
            loss_case("one level", [64, 64], 1, 1, [8.0], objects("one", 3, 1, 1, 0.3, 0.7)),
            loss_case("nothing", [64, 64], 2, 2, three, []),
            loss_case("weighted", [96, 128], 2, 3, three, objects("crowd", 60, 2, 3, 0.15, 0.9), [0.25, 2.0, 0.75]),
            loss_case("weighted nothing", [64, 64], 2, 2, three, [], [0.4, 1.6]),
        ],
    }
    write(GOLDEN / "yolov8-parts.json", golden)


def class_weights():
    """What Ultralytics' trainer weights classes of so many objects by, nothing where it sets no weights."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    cases = []
    for counts in ([10, 20, 40], [7], [5000, 1, 333, 12, 12], [9, 0, 3, 0], [0, 0]):
        for power in (0.0, 0.25, 1.0):
            trainer = DetectionTrainer.__new__(DetectionTrainer)
            trainer.args = SimpleNamespace(cls_pw=power)
            trainer.data = {"nc": len(counts)}
            trainer.device = torch.device("cpu")
            rows = np.repeat(np.arange(len(counts)), counts).reshape(-1, 1).astype(np.float32)
            trainer.train_loader = SimpleNamespace(dataset=SimpleNamespace(labels=[{"cls": rows[:3]}, {"cls": rows[3:]}]))
            trainer.model = torch.nn.Module()
            trainer.set_class_weights()
            found = getattr(trainer.model, "class_weights", None)
            weights = None if found is None else [float(x) for x in found]
            cases.append({"counts": counts, "power": power, "weights": weights})
    write(GOLDEN / "class_weights.json", cases)


# Training steps


def pictures():
    """(n, 3, h, w) in [0, 1): blocks of 16 x 16 pixels, and noise of half their weight."""
    h, w = SIZE
    coarse = seeded.uniform("train blocks", PICTURES * 3 * h * w // 256).reshape(PICTURES, 3, h // 16, w // 16)
    noise = seeded.uniform("train noise", PICTURES * 3 * h * w).reshape(PICTURES, 3, h, w)
    return torch.tensor(0.5 + coarse.repeat(16, 2).repeat(16, 3) / 3 + noise / 6)


def fill(model):
    """Seeded weights; the box biases fall by a half per bin, so that all levels find objects of their size."""
    seeded.fill(model)
    for branch in model.model[-1].cv2:
        branch[-1].bias.data -= torch.arange(64) % 16 / 2


def train(family, dtype, rows):
    """The loss in evaluation, then STEPS steps; every number that the test compares."""
    torch.set_default_dtype(dtype)
    model = yolov8.build(family, "n", CLASSES)
    fill(model)
    model.to(dtype)
    model.args = GAINS
    images, batch = pictures().to(dtype), batch_of(rows)
    criterion = watched(v8DetectionLoss(model))
    with torch.no_grad():
        in_evaluation = list(criterion(model.eval()(images), batch)[1].values())

    for name, parameter in model.named_parameters():
        parameter.requires_grad = ".dfl" not in name
    recipe = SimpleNamespace(data={"nc": CLASSES}, args=None)
    optimizer = BaseTrainer.build_optimizer(recipe, model, "SGD", lr=0.01, momentum=0.937, decay=5e-4)
    ema = ModelEMA(model)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    steps, gradients = [], {}
    for step in range(STEPS):
        share = step / WARM_UP
        for group in optimizer.param_groups:
            first = 0.1 if group["param_group"] == "bias" else 0.0
            group["lr"] = first + (0.01 - first) * share
            group["momentum"] = 0.8 + (0.937 - 0.8) * share
        total, items = criterion(model(images), batch)
        total.sum().backward()
        if step == 0:
            gradients = {k: p.grad.clone() for k, p in model.named_parameters() if p.requires_grad}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update(model)
        steps.append([total.sum().detach(), *items.values(), norm])
    check(f"{family} {str(dtype).rsplit('.')[-1]}", criterion.assigner)
    positives = (criterion.assigner.result[2].sum(-1) > 0).sum(0)
    cells = [int(SIZE[0] * SIZE[1] / stride**2) for stride in model.stride]
    positives = [int(level.sum()) for level in positives.split(cells)]
    print(f"{'':24} loss by step {[round(float(step[0]), 3) for step in steps]}, positives by level {positives}")
    state, averaged = model.state_dict(), ema.ema.state_dict()
    trained = [name for name in state if name in gradients]
    statistics = [name for name in state if "running_" in name]

    def moved(tensors, names):
        return {name: tensors[name] - start[name] for name in names}

    return {
        "biases": biases(model),
        "in_evaluation": torch.stack(in_evaluation),
        "steps": torch.tensor(steps),
        "gradients": gradients,
        "weights": moved(state, trained),
        "averaged": moved(averaged, trained),
        "statistics": moved(state, statistics),
        "averaged_statistics": moved(averaged, statistics),
    }


def biases(model):
    """The biases that Ultralytics' head would start with, by name: the first value and how many there are."""
    model = copy.deepcopy(model).float()
    model.model[-1].bias_init()
    state = model.state_dict()
    names = [name for name in state if name.endswith(".2.bias") and state[name].ndim == 1 and "model.22." in name]
    return {name: [float(np.float32(state[name][0])), len(state[name])] for name in names}


def distance(wide, narrow):
    """Largest difference of two tensors."""
    return float(f"{float((wide.double() - narrow.double()).abs().max()):.3g}")


def model_golden(name):
    rows = objects("train objects", 9, PICTURES - 1, CLASSES, 0.15, 0.7)
    wide, narrow = (train(MODELS[name], dtype, rows) for dtype in (torch.float64, torch.float32))
    golden = {
        "size": SIZE,
        "pictures": PICTURES,
        "classes": CLASSES,
        "objects": rows.tolist(),
        "biases": wide["biases"],
        "in_evaluation": [rounded(x) for x in wide["in_evaluation"]],
        "steps": [[rounded(x) for x in step] for step in wide["steps"]],
        "steps_f32": [[distance(*pair) for pair in zip(*rows)] for rows in zip(wide["steps"], narrow["steps"])],
    }
    # Each tensor's description, and how far PyTorch itself is off in float32.
    for part in ["gradients", "weights", "averaged", "statistics", "averaged_statistics"]:
        golden[part] = {k: [*describe(k, v), distance(v, narrow[part][k])] for k, v in wide[part].items()}
        shares = {k: row[-1] / row[1] for k, row in golden[part].items() if row[1] > 0}
        worst = sorted(shares, key=shares.get)[-3:]
        print(f"{'':24} {part}: off in float32 by", {k: f"{shares[k]:.1g} of {golden[part][k][1]:.1g}" for k in worst})
    text = json.dumps(golden, separators=(",", ":")) + "\n"
    (GOLDEN / f"{name}.json").write_text(text)
    print(f"{'':24} {len(text)} bytes", flush=True)


def main():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    wanted = sys.argv[1:] or ["weights", "parts", *MODELS]
    if "weights" in wanted:
        class_weights()
    if "parts" in wanted:
        torch.set_default_dtype(torch.float64)
        parts()
    for name in wanted:
        if name in MODELS:
            model_golden(name)


if __name__ == "__main__":
    main()
