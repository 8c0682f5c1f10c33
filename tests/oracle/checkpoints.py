"""Small checkpoint files for the reader's tests: every container, dtype, wrapper and trick that torch.save knows.

pip install torch numpy
usage: checkpoints.py            writes tests/golden/weights/*.pt and expected.json (seeded, some kB each)
       checkpoints.py unread     writes tests/golden/weights/unread/*.pt: tensors that candle cannot hold (torch==2.15.0)
       checkpoints.py containers writes tests/golden/weights/containers/*.pt: files without sums, plain ones of each protocol
       checkpoints.py dump FILE  prints name, dtype, shape and sums of a checkpoint as our reader should see it (JSON lines)
"""
import collections
import json
import os
import pathlib
import pickle
import sys
import types

import numpy as np
import torch
import torch.nn as nn

OUT = pathlib.Path(__file__).parents[2] / "tests/golden/weights"
torch.manual_seed(0)


def describe(tensors):
    rows = {}
    for name, t in sorted(tensors.items()):
        if name.endswith("num_batches_tracked"):
            continue
        values = t.detach().double().flatten()
        weights = torch.arange(1, values.numel() + 1, dtype=torch.float64)
        rows[name] = {
            "dtype": str(t.dtype).removeprefix("torch."),
            "shape": list(t.shape),
            "sum": float(values.sum()),
            "weighted": float((values * weights / values.numel()).sum()),
        }
    return rows


def block():
    return nn.Sequential(collections.OrderedDict(conv=nn.Conv2d(3, 4, 3, bias=False), bn=nn.BatchNorm2d(4)))


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 2, 1)
        self.layers = nn.ModuleList([block(), block()])
        self.register_buffer("scratch", torch.zeros(3), persistent=False)


