"""What 8 bits cost the shipped networks in OpenVINO, in ONNX Runtime and in `ghostzoo quantize`.

pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 ultralytics==8.4.190 opencv-python-headless pycocotools==2.0.11
            safetensors onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 nncf==3.4.0
usage: int8_peers.py BCCD CIFAR10 GHOSTZOO [--engines ghostzoo openvino onnxruntime]

GHOSTZOO is the command as built; BCCD the folder of the blood-cell data set in YOLO's layout, with COCO's
instances_test.json; CIFAR10 a folder with train.tar and test.tar, in each a folder a class.

Prints for each network, engine and scheme COCO's mAP50-95 and mAP50, or top-1, on the test images, and the size of the
file. All calibrate on the same images, those that `ghostzoo quantize` takes: 128 of BCCD's training split, 512 of CIFAR-10's.

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
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import LetterBox
from ultralytics.data.build import build_yolo_dataset
from ultralytics.utils import LOGGER
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

import yolov8

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "weights" / "shipped"
THREADS = 2
DECODE = re.compile(r"/model\.22/(?!cv[23]\.)")


def spread(items, count):
    return [items[i * len(items) // count] for i in range(count)]


class Detector:
    schemes = {"all": (False, False), "decode": (True, False), "decode, 7 bits": (True, True)}
    name, images, imgsz, classes = "yolov8n-ghostnet-bccd", 128, 480, ["WBC", "RBC", "Platelets"]

    def __init__(self, data, scratch):
        self.truth = data / "instances_test.json"
        self.data = data / "data.yaml"
        self.folder = scratch / "images" / "test"
        shutil.copytree(data / "images" / "test", self.folder)
        shutil.copytree(data / "labels" / "test", scratch / "labels" / "test")
        square = LetterBox((self.imgsz, self.imgsz), auto=False)
        looked_at = spread(sorted((data / "images" / "train").glob("*.jpg")), self.images)
        self.calibration = [self.input(square(image=cv2.imread(str(path)))) for path in looked_at]

    @staticmethod
    def input(bgr):
        return np.ascontiguousarray(bgr[None, :, :, ::-1].transpose(0, 3, 1, 2), dtype=np.float32) / 255

    def export(self, path):
        net = yolov8.build("yolov8-ghostnet", "n", len(self.classes))
        keys = net.load_state_dict(safetensors.torch.load_file(SHIPPED / f"{self.name}.safetensors"), strict=False)
        assert not keys.unexpected_keys and keys.missing_keys == ["model.22.dfl.conv.weight"], keys  # 0 to 15, as built
        net.float().eval().fuse(verbose=False)
        net.model[-1].export, net.model[-1].format, net.model[-1].dynamic = True, "onnx", True
        to_onnx(net, torch.zeros(1, 3, self.imgsz, self.imgsz), path, {2: "height", 3: "width"}, {2: "places"})

    def measure(self, run):
        """COCO's mAP50-95 and mAP50 of Ultralytics' validation, in percent."""
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(str(self.truth))
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

    def ours(self, command, model, scratch):
        more = ["--split", "test", "--plots", "false", "--save-dir", scratch / f"val-{pathlib.Path(model).stem}"]
        report = told(command, "val", "--data", self.data, "--model", model, *more)
        return [100 * report["coco"][key] for key in ("AP", "AP50")]


class Classifier:
    schemes = {"all": (False, False), "all, 7 bits": (False, True)}
    name, images, imgsz = "ghostnet_050-cifar10", 512, 64

    def __init__(self, data, scratch):
        self.data = data
        transform = create_transform(self.imgsz, interpolation="bilinear", crop_pct=1.0)
        view = lambda image: transform(image)[None].numpy()
        with tarfile.open(data / "train.tar") as tar:
            files = sorted((m for m in tar.getmembers() if m.name.endswith(".jpg")), key=lambda m: m.name)
            self.calibration = [view(Image.open(tar.extractfile(m)).convert("RGB")) for m in spread(files, self.images)]
        with tarfile.open(data / "test.tar") as tar:
            files = [m for m in tar.getmembers() if m.name.endswith(".jpg")]
            labels = [pathlib.Path(m.name).parent.name for m in files]
            self.classes = sorted(set(labels))
            self.labels = np.array([self.classes.index(label) for label in labels])
            self.tests = [view(Image.open(tar.extractfile(m)).convert("RGB")) for m in files]

    def export(self, path):
        net = timm.create_model("ghostnet_050", num_classes=len(self.classes))
        net.load_state_dict(safetensors.torch.load_file(SHIPPED / f"{self.name}.safetensors"), strict=True)
        to_onnx(net.float().eval(), torch.zeros(1, 3, self.imgsz, self.imgsz), path, {0: "images"}, {0: "images"})

    def measure(self, run):
        """Top-1 in percent."""
        batches = (self.tests[i : i + 50] for i in range(0, len(self.tests), 50))
        chosen = np.concatenate([run(np.concatenate(batch)).argmax(1) for batch in batches])
        return [100 * float((chosen == self.labels).mean())]

    def ours(self, command, model, scratch):
        return [told(command, "eval", "--data", self.data, "--split", "test", "--model", model)["top1"]]


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
    print(f"{network.name:22} {engine:13} {scheme:15}", *(f"{value:6.2f}" for value in values), size, flush=True)


def ours(network, command, scratch):
    show(network, "GhostZoo", "f32", network.ours(command, network.name, scratch))
    for method in ("mse", "minmax", "percentile"):
        path = scratch / f"{network.name}-{method}.safetensors"
        more = ["--data", network.data, "--images", network.images, "--method", method, "--output", path]
        told(command, "quantize", "--model", network.name, *more)
        show(network, "GhostZoo", method, network.ours(command, path, scratch), path.stat().st_size)


def theirs(network, engine, start, quantize, scratch):
    source = scratch / f"{network.name}.onnx"
    if not source.exists():
        network.export(source)
    show(network, engine, "f32", network.measure(start(source)))
    for scheme, (decode, seven) in network.schemes.items():
        path = scratch / f"{network.name}-{engine}-{scheme}".replace(" ", "-")
        with contextlib.redirect_stdout(io.StringIO()):
            path, size = quantize(source, path, network.calibration, decode, seven)
        show(network, engine, scheme, network.measure(start(path)), size)
        show(network, engine, "  in floats", network.measure(start(path, integers=False)))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for path in ("bccd", "cifar", "ghostzoo"):
        parser.add_argument(path, type=pathlib.Path)
    engines = ["ghostzoo", "openvino", "onnxruntime"]
    parser.add_argument("--engines", nargs="+", choices=engines, default=engines)
    a = parser.parse_args()
    LOGGER.setLevel(logging.ERROR)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for kind, data in ((Detector, a.bccd), (Classifier, a.cifar)):
            network = kind(data.resolve(), scratch)
            if "ghostzoo" in a.engines:
                ours(network, a.ghostzoo.resolve(), scratch)
            if "openvino" in a.engines:
                theirs(network, "OpenVINO", by_openvino, mixed, scratch)
            if "onnxruntime" in a.engines:
                theirs(network, "ONNX Runtime", by_onnx_runtime, qdq, scratch)


if __name__ == "__main__":
    sys.exit(main())
