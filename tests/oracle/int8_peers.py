"""What 16 bits cost a trained network in PyTorch and here, and 8 bits in OpenVINO, in ONNX Runtime and in `ghostzoo quantize`.

pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 ultralytics==8.4.190 opencv-python-headless pycocotools==2.0.11
            safetensors onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 nncf==3.4.0
usage: int8_peers.py GHOSTZOO MODEL DATA [--split test] [--images N] [--engines ghostzoo pytorch openvino onnxruntime]

GHOSTZOO is the command as built; MODEL a checkpoint of a YOLOv8 or of one of timm's GhostNets, as GhostZoo writes it; DATA the folder
of a data set: in YOLO's layout with a data.yaml, or class folders, or a tar of them, per split.

Prints for each engine and scheme COCO's mAP50-95 and mAP50, or top-1, on the split's images, and the size of the file. All
calibrate on the same images of the training split, those that `ghostzoo quantize` takes: 128, or as many as --images says.

PyTorch's rows compute in f32: `weights` rounds the folded weights to the nearest value of 16 bits, `by chance` up or down by a seed, and
shows what roundings of that size do.

The peers' schemes: `all` is NNCF's mixed preset, and QDQ with weights per channel, of whatever they take. `decode` leaves what
comes behind the last convolutions of the detector in floats, as Ultralytics does when it exports to OpenVINO. `7 bits` is the
remedy that both name for processors without VNNI, where sums of two products of bytes saturate at 16 bits: weights of 7 bits. The
rows `in floats` are of the same file, each quantized tensor as the floats that it stands for: without integer kernels.
"""
import argparse
import contextlib
import io
import json
import logging
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings

import cv2
import nncf
import numpy as np
import onnx
import onnxruntime
import openvino
import safetensors.torch
import timm
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from timm.data import create_transform
from timm.utils.model import reparameterize_model
from torch.fx.experimental.optimization import fuse
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import LetterBox
from ultralytics.data.build import build_yolo_dataset
from ultralytics.utils import LOGGER
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

import yolov8

THREADS = 2
DECODE = re.compile(r"/model\.22/(?!cv[23]\.)")


