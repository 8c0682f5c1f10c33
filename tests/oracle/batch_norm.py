"""Golden values of batch normalisation in training, in float64: results, gradients, running statistics.

pip install torch
usage: python batch_norm.py   (writes ../golden/train/batch_norm.json)

Two steps over inputs of torch's generator with seed 0, with momentum 0.03 and epsilon 1e-3, then SiLU. Printed is how far
PyTorch's own float32 is from them.
"""
import json
import pathlib

import torch

torch.manual_seed(0)
SHAPE, MOMENTUM, EPS = (3, 4, 5, 2), 0.03, 1e-3


def flat(tensor):
    return tensor.detach().double().flatten().tolist()


def run(dtype, inputs, cotangents, weight, bias):
    norm = torch.nn.BatchNorm2d(SHAPE[1], eps=EPS, momentum=MOMENTUM).to(dtype).train()
    with torch.no_grad():
        norm.weight.copy_(weight)
        norm.bias.copy_(bias)
    steps = []
    for xs, cotangent in zip(inputs, cotangents):
        xs = xs.to(dtype).detach().clone().requires_grad_()
        norm.zero_grad()
        ys = torch.nn.functional.silu(norm(xs))
        (ys * cotangent.to(dtype)).sum().backward()
        steps.append(
            {
                "ys": flat(ys),
                "grad_xs": flat(xs.grad),
                "grad_weight": flat(norm.weight.grad),
                "grad_bias": flat(norm.bias.grad),
                "running_mean": flat(norm.running_mean),
                "running_var": flat(norm.running_var),
            }
        )
    return steps


# A mean far from zero shows how the variance is computed.
inputs = [(torch.randn(SHAPE, dtype=torch.float64) * 2 + 7).float().double() for _ in range(2)]
cotangents = [torch.randn(SHAPE, dtype=torch.float64).float().double() for _ in range(2)]
weight, bias = (torch.randn(SHAPE[1], dtype=torch.float64).float().double() for _ in range(2))
golden = {
    "shape": SHAPE,
    "momentum": MOMENTUM,
    "eps": EPS,
    "weight": flat(weight),
    "bias": flat(bias),
    "inputs": [flat(xs) for xs in inputs],
    "cotangents": [flat(cotangent) for cotangent in cotangents],
    "steps": run(torch.float64, inputs, cotangents, weight, bias),
}
for wide, narrow in zip(golden["steps"], run(torch.float32, inputs, cotangents, weight, bias)):
    for key, values in wide.items():
        distance = max(abs(a - b) for a, b in zip(values, narrow[key])) / max(abs(a) for a in values)
        print(f"{key}: PyTorch's float32 differs by {distance:.1e} of the largest magnitude")
path = pathlib.Path(__file__).parent / "../golden/train/batch_norm.json"
path.write_text(json.dumps(golden, indent=None, separators=(",", ":")) + "\n")
