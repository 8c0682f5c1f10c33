"""How far PyTorch's bf16 is from its f32, in whole networks for inference, on weights filled by the rule of seeded.py.

pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 ultralytics==8.4.190 opencv-python-headless numpy
usage: bf16.py     writes tests/golden/bf16.json: per network the image's size, and per output the greatest difference over
                   the greatest magnitude in f32, and the same of the roots of the mean squares

Batch norms are folded in f32, and the network and the image are rounded after that: by Ultralytics' fuse(), by timm's
reparameterize_model, which merges branches, and by torch.fx what that leaves. How bf16 is computed depends on the processor.
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
from common import rounded, write

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "bf16.json"
DETECTORS = {"yolov8n": "yolov8", "yolov8n-ghost": "yolov8-ghost", "yolov8n-ghostnet": "yolov8-ghostnet"}
DETECTOR_SIZE = (256, 320)
CLASSIFIERS = ["ghostnet_100", "ghostnetv2_100", "ghostnetv3_100", "repghostnet_100"]
CLASSIFIER_SIZE = (224, 224)
# Greatest difference that folding may make, of the greatest magnitude.
FOLDED = 1e-4


def levels(model, images):
    """The detector's raw levels: box distributions, then class logits, in rows."""
    _, raw = model(images)
    joint = torch.cat([raw["boxes"], raw["scores"]], 1)
    cells = [features.shape[2] * features.shape[3] for features in raw["feats"]]
    return {f"level{index}": part for index, part in enumerate(joint.split(cells, 2))}


def logits(model, images):
    return {"logits": model(images)}


def distances(exact, found):
    """Of each output: the greatest difference and the root of the mean square, relative."""
    named = {}
    for name, values in exact.items():
        values, difference = values.double(), found[name].double() - values.double()
        named[name] = {
            "max": rounded(difference.abs().max() / values.abs().max(), 4),
            "rms": rounded((difference.square().mean() / values.square().mean()).sqrt(), 4),
        }
    return named


@torch.no_grad()
def case(name, trained, fold, outputs, images):
    """One network's entry. `fold` may change `trained`, whose outputs the folded form has to give."""
    seeded.fill(trained)
    before = outputs(trained, images)
    folded = fold(trained).eval()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules()), name
    exact = outputs(folded, images)
    for output, relative in distances(before, exact).items():
        assert relative["max"] < FOLDED, (name, output, relative)
    found = distances(exact, outputs(folded.bfloat16(), images.bfloat16()))
    print(f"{name:17} {found}", flush=True)
    return {"size": list(images.shape[2:]), "outputs": found}


def main():
    torch.set_num_threads(2)
    versions = {"torch": torch, "torchvision": torchvision, "timm": timm, "ultralytics": ultralytics}
    golden = {"versions": {name: module.__version__.split("+")[0] for name, module in versions.items()}}
    golden["capability"] = torch.backends.cpu.get_cpu_capability()
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
