"""Golden training steps of candle-ghostnet, by timm in float64 on weights filled by the rule of seeded.py.

pip install torch==2.15.0 timm==1.0.31 ultralytics==8.4.190 numpy
usage: train_ghostnet.py [VARIANT...]     writes tests/golden/train/<variant>.json of these variants, or of all, and
                                          prints how far rounding moves them

A position whose activation is 0 but for rounding may fall on either side of a ReLU, and moves gradients by more than
rounding, which steps amplify. How float32 rounds differs from processor to processor. What it may do is measured: in
float64, where every layer's output is multiplied by values around 1 that differ by ROUNDING, anew in each of DRAWS
trainings. Each variant has the batch, among a few, and the rates at which these trainings stay closest.
"""
import json
import sys

import numpy as np
import timm
import torch
import torch.nn.functional as F
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3

import seeded
from optim import GOLDEN

# Name of the batch, and factor of the rates.
VARIANTS = {"ghostnet_100": ("input.5", 1.0), "ghostnetv2_100": ("input.0", 1.0), "ghostnetv3_100": ("input.6", 0.01)}
CLASSES = 10
SIZE = (4, 3, 64, 64)
LABELS = [1, 4, 7, 2]
RATES, MOMENTA = [0.0005, 0.001, 0.0015], [0.8, 0.85, 0.9]
DECAY, SMOOTHING, EMA = 0.01, 0.1, 0.75
# The scale of a gradient is its largest magnitude, but at least this share of the largest of all: that of a bias with
# nothing but another batch norm behind it is 0, but for rounding. The scale of a weight is its largest magnitude.
FLOOR = 1e-4
# float32 is held to a thousandth of a tensor's scale, and to a tenth of that of a loss; what misses that by half is recorded.
NOTED, LOSS_NOTED = 5e-4, 5e-5
# The largest relative error of one rounding to float32.
ROUNDING, DRAWS = 2.0**-24, 32


def perturb(model, seed):
    """Multiplies the output of each layer, and what flows back to it, by normal values around 1."""
    generator = torch.Generator().manual_seed(seed)
    noise = lambda output: 1 + ROUNDING * torch.randn(output.shape, generator=generator, dtype=output.dtype)
    for layer in model.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda layer, inputs, output: output * noise(output))


def train(name, dtype, seed=None):
    """Losses, and tensors by name: gradients of the first step; how far the steps move the state and its average."""
    batch, factor = VARIANTS[name]
    model = timm.create_model(name, num_classes=CLASSES, drop_rate=0.0)
    model = seeded.fill(model).to(dtype).train()
    if seed is not None:
        perturb(model, seed)
    state = lambda m: {k: v.detach().clone() for k, v in m.state_dict().items() if v.is_floating_point()}
    before = state(model)
    ema = ModelEmaV3(model, decay=EMA)
    optimizer = torch.optim.SGD(param_groups_weight_decay(model, DECAY), lr=1, momentum=0.9, nesterov=True)
    images = torch.from_numpy(2 * seeded.uniform(batch, int(np.prod(SIZE)))).reshape(SIZE).to(dtype)
    labels, losses = torch.tensor(LABELS), []
    for rate, momentum in zip(RATES, MOMENTA):
        for group in optimizer.param_groups:
            group["lr"], group["momentum"] = rate * factor, momentum
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels, label_smoothing=SMOOTHING)
        loss.backward()
        losses.append(float(loss.detach()))
        if len(losses) == 1:
            grads = {k: p.grad.double() for k, p in model.named_parameters()}
        optimizer.step()
        ema.update(model)
    moved = lambda after: {k: (v - before[k]).double() for k, v in sorted(after.items())}
    return losses, {"grads": dict(sorted(grads.items())), "weights": moved(state(model)), "ema": moved(state(ema.module))}


def dot(name, tensor):
    """The sum of products with u("dot." + name, i)."""
    return float(tensor.flatten() @ torch.from_numpy(seeded.uniform(f"dot.{name}", tensor.numel())))


def short(*values):
    return [float(f"{float(x):.8g}") for x in values]


def main():
    torch.set_num_threads(1)  # the order of sums in float32
    for name in sys.argv[1:] or VARIANTS:
        losses, found = train(name, torch.float64)
        rounded = [train(name, torch.float32), *(train(name, torch.float64, seed) for seed in range(DRAWS))]
        grads, weights, ema = found["grads"], found["weights"], found["ema"]
        largest = lambda tensor: tensor.abs().max()
        middle = lambda tensor: tensor.flatten()[tensor.numel() // 2]
        off = [max(abs(other[i] / loss - 1) for other, _ in rounded) for i, loss in enumerate(losses)]
        golden = {
            "batch": VARIANTS[name][0],
            "factor": VARIANTS[name][1],
            "losses": losses,
            # In the order of the names: largest magnitude, product, middle element.
            "grads": [short(largest(g), dot(k, g), middle(g)) for k, g in grads.items()],
            # In the order of the names: largest magnitude, product, product of the average.
            "weights": [short(largest(w), dot(k, w), dot(k, ema[k])) for k, w in weights.items()],
            "float32": {"losses": {str(i): float(f"{share:.2g}") for i, share in enumerate(off) if share > LOSS_NOTED}},
        }
        print(f"{name}: losses {losses}, moved by {' '.join(f'{share:.1e}' for share in off)}")
        floor = FLOOR * max(float(largest(grad)) for grad in grads.values())
        scales = {key: max(float(largest(grad)), floor) for key, grad in grads.items()}
        own = {key: float(np.abs(seeded.tensor(key, tuple(weight.shape))).max()) for key, weight in weights.items()}
        for part, tensors in found.items():
            distance = lambda key: max(float(largest(other[part][key] - tensors[key])) for _, other in rounded)
            shares = {key: distance(key) / (scales if part == "grads" else own)[key] for key in tensors}
            golden["float32"][part] = {key: float(f"{share:.2g}") for key, share in shares.items() if share > NOTED}
            print(f"  {part}: moved by {max(shares.values()):.1e}, {len(golden['float32'][part])} noted")
        moved = sum(float(largest(weight)) > 1e-2 * own[key] for key, weight in weights.items())
        print(f"  {moved} of {len(weights)} tensors move by a hundredth of their magnitude")
        path = GOLDEN / f"{name}.json"
        path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        print(f"  {path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
