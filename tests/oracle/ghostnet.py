"""Golden values of candle-ghostnet, by timm on weights filled by the rule of seeded.py.

pip install torch==2.15.0 timm==1.0.31 numpy
usage: ghostnet.py [VARIANT...]     writes tests/golden/ghostnet/<variant>.json of these variants, or of all, and
                                    prints how far each output varies
"""
import pathlib
import sys

import numpy as np
import timm
import torch
from timm.utils.model import reparameterize_model

import seeded
from common import describe, variation, write

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "ghostnet"
SAMPLES = 48
SIZES = {
    "ghostnet_050": [(97, 131)],
    "ghostnet_100": [(96, 96), (224, 224)],
    "ghostnet_130": [(96, 128)],
    "ghostnetv2_100": [(97, 131), (224, 224)],
    "ghostnetv2_130": [(128, 96)],
    "ghostnetv2_160": [(97, 131)],
    "ghostnetv3_050": [(97, 131)],
    "ghostnetv3_100": [(97, 131), (224, 224)],
    "ghostnetv3_130": [(128, 128)],
    "ghostnetv3_160": [(97, 131)],
    "repghostnet_050": [(97, 131)],
    "repghostnet_058": [(96, 128)],
    "repghostnet_080": [(128, 96)],
    "repghostnet_100": [(97, 131), (224, 224)],
    "repghostnet_111": [(128, 128)],
    "repghostnet_130": [(131, 97)],
    "repghostnet_150": [(96, 96)],
    "repghostnet_200": [(97, 131)],
}


def picture(height, width):
    """Two images (2, 3, height, width) of the values 2 * u("input", i): blocks of 32 x 32 and half as much noise."""
    coarse_h, coarse_w = -(-height // 32), -(-width // 32)
    coarse = seeded.uniform("blocks", 2 * 3 * coarse_h * coarse_w).reshape(2, 3, coarse_h, coarse_w)
    coarse = coarse.repeat(32, 2).repeat(32, 3)[:, :, :height, :width]
    noise = seeded.uniform("input", 2 * 3 * height * width).reshape(2, 3, height, width)
    return torch.from_numpy((2 * coarse + noise).astype(np.float32))


@torch.no_grad()
def outputs(model, images):
    features, maps = model.forward_intermediates(images)
    named = {f"map{index}": values for index, values in enumerate(maps)}
    named["features"] = features
    named["pre_logits"] = model.forward_head(features, pre_logits=True)
    named["logits"] = model(images)
    return {name: describe(values, SAMPLES) for name, values in named.items()}


@torch.no_grad()
def size(model):
    """Modules, those without children, parameters, and multiply-accumulates of convolutions and the classifier for one 224 x 224 image."""
    macs = []
    hooks = []
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            count = lambda m, _, ys: macs.append(m.weight.numel() * (ys[0, 0].numel() if ys.dim() == 4 else 1))
            hooks.append(module.register_forward_hook(count))
    model.eval()(torch.zeros(1, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    parameters = sum(p.numel() for p in model.parameters())
    modules = list(model.modules())
    layers = sum(not module._modules for module in modules)
    return {"modules": len(modules), "layers": layers, "parameters": parameters, "macs": sum(macs)}


def main():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    weak = 0
    for name in sys.argv[1:] or SIZES:
        sizes = SIZES[name]
        forms = {"trained": timm.create_model(name)}
        if "v3" in name or name.startswith("rep"):
            forms["deployed"] = reparameterize_model(forms["trained"])
        golden = {"name": name}
        for form, model in forms.items():
            seeded.fill(model)
            cases = [{"size": [h, w], "outputs": outputs(model, picture(h, w))} for h, w in sizes]
            golden[form] = {**size(model), "cases": cases}
            for case in cases:
                few, report = variation(case["outputs"])
                weak += few
                print(f"{name:15} {form:8} {case['size']}  {report}")
        write(GOLDEN / f"{name}.json", golden)
    if weak:
        sys.exit(f"{weak} outputs vary by less than a tenth of their maximum")


if __name__ == "__main__":
    main()
