#!/usr/bin/env bash
# timm 1.0.31 with torch 2.15.0: noise of one rounding to float32 (a relative 6e-8 of each layer's output, in float64) moves the gradient
# of ghostnet_100 in training mode by its millionths, or in one draw of 16 by half a percent, a thousand times as much: some position of
# a ReLU has passed 0, and the batch norms of a small batch spread that over the whole network. How a processor rounds decides which of
# the two is seen, so that one comparison in float32, close or far, says little of an implementation. With SiLU for ReLU no draw jumps.
# Seen, relative distance of the whole gradient: ReLU 4.0e-06 to 4.6e-06, and once 5.1e-03; SiLU 2.5e-06 to 3.2e-06.
# Run: bash timm_gradient_jumps.sh; it installs torch, some GB. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 timm==1.0.31 numpy==2.4.6
cat >"$folder/seen.py" <<'PY'
import timm
import torch
from torch import nn

torch.set_num_threads(1)
ROUNDING = 2.0**-24


def gradient(smooth, draw=None):
    """The gradient of ghostnet_100 on four seeded images, as one vector; with the noise of a draw."""
    torch.manual_seed(0)
    net = timm.create_model("ghostnet_100", num_classes=10, drop_rate=0.0).double().train()
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for parent in [*net.modules()] if smooth else []:
        for name, layer in parent.named_children():
            if isinstance(layer, nn.ReLU):
                setattr(parent, name, nn.SiLU())
    if draw is not None:
        generator = torch.Generator().manual_seed(draw)
        noise = lambda output: 1 + ROUNDING * torch.randn(output.shape, generator=generator, dtype=output.dtype)
        for layer in net.modules():
            if not list(layer.children()):
                layer.register_forward_hook(lambda layer, inputs, output: output * noise(output))
    nn.functional.cross_entropy(net(images), torch.tensor([1, 4, 7, 2])).backward()
    return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])


def distances(smooth):
    whole = gradient(smooth)
    return [float((gradient(smooth, draw) - whole).norm() / whole.norm()) for draw in range(16)]


seen = {name: distances(name == "SiLU") for name in ("ReLU", "SiLU")}
for name, found in seen.items():
    print(name, "least", f"{min(found):.1e},", "most", f"{max(found):.1e}:", " ".join(f"{distance:.1e}" for distance in sorted(found)))
relu, silu = seen["ReLU"], seen["SiLU"]
raise SystemExit(not (min(relu) < 1e-5 and max(relu) > 1e-3 and max(silu) < 1e-5))
PY
"$folder/venv/bin/python" "$folder/seen.py"