def spread(items, count):
    return [items[i * len(items) // count] for i in range(count)]


class Detector:
    schemes = {"all": (False, False), "decode": (True, False), "decode, 7 bits": (True, True)}

    def __init__(self, a, facts, scratch):
        self.model, self.split, self.images = a.model, a.split, a.images
        self.family, self.scale = re.sub("^(yolov8)([nsmlx])", r"\1", facts["arch"]), facts["arch"][6]
        self.imgsz, self.classes = facts["imgsz"], facts["names"]
        self.data = a.data / "data.yaml"
        self.folder = scratch / "images" / self.split
        shutil.copytree(a.data / "images" / self.split, self.folder)
        shutil.copytree(a.data / "labels" / self.split, scratch / "labels" / self.split)
        square = LetterBox((self.imgsz, self.imgsz), auto=False)
        looked_at = spread(sorted((a.data / "images" / "train").glob("*.jpg")), self.images)
        self.calibration = [self.input(square(image=cv2.imread(str(path)))) for path in looked_at]

    def truth(self):
        """The labels of YOLO's layout, in COCO's form."""
        truth, boxes = COCO(), []
        paths = sorted(self.folder.iterdir())
        for number, path in enumerate(paths):
            with Image.open(path) as image:
                size = image.size
            labels = self.folder.parents[1] / "labels" / self.split / f"{path.stem}.txt"
            for line in labels.read_text().splitlines() if labels.exists() else []:
                kind, *box = line.split()
                x, y, w, h = (float(value) * side for value, side in zip(box, size * 2))
                box = {"bbox": [x - w / 2, y - h / 2, w, h], "area": w * h, "iscrowd": 0}
                boxes.append({"id": len(boxes) + 1, "image_id": number, "category_id": int(kind), **box})
        kinds = [{"id": number, "name": name} for number, name in enumerate(self.classes)]
        images = [{"id": number, "file_name": path.name} for number, path in enumerate(paths)]
        truth.dataset = {"images": images, "annotations": boxes, "categories": kinds}
        truth.createIndex()
        return truth

    @staticmethod
    def input(bgr):
        return np.ascontiguousarray(bgr[None, :, :, ::-1].transpose(0, 3, 1, 2), dtype=np.float32) / 255

    def folded(self):
        """The network with its batch norms in its convolutions; it gives boxes in pixels and confidences in one tensor."""
        net = yolov8.build(self.family, self.scale, len(self.classes))
        keys = net.load_state_dict(safetensors.torch.load_file(self.model), strict=False)
        assert not keys.unexpected_keys and keys.missing_keys in ([], ["model.22.dfl.conv.weight"]), keys  # 0 to 15, as built
        net.float().eval().fuse(verbose=False)
        net.model[-1].export, net.model[-1].format, net.model[-1].dynamic = True, "onnx", True
        return net

    def export(self, path):
        to_onnx(self.folded(), torch.zeros(1, 3, self.imgsz, self.imgsz), path, {2: "height", 3: "width"}, {2: "places"})

    def measure(self, run):
        """COCO's mAP50-95 and mAP50 of Ultralytics' validation, in percent."""
        with contextlib.redirect_stdout(io.StringIO()):
            truth = self.truth()
        ids = {image["file_name"]: image["id"] for image in truth.dataset["images"]}
        options = get_cfg(overrides={"task": "detect", "imgsz": self.imgsz, "cache": False})
        names = {"names": dict(enumerate(self.classes)), "channels": 3}
        rows = []
        for item in build_yolo_dataset(options, str(self.folder), 16, names, mode="val", rect=True, stride=32):
            found = torch.from_numpy(run(item["img"][None].float().numpy() / 255)).clone()
            kept = non_max_suppression(found, 0.001, 0.7, multi_label=True, max_det=300, max_time_img=60)[0]
            boxes = scale_boxes(item["img"].shape[1:], kept[:, :4], item["ori_shape"], ratio_pad=item["ratio_pad"])
            boxes[:, 2:] -= boxes[:, :2].clone()
            image = ids[pathlib.Path(item["im_file"]).name]
            for box, score, number in zip(boxes.tolist(), kept[:, 4].tolist(), kept[:, 5].tolist()):
                rows.append({"image_id": image, "category_id": int(number), "bbox": box, "score": score})
        if not rows:
            return [0.0, 0.0]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
            evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
        return [100 * float(value) for value in evaluation.stats[:2]]

    def ours(self, command, model, scratch, *more):
        more = [*more, "--split", self.split, "--imgsz", self.imgsz, "--plots", "false", "--save-dir", scratch / f"val-{model.stem}"]
        report = told(command, "val", "--data", self.data, "--model", model, *more)
        return [100 * report["coco"][key] for key in ("AP", "AP50")]


class Classifier:
    schemes = {"all": (False, False), "all, 7 bits": (False, True)}

    def __init__(self, a, facts, scratch):
        self.model, self.data, self.split, self.images = a.model, a.data, a.split, a.images
        self.arch, self.classes, view = facts["arch"], facts["names"], facts["preprocessing"]
        self.size = view["input_size"]
        more = {name: view[name] for name in ("interpolation", "crop_pct", "mean", "std")}
        transform = create_transform((3, *self.size), **more)
        self.calibration = [transform(image)[None].numpy() for _, image in self.read("train", self.images)]
        found = [(self.classes.index(label), transform(image)[None].numpy()) for label, image in self.read(self.split)]
        self.labels, self.tests = np.array([label for label, _ in found]), [view for _, view in found]

    def read(self, split, count=None):
        """The class and the image of the split's files, or of so many of them."""
        tar = self.data / f"{split}.tar"
        if tar.exists():
            with tarfile.open(tar) as tar:
                files = sorted((m for m in tar.getmembers() if m.name.endswith(".jpg")), key=lambda m: m.name)
                for member in spread(files, count or len(files)):
                    yield pathlib.Path(member.name).parent.name, Image.open(tar.extractfile(member)).convert("RGB")
            return
        files = sorted((self.data / split).glob("*/*.jpg"))
        for path in spread(files, count or len(files)):
            with Image.open(path) as image:
                yield path.parent.name, image.convert("RGB")

    def built(self):
        net = timm.create_model(self.arch, num_classes=len(self.classes))
        net.load_state_dict(safetensors.torch.load_file(self.model), strict=True)
        return net.float().eval()

    def folded(self):
        """The network with its batch norms in its convolutions and its branches merged."""
        return fuse(reparameterize_model(self.built()).eval())

    def export(self, path):
        to_onnx(self.built(), torch.zeros(1, 3, *self.size), path, {0: "images"}, {0: "images"})

    def measure(self, run):
        """Top-1 in percent."""
        batches = (self.tests[i : i + 50] for i in range(0, len(self.tests), 50))
        chosen = np.concatenate([run(np.concatenate(batch)).argmax(1) for batch in batches])
        return [100 * float((chosen == self.labels).mean())]

    def ours(self, command, model, scratch, *more):
        return [told(command, "eval", "--data", self.data, "--split", self.split, "--model", model, *more)["top1"]]


def told(command, *arguments):
    run = [command, *arguments, "--json", "--quiet", "--threads", THREADS]
    ran = subprocess.run([str(x) for x in run], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@torch.no_grad()
def to_onnx(net, xs, path, free, freed):
    net(xs)
    axes = {"xs": free, "ys": freed}
    torch.onnx.export(net, xs, path, opset_version=17, dynamo=False, input_names=["xs"], output_names=["ys"], dynamic_axes=axes)


class Reader(CalibrationDataReader):
    def __init__(self, inputs):
        self.inputs = iter(inputs)

    def get_next(self):
        return next(({"xs": xs} for xs in self.inputs), None)


def by_onnx_runtime(path, integers=True):
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if integers else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = THREADS, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda xs: session.run(None, {"xs": xs})[0]


def qdq(source, path, inputs, decode, seven):
    path = path.with_suffix(".onnx")
    quant_pre_process(str(source), str(path), skip_symbolic_shape=True)
    left = [node.name for node in onnx.load(path).graph.node if decode and DECODE.match(node.name)]
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    options = {"quant_format": QuantFormat.QDQ, "per_channel": True, "reduce_range": seven, "nodes_to_exclude": left}
    quantize_static(str(path), str(path), Reader(inputs), **options, **types)
    return path, path.stat().st_size


def by_openvino(path, integers=True):
    settings = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if not integers:
        settings["LP_TRANSFORMS_MODE"] = "NO"  # of the CPU plugin, not documented
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda xs: request.infer([xs])[0]


def mixed(source, path, inputs, decode, seven):
    path = path.with_suffix(".xml")
    net = openvino.Core().read_model(str(source))
    left = [op.get_friendly_name() for op in net.get_ordered_ops() if decode and DECODE.match(op.get_friendly_name())]
    left = [name for name in left if "Constant" not in name]
    more = {"ignored_scope": nncf.IgnoredScope(names=left, validate=False)} if left else {}
    if seven:
        more["advanced_parameters"] = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    net = nncf.quantize(net, nncf.Dataset(inputs), preset=nncf.QuantizationPreset.MIXED, subset_size=len(inputs), **more)
    openvino.save_model(net, str(path), compress_to_fp16=False)
    return path, path.with_suffix(".bin").stat().st_size


def show(network, engine, scheme, values, size=None):
    size = f"{size / 1e6:6.2f} MB" if size else ""
    print(f"{network.model.stem:22} {engine:13} {scheme:16}", *(f"{value:6.2f}" for value in values), size, flush=True)


def ours(network, command, scratch):
    show(network, "GhostZoo", "f32", network.ours(command, network.model, scratch))
    for kind in ("bf16", "f16"):
        path = scratch / f"{kind}.safetensors"
        run = [command, "convert", network.model, path, "--fuse", "--dtype", kind, "--force", "--quiet"]
        subprocess.run([str(x) for x in run], check=True)
        show(network, "GhostZoo", kind, network.ours(command, path, scratch, "--dtype", kind), path.stat().st_size)
    for method in ("mse", "minmax", "percentile"):
        path = scratch / f"{method}.safetensors"
        more = ["--data", network.data, "--images", network.images, "--method", method, "--output", path]
        told(command, "quantize", "--model", network.model, *more)
        show(network, "GhostZoo", method, network.ours(command, path, scratch), path.stat().st_size)


def rounded_by_chance(values, seed):
    """In bf16, up or down with chances that make the mean the value itself."""
    chance = torch.randint(0, 1 << 16, values.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int32)
    return ((values.view(torch.int32) + chance) & ~0xFFFF).view(torch.float32)


@torch.no_grad()
def by_pytorch(network):
    def told(name, net):
        show(network, "PyTorch", name, network.measure(lambda xs: net(torch.from_numpy(xs)).numpy()))

    told("f32", network.folded())
    for name, kind in (("bf16", torch.bfloat16), ("f16", torch.float16)):
        told(f"{name} weights", network.folded().to(kind).float())
    for seed in range(2):
        net = network.folded()
        for weight in net.parameters():
            weight.copy_(rounded_by_chance(weight, seed))
        told(f"bf16 by chance {seed}", net)


def theirs(network, engine, start, quantize, scratch):
    source = scratch / "f32.onnx"
    if not source.exists():
        network.export(source)
    show(network, engine, "f32", network.measure(start(source)))
    for scheme, (decode, seven) in network.schemes.items():
        path = scratch / f"{engine}-{scheme}".replace(" ", "-")
        with contextlib.redirect_stdout(io.StringIO()):
            path, size = quantize(source, path, network.calibration, decode, seven)
        show(network, engine, scheme, network.measure(start(path)), size)
        show(network, engine, "  in floats", network.measure(start(path, integers=False)))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for path in ("ghostzoo", "model", "data"):
        parser.add_argument(path, type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=128)
    engines = ["ghostzoo", "pytorch", "openvino", "onnxruntime"]
    parser.add_argument("--engines", nargs="+", choices=engines, default=engines)
    a = parser.parse_args()
    LOGGER.setLevel(logging.ERROR)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    with safetensors.safe_open(a.model, "pt") as file:
        facts = json.loads(file.metadata()["ghostzoo"])
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        network = (Detector if facts["task"] == "detect" else Classifier)(a, facts, scratch)
        if "ghostzoo" in a.engines:
            ours(network, a.ghostzoo, scratch)
        if "pytorch" in a.engines:
            by_pytorch(network)
        if "openvino" in a.engines:
            theirs(network, "OpenVINO", by_openvino, mixed, scratch)
        if "onnxruntime" in a.engines:
            theirs(network, "ONNX Runtime", by_onnx_runtime, qdq, scratch)


if __name__ == "__main__":
    sys.exit(main())
