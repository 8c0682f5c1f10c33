"""What several scripts share: digests, rounded numbers, descriptions of tensors. Imports no package."""
import json


def digest(data):
    """The 64-bit FNV-1a hash of bytes, in hexadecimal."""
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def rounded(value, digits=7):
    """A number, or a tensor of one, to so many significant digits."""
    return float(f"{float(value):.{digits}g}")


def spread(values):
    """Largest difference between two positions of one channel: of the map, or of the batch where there is no map."""
    values = values.flatten(2) if values.dim() > 2 else values.t()[None]
    return float((values.amax(2) - values.amin(2)).max())


def describe(values, samples, number=float):
    """Shape, largest magnitude, spread, and every `stride`-th value in row-major order, some `samples` of them."""
    flat = values.flatten()
    stride = max(1, flat.numel() // samples) | 1
    return {
        "shape": list(values.shape),
        "max": number(flat.abs().max()),
        "spread": number(spread(values)),
        "stride": stride,
        "values": [number(v) for v in flat[::stride]],
    }


def variation(outputs):
    """Of described outputs: how many vary by less than a tenth of their maximum, and a line that says how far each varies."""
    shares = {key: out["spread"] / out["max"] for key, out in outputs.items()}
    report = "  ".join(f"{key} {out['max']:.3g} {shares[key]:.0%}" for key, out in outputs.items())
    return sum(share < 0.1 for share in shares.values()), report


def write(path, golden):
    """Writes compact JSON and a line's end."""
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
