"""Networks with some of their dense convolutions in 8 bits, as PyTorch computes the integers, on weights filled by the rule of seeded.py.

pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 ultralytics==8.4.190 opencv-python-headless numpy
usage: int8.py     writes tests/golden/int8.json: per network and per set of convolutions in 8 bits the image's size, per
                   convolution the input's scale and zero point, and per output every STEP-th value, the root of the mean
                   square, and the same of the difference from f32

The sets are the first four convolutions, and some alone. Of more in a row no two programs agree: between them is f32, whose
rounding makes one in some thousand inputs another integer, and each of those makes others in the next layer: beside our own
kernels, yolov8n has a hundredth of the difference from f32 after two layers, a third after 24, and all of it after 32.

Inputs of convolutions lie between the least and the greatest value that f32 has on the same image; weights have the step of
the largest of their output channel, over 127. Sums of integers are computed in f64, which holds them exactly.
"""
import pathlib

import timm
import torch
import torchvision
import ultralytics
from timm.utils.model import reparameterize_model
from torch.fx.experimental.optimization import fuse

import ghostnet
import seeded
import yolov8
from bf16 import CLASSIFIER_SIZE, DETECTOR_SIZE, levels, logits
from common import rounded, write

DETECTORS = {"yolov8n": "yolov8", "yolov8n-ghostnet": "yolov8-ghostnet"}
CLASSIFIERS = ["ghostnet_100", "ghostnetv2_100"]
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "int8.json"
STEP = 997
FIRST = 4
APART = 16


def chosen(model):
    """Dense convolutions and linear layers that neither read the image nor gate a map, by our paths."""
    for name, module in model.named_modules():
        is_conv = isinstance(module, torch.nn.Conv2d) and module.groups == 1 and module.in_channels != 3
        is_gate = ".se." in name or "short_conv" in name
        is_bins = name.endswith(".dfl.conv")
        if (is_conv or isinstance(module, torch.nn.Linear)) and not is_gate and not is_bins:
            yield name.removeprefix("model.") if name.startswith("model.model.") else name, module


def watch(module, found):
    def look(_, inputs):
        low, high = inputs[0].min().item(), inputs[0].max().item()
        found["range"] = (min(low, 0.0), max(high, 0.0))

    return module.register_forward_pre_hook(look)


def in_8_bits(module, low, high):
    """Has a layer compute in 8 bits; gives the input's scale and zero point."""
    scale = torch.tensor((high - low) / 255, dtype=torch.float32).clamp_min(1e-6)
    zero = round(-low / scale.item())
    weight = module.weight.detach()
    steps = weight.flatten(1).abs().amax(1) / 127
    steps = torch.where(steps > 0, steps, torch.ones_like(steps))
    per_channel = (-1,) + (1,) * (weight.dim() - 1)
    integers = (weight / steps.view(per_channel)).round().double()

    def forward(xs):
        q = ((xs * (1 / scale)).round() + zero).clamp(0, 255) - zero
        if isinstance(module, torch.nn.Linear):
            sums, shape = torch.nn.functional.linear(q.double(), integers), (1, -1)
        else:
            sums = torch.nn.functional.conv2d(q.double(), integers, None, module.stride, module.padding, module.dilation)
            shape = (1, -1, 1, 1)
        ys = sums.float() * (steps * scale).view(shape)
        return ys if module.bias is None else ys + module.bias.view(shape)

    module.forward = forward
    return {"scale": scale.item(), "zero_point": zero}


@torch.no_grad()
def case(name, trained, fold, outputs, images):
    """One network's entry."""
    seeded.fill(trained)
    outputs(trained, images)
    model = fold(trained).eval()
    layers = dict(chosen(model))
    ranges = {path: {} for path in layers}
    hooks = [watch(module, ranges[path]) for path, module in layers.items()]
    exact = outputs(model, images)
    for hook in hooks:
        hook.remove()
    paths = list(layers)
    sets = [paths[:FIRST]] + [[path] for path in paths[FIRST::APART]]
    found = [one(model, layers, ranges, part, exact, outputs, images) for part in sets]
    return {"size": list(images.shape[2:]), "step": STEP, "sets": found}


def one(model, layers, ranges, paths, exact, outputs, images):
    """The entry of a set of convolutions."""
    forwards = {path: layers[path].forward for path in paths}
    convs = {path: in_8_bits(layers[path], *ranges[path]["range"]) for path in paths}
    entry = {"convs": convs, "outputs": {}}
    for output, values in outputs(model, images).items():
        noise = (values.double() - exact[output].double()).square().mean().sqrt()
        size = exact[output].double().square().mean().sqrt()
        picked = [float(f"{value:.7g}") for value in values.flatten()[::STEP].tolist()]
        entry["outputs"][output] = {"noise": rounded(noise, 5), "size": rounded(size, 5), "values": picked}
        print(f"{paths[0]:32} {len(paths)} {output} noise {noise / size:.2e} of {size:.4f}", flush=True)
    for path, forward in forwards.items():
        layers[path].forward = forward
    return entry


def main():
    torch.set_num_threads(2)
    versions = {"torch": torch, "torchvision": torchvision, "timm": timm, "ultralytics": ultralytics}
    golden = {"versions": {name: module.__version__.split("+")[0] for name, module in versions.items()}}
    detectors, classifiers = golden.setdefault("detectors", {}), golden.setdefault("classifiers", {})
    for name, family in DETECTORS.items():
        model, images = yolov8.build(family, "n"), yolov8.picture(*DETECTOR_SIZE)
        detectors[name] = case(name, model, lambda model: model.fuse(verbose=False), levels, images)
    for name in CLASSIFIERS:
        model, images = timm.create_model(name), ghostnet.picture(*CLASSIFIER_SIZE)
        classifiers[name] = case(name, model, lambda model: fuse(reparameterize_model(model).eval()), logits, images)
    write(GOLDEN, golden)


if __name__ == "__main__":
    main()