def fake_detector():
    """A module of a class named like Ultralytics' and pickled under its path; the class itself is ours."""
    for name in ("ultralytics", "ultralytics.nn", "ultralytics.nn.tasks", "my_project"):
        sys.modules.setdefault(name, types.ModuleType(name))

    class DetectionModel(nn.Module):
        pass

    class C2fGhost(nn.Module):
        pass

    DetectionModel.__module__, DetectionModel.__qualname__ = "ultralytics.nn.tasks", "DetectionModel"
    C2fGhost.__module__, C2fGhost.__qualname__ = "my_project", "C2fGhost"
    sys.modules["ultralytics.nn.tasks"].DetectionModel = DetectionModel
    sys.modules["my_project"].C2fGhost = C2fGhost
    def forward_fuse(self, x):
        return x

    C2fGhost.forward_fuse = forward_fuse
    inner = C2fGhost()
    inner.cv1 = block()
    inner.forward = inner.forward_fuse  # as Ultralytics' fuse() does: pickled as getattr(module, name)
    model = DetectionModel()
    model.model = nn.Sequential(block(), inner)
    model.names, model.nc = {0: "cat", 1: "dog"}, 2
    model.yaml = {"nc": 2, "scale": "n", "backbone": [[-1, 1, "Conv", [64, 3, 2]]], "head": [[-1, 3, "C3Ghost", [128]]]}
    model.stride = torch.tensor([8.0, 16.0, 32.0])
    model.args = {"imgsz": 320}
    return model.half()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    expected = {}

    def save(name, value, tensors, **options):
        torch.save(value, OUT / name, **options)
        expected[name] = describe(tensors)

    plain = Blocks().state_dict()
    save("zip.pt", plain, plain)
    save("legacy.pt", plain, plain, _use_new_zipfile_serialization=False)
    for protocol in (3, 4, 5):
        save(f"protocol{protocol}.pt", plain, plain, pickle_protocol=protocol)
    base = torch.randn(4, 6)
    empty = torch.zeros(1, 8)[:, 8:]  # starts past the last element of its storage
    save("a_stem_of_21_letters_.pt", plain, plain)
    views = {
        "transposed": base.t(),
        "past_the_end": empty,
        "rows": base[1:3],
        "columns": base[:, 2:4],
        "whole": base,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
    }
    save("views.pt", views, views)
    save("views_legacy.pt", views, views, _use_new_zipfile_serialization=False)
    kinds = {str(d).removeprefix("torch."): (torch.randn(5) * 9).to(d) for d in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.uint8)}
    kinds["int8"] = torch.tensor([-3, 0, 7], dtype=torch.int8)
    kinds["bool"] = torch.tensor([True, False, True])
    save("dtypes.pt", kinds, kinds)
    save("state_dict.pt", {"epoch": 3, "arch": "ghostnet_100", "state_dict": {"module." + k: v for k, v in plain.items()}}, plain)
    average = {k: v * 2 for k, v in plain.items()}
    save("state_dict_ema.pt", {"state_dict": plain, "state_dict_ema": average, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}}, average)
    parameters = {"w": nn.Parameter(torch.randn(2, 2))}
    save("parameters.pt", parameters, parameters)
    detector = fake_detector()
    checkpoint = {"epoch": -1, "model": None, "ema": detector, "optimizer": None, "train_args": {"imgsz": 416, "task": "detect", "lr0": 0.01, "data": None}, "date": "2026-01-01", "license": "AGPL-3.0", "docs": pathlib.PurePosixPath("a/b")}
    save("module.pt", checkpoint, detector.state_dict())
    save("module_legacy.pt", checkpoint, detector.state_dict(), _use_new_zipfile_serialization=False)
    (OUT / "expected.json").write_text(json.dumps(expected, indent=0, sort_keys=True) + "\n")

    hostile = OUT / "hostile"
    hostile.mkdir(exist_ok=True)

    class Call:
        def __init__(self, function, *args):
            self.call = (function, args)

        def __reduce__(self):
            return self.call

    torch.save({"w": torch.zeros(2), "x": Call(os.system, "touch /tmp/ghostzoo-was-here")}, hostile / "reduce_system.pt")
    torch.save({"w": torch.zeros(2), "x": Call(getattr, "a", "b")}, hostile / "reduce_getattr.pt")

    def archive(name, data, storages=None):
        import zipfile

        with zipfile.ZipFile(hostile / name, "w", zipfile.ZIP_STORED) as z:
            z.writestr(zipfile.ZipInfo("archive/data.pkl"), data)
            for key, content in (storages or {}).items():
                z.writestr(zipfile.ZipInfo(f"archive/data/{key}"), content)

    archive("inst.pt", b"(S'touch /tmp/ghostzoo-was-here'\nios\nsystem\n.")
    archive("obj.pt", b"(cos\nsystem\nS'touch /tmp/ghostzoo-was-here'\no.")
    archive("stack_global.pt", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.")
    archive("long_string.pt", b"\x80\x02X\xff\xff\xff\x7fabc.")
    archive("long_string8.pt", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.")
    archive("memo.pt", b"\x80\x02h\x07.")
    archive("empty_stack.pt", b"\x80\x02R.")
    archive("deep.pt", b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".")
    laughs = b"\x80\x02}q\x00X\x01\x00\x00\x00wK\x01s0"
    for i in range(1, 40):
        laughs += b"}" + bytes([0x71, i]) + b"(X\x01\x00\x00\x00a" + bytes([0x68, i - 1]) + b"X\x01\x00\x00\x00b" + bytes([0x68, i - 1]) + b"u0"
    archive("laughs.pt", laughs + bytes([0x68, 39]) + b".")

    def tensor(size, stride, offset=0):
        pack = lambda v: b"J" + int(v).to_bytes(4, "little", signed=True)
        tup = lambda vs: b"(" + b"".join(map(pack, vs)) + b"t"
        return (
            b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
            + pack(offset) + tup(size) + tup(stride) + b"\x89ccollections\nOrderedDict\n)RtRs."
        )

    archive("past_storage.pt", tensor([5], [1]), {"0": bytes(16)})
    archive("past_offset.pt", tensor([2], [1], 3), {"0": bytes(16)})
    archive("negative_stride.pt", tensor([2], [-1], 3), {"0": bytes(16)})
    archive("expanded.pt", tensor([2_000_000_000], [0]), {"0": bytes(16)})
    archive("overflow.pt", tensor([2_000_000_000] * 3, [2_000_000_000] * 3), {"0": bytes(16)})
    archive("no_storage.pt", tensor([2], [1]), {})

    string = lambda s: b"X" + len(s).to_bytes(4, "little") + s
    long = string(b"x" * 200) + b"q\x00"
    huge = string(b"x" * 20_000) + b"q\x00"
    archive("copied_globals.pt", b"\x80\x04" + long + b"h\x00h\x00\x930" * 4_000 + b".")
    archive("long_global.pt", b"\x80\x04" + huge + b"h\x00\x93.")
    archive("copied_lists.pt", b"\x80\x02c__builtin__\nset\nq\x01(" + b"K\x01" * 4_000 + b"l\x85q\x020" + b"h\x01h\x02R0" * 4_000 + b"}.")
    archive("copied_bytes.pt", b"\x80\x02c_codecs\nencode\nq\x01" + huge + b"\x85q\x020" + b"h\x01h\x02R0" * 4_000 + b"}.")
    archive("long_path.pt", b"\x80\x02cpathlib\nPosixPath\n(" + huge + b"h\x00" * 4_000 + b"tR.")
    archive("long_name.pt", b"\x80\x02}" + huge + b"}" + string(b"w") + b"K\x01ss.")
    archive("terminal.pt", b"\x80\x04" + string(b"os\n\x1b[2J") + string(b"system") + b"\x93)R.")
    archive("type_v2.pt", b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n" + string(b"id") + b"\x85}tR.")
    odd = lambda size, stride, offset: tensor(size, stride, offset).replace(b"X\x01\x00\x00\x00w", b"X\x01\x00\x00\x00e")
    archive("empty_overflow.pt", odd([0] + [2_000_000_000] * 4, [1] * 5, 2_000_000_000), {"0": bytes(16)})
    import zipfile

    with zipfile.ZipFile(hostile / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(zipfile.ZipInfo("archive/data.pkl"), tensor([2], [1]))
        z.writestr(zipfile.ZipInfo("archive/data/0"), bytes(1 << 20), zipfile.ZIP_DEFLATED)
    whole = (OUT / "zip.pt").read_bytes()
    (hostile / "truncated.pt").write_bytes(whole[: len(whole) // 2])
    legacy = (OUT / "legacy.pt").read_bytes()
    (hostile / "truncated_legacy.pt").write_bytes(legacy[:-8])
    for path in sorted([*OUT.glob("*"), *hostile.glob("*")]):
        if path.is_file():
            print(f"{path.stat().st_size:8d} {path.relative_to(OUT)}")


def unread():
    """Every kind of tensor that is not read: alone among the weights (needed), and beside them, in both containers."""
    folder = OUT / "unread"
    folder.mkdir(exist_ok=True)
    ones = torch.ones(2)
    names = "uint16 uint32 uint64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu complex32 complex64 complex128"
    kinds = {name: ones.to(getattr(torch, name)) for name in names.split()}
    kinds |= {name: torch.empty(2, dtype=getattr(torch, name)) for name in ("float4_e2m1fn_x2", "bits8", "bits16")}
    kinds |= {name: torch.quantize_per_tensor(ones, 0.1, 0, getattr(torch, name)) for name in ("qint8", "quint8", "qint32")}
    scales = torch.tensor([0.1, 0.2]), torch.tensor([0, 0])
    kinds["per_channel"] = torch.quantize_per_channel(torch.eye(2), *scales, 0, torch.qint8)
    kinds |= {"coo": torch.eye(2).to_sparse(), "csr": torch.eye(2).to_sparse_csr(), "csc": torch.eye(2).to_sparse_csc()}
    kinds |= {"bsr": torch.eye(2).to_sparse_bsr((1, 1)), "bsc": torch.eye(2).to_sparse_bsc((1, 1))}
    kinds["meta"] = torch.empty(2, device="meta")
    kinds["nested"] = torch.nested.nested_tensor([ones, torch.ones(3)])
    kinds["jagged"] = torch.nested.nested_tensor([ones, torch.ones(3)], layout=torch.jagged)
    kinds["masked"] = torch.masked.masked_tensor(ones, torch.tensor([True, False]))
    kinds["negated"] = torch._neg_view(torch.ones(2))
    kinds["conjugated"] = torch.ones(2, dtype=torch.complex64).conj()
    kinds["parameter"] = nn.Parameter(ones.to(torch.float8_e5m2), requires_grad=False)
    others = {"strided": torch.strided, "sparse_coo": torch.sparse_coo, "dtype": torch.uint16, "scheme": torch.per_tensor_affine}
    others |= {"lazy": nn.parameter.UninitializedParameter(), "storage": ones.untyped_storage(), "device": torch.device("cuda:0")}
    others |= {"generator": np.random.default_rng(0), "state": np.random.RandomState(0), "range": range(3), "complex": 1j}
    weights = {"conv_stem.weight": torch.full((2, 3, 1, 1), 0.5)}
    for suffix, options in (("", {}), ("_legacy", {"_use_new_zipfile_serialization": False})):
        torch.save({"state_dict": weights, "extra": kinds | others}, folder / f"beside{suffix}.pt", **options)
        torch.save(weights | kinds, folder / f"needed{suffix}.pt", **options)
    torch.save({"a.weight": kinds["float8_e5m2"], "b.weight": kinds["qint8"]}, folder / "nothing_else.pt")
    for path in sorted(folder.glob("*")):
        print(f"{path.stat().st_size:8d} {path.relative_to(OUT)}")


def containers():
    """The same weights in files that torch.load takes: without sums, and plain ones of the protocols 1 to 5."""
    folder = OUT / "containers"
    folder.mkdir(exist_ok=True)
    weights = {"conv_stem.weight": torch.arange(6.0).reshape(2, 3, 1, 1) / 4, "bn1.bias": torch.tensor([0.5, -1.5]).half()}
    torch.serialization.set_crc32_options(False)
    torch.save(weights, folder / "no_sums.pt")
    torch.serialization.set_crc32_options(True)
    torch.save(weights, folder / "protocol1.pt", pickle_protocol=1)
    for protocol in (1, 2, 3, 4, 5):
        plain = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": False}
        torch.save({"state_dict": weights, "epoch": 7}, folder / f"plain{protocol}.pt", **plain)
    for path in sorted(folder.glob("*")):
        loaded = torch.load(path, weights_only=False)
        loaded = loaded.get("state_dict", loaded)
        assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())
        print(f"{path.stat().st_size:8d} {path.relative_to(OUT)}")


def dump(path):
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    if isinstance(checkpoint, dict):
        for key in ("ema", "state_dict_ema", "model", "state_dict"):
            if checkpoint.get(key) is not None:
                checkpoint = checkpoint[key]
                break
    state = checkpoint.state_dict() if hasattr(checkpoint, "state_dict") else checkpoint
    print(json.dumps(describe(state)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["dump"]:
        dump(sys.argv[2])
    else:
        {"unread": unread, "containers": containers}.get(" ".join(sys.argv[1:]), main)()
