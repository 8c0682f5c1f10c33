"""Images in, boxes and classes out."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ghostzoo
import numpy as np
import pytest
from conftest import CELLS, SHIP, Command
from ghostzoo import Classifier, Detector, ImageError, Results
from PIL import Image


def boxes(result: Results) -> list[list[float]]:
    assert result.boxes is not None
    return [[float(value) for value in row] for row in result.boxes.data]


def of_command(line: dict[str, object]) -> list[list[float]]:
    rows = line["detections"]
    assert isinstance(rows, list)
    return [[*row["box"].values(), row["confidence"], row["class_id"]] for row in rows]


def single(values: list[list[float]]) -> list[list[np.float32]]:
    return [[np.float32(value) for value in row] for row in values]


@pytest.mark.parametrize("dtype", ["f32", "bf16", "auto"])
@pytest.mark.parametrize("conf", [0.25, 0.001])
def test_boxes_are_the_commands_to_the_last_bit(command: Command, dtype: str, conf: float) -> None:
    model = "yolov8n-ghostnet-bccd"
    lines = command("detect", CELLS, SHIP, "--model", model, "--json", "--no-save", "--dtype", dtype, "--conf", conf)
    for threads in (None, 1, 2, 3):
        found = Detector(model, dtype=dtype, conf=conf, threads=threads)([CELLS, SHIP])
        assert [single(boxes(one)) for one in found] == [single(of_command(line)) for line in lines]
    assert len(boxes(found[0])) > 2, "the test has something to compare"


def test_boxes_of_a_data_set_are_the_commands(command: Command, detector: Detector, bccd: Path) -> None:
    images = sorted((bccd / "images" / "test").glob("*.jpg"))
    lines = command("detect", *images, "--model", "yolov8n-ghostnet-bccd", "--json", "--no-save")
    found = detector(images, batch=7)
    assert [single(boxes(one)) for one in found] == [single(of_command(line)) for line in lines] and len(found) > 50


def test_options_are_the_commands(command: Command, detector: Detector) -> None:
    arguments = ["--imgsz", "320,256", "--iou", "0.5", "--max-det", "7", "--classes", "RBC,0", "--agnostic-nms", "--rect", "false"]
    line = command("detect", CELLS, "--model", "yolov8n-ghostnet-bccd", "--json", "--no-save", "--conf", "0.05", *arguments)[0]
    options: dict[str, Any] = {"imgsz": (320, 256), "iou": 0.5, "max_det": 7, "agnostic_nms": True, "rect": False}
    found = detector(CELLS, conf=0.05, classes=["RBC", 0], **options)[0]
    assert single(boxes(found)) == single(of_command(line))
    assert len(boxes(found)) == 7 and found.input_shape == (320, 256)


def test_classes_are_the_commands_to_the_last_bit(command: Command, classifier: Classifier) -> None:
    lines = command("classify", CELLS, SHIP, "--model", "ghostnet_050-cifar10", "--json", "--topk", 10)
    for found, line in zip(classifier([CELLS, SHIP]), lines):
        assert found.probs is not None
        top = [(entry["class_id"], np.float32(entry["probability"])) for entry in line["top"]]
        assert [(number, found.probs.data[number]) for number in found.probs.top(10)] == top


def test_every_kind_of_image_gives_the_same(detector: Detector) -> None:
    # A format without loss, so that Pillow decodes to the same pixels.
    pillow = Image.open(CELLS).convert("RGB")
    file = io.BytesIO()
    pillow.save(file, "PNG")
    encoded = file.getvalue()
    rgb = np.asarray(pillow)
    expected = boxes(detector(pillow)[0])
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    wide = np.zeros((rgb.shape[0], rgb.shape[1] * 2, 3), np.uint8)
    wide[:, ::2] = rgb
    for given in (encoded, bytearray(encoded), memoryview(encoded), bgr, rgb[:, :, ::-1]):
        assert boxes(detector(given)[0]) == expected
    for given in (rgb, np.asfortranarray(rgb), wide[:, ::2]):
        assert boxes(detector(given, channels="rgb")[0]) == expected
    assert boxes(Detector(channels="rgb")(rgb)[0]) == expected
    together = detector([pillow, encoded, bgr]) + detector((bgr, bgr)) + detector(np.stack([bgr, bgr]))
    assert [boxes(one) for one in together] == [expected] * 7
    assert boxes(detector(rgb)[0]) != expected, "the order of the channels is heard"
    grey = rgb[:, :, 1]
    assert boxes(detector(grey)[0]) == boxes(detector(grey[:, :, None])[0]) == boxes(detector(np.stack([grey] * 3, 2))[0])


def test_open_files_are_images(detector: Detector) -> None:
    expected = boxes(detector(CELLS)[0])
    with CELLS.open("rb") as file:
        found = detector(file)
    found += detector(io.BytesIO(CELLS.read_bytes())) + detector([io.BytesIO(CELLS.read_bytes()), CELLS])
    assert [boxes(one) for one in found] == [expected] * 4
    with CELLS.open("r", encoding="latin-1") as text, pytest.raises(TypeError, match="open it as"):
        detector(text)


@pytest.mark.parametrize("width", range(1, 14))
def test_channels_are_reversed_at_every_length(detector: Detector, width: int) -> None:
    rgb = np.random.default_rng(width).integers(0, 256, (3, width, 3), np.uint8)
    both = [detector(rgb, channels="rgb", conf=0)[0], detector(rgb[:, :, ::-1].copy(), conf=0)[0]]
    assert boxes(both[0]) == boxes(both[1]) and len(both[0]) > 0


def test_pillow_images_are_upright_for_detectors_and_as_stored_for_classifiers(
    detector: Detector, classifier: Classifier, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    turned = tmp_path / "turned.png"
    Image.open(CELLS).convert("RGB").save(turned, exif=exif)
    for given in (turned, Image.open(turned)):
        assert detector(given)[0].orig_shape == (640, 480)
        assert classifier(given)[0].orig_shape == (480, 640)
    assert boxes(detector(turned)[0]) == boxes(detector(Image.open(turned))[0])
    deep = Image.fromarray((np.arange(4096, dtype=np.uint16) * 16).reshape(64, 64))
    high = (np.asarray(deep) >> 8).astype(np.uint8)
    assert boxes(detector(deep, conf=0)[0]) == boxes(detector(high, conf=0)[0])


def test_results_have_ultralytics_names(detector: Detector) -> None:
    result = detector(CELLS)[0]
    found = result.boxes
    assert found is not None and len(result) == len(found) == found.shape[0]
    assert result.orig_shape == (480, 640) and result.path == str(CELLS) and result.names[1] == "RBC"
    assert set(result.speed) == {"preprocess", "inference", "postprocess"} and result.speed["inference"] > 0
    x1, y1, x2, y2 = found.xyxy.T
    assert np.array_equal(found.xywh, np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1))
    assert np.allclose(found.xyxyn * [640, 480, 640, 480], found.xyxy) and found.xywhn.max() <= 1
    assert found.data.dtype == np.float32 and (np.diff(found.conf) <= 0).all() and found.id is None
    assert type(found.xyxy.cpu().numpy()) is np.ndarray  # type: ignore[attr-defined]
    assert boxes(result[found.cls == 1]) == [row for row in boxes(result) if row[5] == 1]
    assert boxes(result[0]) == boxes(result)[:1] == [list(next(iter(found)).data[0])]
    assert [row["name"] for row in result.summary()] == [result.names[int(row[5])] for row in boxes(result)]


def test_classifiers_have_ultralytics_names(classifier: Classifier) -> None:
    result = classifier(SHIP)[0]
    probs = result.probs
    assert probs is not None and result.boxes is None and len(result) == 1
    assert result.names[probs.top1] == "ship" and probs.top5[0] == probs.top1 and len(probs.top5) == 5
    assert probs.top1conf == probs.top5conf[0] == probs.data.max() and abs(probs.data.sum() - 1) < 1e-5
    assert result.summary()[0]["name"] == "ship"


def test_supervision_takes_results(detector: Detector) -> None:
    supervision = pytest.importorskip("supervision")
    result = detector(CELLS)[0]
    found = supervision.Detections.from_ultralytics(result)
    assert np.array_equal(found.xyxy, result.boxes.xyxy) and np.array_equal(found.confidence, result.boxes.conf)  # type: ignore[union-attr]
    assert list(found.data["class_name"]) == [row["name"] for row in result.summary()]
    empty = supervision.Detections.from_ultralytics(detector(CELLS, conf=1)[0])
    assert len(empty) == 0


def test_arrow_has_a_row_per_box_and_per_classified_image(detector: Detector, classifier: Classifier) -> None:
    pytest.importorskip("pyarrow")
    results = detector([CELLS, np.zeros((8, 8, 3), np.uint8), CELLS])
    table = ghostzoo.to_arrow(results)
    count = len(results[0])
    assert table.column("image").to_pylist() == [0] * count + [2] * count
    assert table.column("path").to_pylist() == [str(CELLS)] * 2 * count
    assert table.slice(0, count).column("confidence").to_pylist() == [row[4] for row in boxes(results[0])]
    batch = results[0].to_arrow()
    assert batch.schema.names == ["class_id", "class", "confidence", "x1", "y1", "x2", "y2"] and batch.num_rows == count
    assert batch.column("x2").to_pylist() == [row[2] for row in boxes(results[0])]
    if importlib.util.find_spec("pandas"):
        assert results[0].to_df()["confidence"].tolist() == batch.column("confidence").to_pylist()
    assert results[1].to_arrow().num_rows == 0 and results[1].to_arrow().schema == batch.schema
    rows = ghostzoo.to_arrow(classifier([SHIP, CELLS])).to_pylist()
    assert rows[0]["class"] == "ship" and rows[1]["image"] == 1 and len(rows[0]["probabilities"]) == 10


def test_arrow_takes_streams_and_paths_that_are_not_utf_8(detector: Detector, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    name = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    try:
        name.write_bytes(CELLS.read_bytes())
    except OSError:
        pytest.skip("the file system takes no such name")
    images = [name, os.fsdecode(b"/absent/\xff.jpg")]
    assert detector(images, errors="return")[0].path == str(name)
    table = ghostzoo.to_arrow(detector(images, stream=True, errors="return"))
    assert set(table["path"].to_pylist()) == {f"{tmp_path}/caf\\xE9.jpg"}


def test_streams_take_a_batch_at_a_time(detector: Detector) -> None:
    asked = []

    def images() -> Iterator[Path]:
        for number in range(5):
            asked.append(number)
            yield CELLS

    stream = detector(images(), stream=True, batch=2)
    first = next(stream)
    assert asked == [0, 1]
    assert [boxes(one) for one in stream] == [boxes(first)] * 4


def test_an_image_that_cannot_be_read_is_an_exception_or_a_result(detector: Detector, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no image at all")
    with pytest.raises(ImageError, match=r"damaged.png: not an image: 15 bytes") as raised:
        detector([CELLS, damaged])
    assert isinstance(raised.value, ValueError) and "\n" not in str(raised.value)
    with pytest.raises(FileNotFoundError, match="cannot read .*absent.png"):
        detector(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="image 1: the file is empty"):
        detector([CELLS, b""])
    results = detector([damaged, CELLS, b"", tmp_path / "absent.png"], errors="return")
    assert [type(one.error) for one in results] == [ImageError, type(None), ImageError, FileNotFoundError]
    assert results[0].boxes is None and len(results[0]) == 0 and len(results[1]) > 0
    assert ghostzoo.to_arrow(results).num_rows == len(results[1])


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        (3, TypeError, "int is no image: give a path"),
        (np.zeros((4, 4, 3)), TypeError, "an array of float64 is no image: give uint8"),
        (np.zeros((4, 4, 4), np.uint8), ValueError, r"an array of shape \(4, 4, 4\) is no image: give \(height, width, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "an image of 4x0 has no pixel"),
        (np.zeros(4, np.uint8), ValueError, r"shape \(4\)"),
    ],
)
def test_what_is_no_image_is_refused(detector: Detector, given: object, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        detector(given)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"conf": 2.0}, "`conf` is 2.0: give a number from 0 to 1"),
        ({"conf": "0.5"}, "`conf` is '0.5': give a number from 0 to 1"),
        ({"iou": float("nan")}, "`iou` is nan"),
        ({"imgsz": 0}, "`imgsz` is 0: give at least 1"),
        ({"imgsz": -1}, "`imgsz` is -1: give at least 1"),
        ({"imgsz": 1.5}, "`imgsz` is 1.5: give a whole number"),
        ({"imgsz": (64, 64.0)}, "`imgsz` is 64.0: give a whole number"),
        ({"imgsz": 1_000_000}, "`imgsz` is 1000000x1000000: give sides"),
        ({"max_det": -1}, "`max_det` is -1: give at least 0"),
        ({"max_pixels": -1}, "`max_pixels` is -1"),
        ({"imgsz": (1, 2, 3)}, "give a side"),
        ({"classes": ["cat"]}, "the model has no class 'cat'; it has 3: WBC, RBC, Platelets"),
        ({"classes": 3}, "the model has no class 3"),
        ({"channels": "gbr"}, "`channels` is 'gbr': give 'bgr' or 'rgb'"),
        ({"errors": "ignore"}, "`errors` is 'ignore'"),
        ({"batch": 0}, "`batch` is 0"),
        ({"max_pixels": 10}, "raise `max_pixels`"),
    ],
)
def test_options_out_of_range_are_refused(detector: Detector, options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        detector(CELLS, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("options", [{"conf": 2}, {"iou": -0.1}, {"imgsz": -1}, {"imgsz": 1.5}, {"max_det": -1}, {"threads": -1}])
def test_options_of_a_detector_are_refused_where_they_are_given(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` is .*: give") as raised:
        Detector(**options)
    assert "\n" not in str(raised.value)


def test_options_of_a_validation_are_refused(detector: Detector, classifier: Classifier) -> None:
    for options in ({"imgsz": -1}, {"batch": 0}, {"max_det": -1}, {"conf": 2}):
        with pytest.raises(ValueError, match=f"`{next(iter(options))}` is .*: give"):
            detector.val("absent.yaml", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`workers` is -1"):
        classifier.val("absent", workers=-1)


def test_numbers_of_numpy_are_numbers(detector: Detector) -> None:
    options: dict[str, Any] = {"imgsz": np.int64(320), "max_det": np.int32(5), "conf": np.float32(0.25)}
    expected = boxes(detector(CELLS, imgsz=320, max_det=5)[0])
    assert boxes(detector(CELLS, **options)[0]) == boxes(Detector(**options)(CELLS)[0]) == expected != []


@pytest.mark.parametrize("task", ["detector", "classifier"])
def test_arguments_without_effect_say_what_has_it(task: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(task)
    for name, text in (("half", 'dtype="f16"'), ("device", "where the model is made"), ("save", "result.save"), ("show", "result.plot")):
        with pytest.raises(TypeError, match=f"`{name}`: .*{text}"):
            model(SHIP, **{name: False})
    with pytest.raises(TypeError, match=r"predict\(\) has no argument `confidence`$"):
        model(SHIP, confidence=0.5)
    assert len(model(SHIP, verbose=True)) == 1


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        ("yolov8n-gostnet-bccd", {}, r"unknown model `yolov8n-gostnet-bccd`; did you mean .*\(`ghostzoo.models\(\)` lists all names\)"),
        ("absent.pt", {}, "no such file: absent.pt"),
        ("ghostnet_050-cifar10", {}, "ghostnet_050-cifar10 is a classifier; use `Classifier`"),
        ("yolov8n-ghostnet-bccd", {"dtype": "f64"}, '`dtype` is "f64"'),
        ("yolov8n-ghostnet-bccd", {"device": "tpu"}, '`device` is "tpu"'),
        ("yolov8n-ghostnet-bccd", {"threads": 0}, "`threads` is 0: give at least 1"),
    ],
)
def test_models_that_cannot_be_loaded_are_one_line(model: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text) as raised:
        Detector(model, **options)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    with pytest.raises(RuntimeError, match="`arch`: `resnet` is neither an architecture nor a yaml file"):
        Detector("yolov8n-ghostnet-bccd", arch="resnet")


def test_models_are_listed() -> None:
    assert {"yolov8n-ghostnet-bccd", "ghostnet_050-cifar10"} <= set(ghostzoo.models())
    assert Detector("yolov8n-ghostnet-bccd").licence and Classifier("ghostnet_050-cifar10").imgsz == (64, 64)
    ghostzoo.pull("yolov8n-ghostnet-bccd")
