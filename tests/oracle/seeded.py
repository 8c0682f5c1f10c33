"""Deterministic weights for a PyTorch model: the same rule as candle_vision::seeded, value for value.

pip install torch numpy
usage: seeded.py            prints the first values of a few tensors, which the unit tests of the three crates' `seeded` hold
       import seeded; seeded.fill(model)
"""
import numpy as np


def gain(name):
    """Variance of a layer's weights times its fan-in."""
    return 0.25 if "_rpr_" in name or ".conv.2." in name else 1.0 if name.startswith("blocks.") else 1.5


def uniform(name, count):
    """`count` values in [-1, 1): SplitMix64 from the 64-bit FNV-1a hash of `name`, 24 bits each."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def tensor(name, shape):
    """The tensor called `name`, as float32."""
    count = int(np.prod(shape))
    if name.endswith("dfl.conv.weight"):
        return np.arange(count, dtype=np.float32).reshape(shape)
    fan_in = max(int(np.prod(shape[1:])), 1)
    role = name.rsplit(".", 1)[-1]
    if role == "weight" and "fusion_bn" in name:
        offset, scale = 0.25, 0.125
    elif role == "running_var" or (role == "weight" and len(shape) == 1):
        offset, scale = 1.0, 0.5
    elif role == "weight":
        offset, scale = 0.0, np.sqrt(3 * gain(name) / fan_in)
    else:
        offset, scale = 0.0, 0.2
    return (offset + scale * uniform(name, count)).astype(np.float32).reshape(shape)


def fill(model):
    """Fills every floating-point tensor of `model`'s state dict in place and returns the model in eval mode."""
    import torch

    state = model.state_dict()
    filled = {k: torch.from_numpy(tensor(k, tuple(v.shape))) if v.is_floating_point() else v for k, v in state.items()}
    model.load_state_dict(filled)
    return model.eval()


if __name__ == "__main__":
    for name, shape in [
        ("model.0.conv.weight", (16, 3, 3, 3)),
        ("model.0.bn.running_var", (16,)),
        ("classifier.bias", (10,)),
        ("blocks.0.0.ghost1.primary_conv.0.weight", (8, 16, 1, 1)),
        ("blocks.0.0.ghost1.primary_rpr_conv.0.conv.weight", (8, 16, 1, 1)),
        ("model.2.m.0.conv.2.cv1.conv.weight", (8, 16, 1, 1)),
        ("blocks.0.0.ghost1.fusion_bn.0.weight", (8,)),
    ]:
        print(name, shape, [float(x) for x in tensor(name, shape).ravel()[:3]])
