"""Work that takes long: training and validation."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional, Union

from . import _ghostzoo
from ._model import absolute, whole

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .distributed import ProcessGroup

Path = Union[str, "os.PathLike[str]"]
Progress = Callable[[dict[str, Any]], Optional[bool]]


class TrainResult:
    """What came of a training."""

    __slots__ = ("best", "best_epoch", "epochs", "finished", "last", "results", "save_dir", "seconds")

    save_dir: str
    """The run's folder."""
    epochs: int
    """Epochs that are done."""
    best_epoch: int
    """The best of them, from 1."""
    best: str
    """The checkpoint of the best epoch, which :class:`Detector` or :class:`Classifier` loads."""
    last: str
    """The checkpoint of the last epoch."""
    seconds: float
    """Time spent on the run."""
    finished: bool
    """Whether it came to its end; ``resume=save_dir`` goes on with one that was stopped."""
    results: list[dict[str, float]]
    """The rows of ``results.csv``, one an epoch."""

    def __init__(self, text: str) -> None:
        values = json.loads(text)
        names, rows = values.pop("names"), values.pop("rows")
        self.results = [dict(zip(names, (_number(value) for value in row))) for row in rows]
        for name, value in values.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        return f"TrainResult({self.save_dir!r}, epochs={self.epochs}, best_epoch={self.best_epoch})"


def train_detector(
    data: Path | None = None,
    model: Path = "yolov8n-ghostnet",
    *,
    save_dir: Path | None = None,
    resume: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    group: ProcessGroup | None = None,
    sync_bn: bool = False,
    **options: Any,
) -> TrainResult:
    """Trains a detector on the images of Ultralytics' ``data.yaml``.

    ``model`` is an architecture or its yaml, trained from the start, or a checkpoint to start from: a file, or a name of
    :func:`ghostzoo.models`. The run's files go into ``save_dir`` (``runs/detect/train``, with a number where that exists).

    ``options`` have Ultralytics' names and defaults: ``epochs`` (100), ``imgsz`` (640), ``batch`` (16), ``patience`` (100), ``time``
    (hours), ``optimizer``, ``lr0``, ``lrf``, ``momentum``, ``weight_decay``, ``warmup_epochs``, ``cos_lr``, ``nbs``, ``box``, ``cls``,
    ``dfl``, ``freeze``, ``pretrained``, ``teacher`` (a detector of the same classes and strides whose answers are learnt too),
    ``distill`` (the weight of that, 1), ``slim`` (batch norms lose this much times the rate of their weights in each step), ``device``
    (as :class:`Detector`'s; each call says it anew), ``seed``, ``workers``, ``cache``, ``single_cls``, ``classes``, ``fraction``,
    ``rect``, ``multi_scale``, ``close_mosaic``, ``save_period``, ``val``, ``val_split``, ``hsv_h``, ``hsv_s``, ``hsv_v``, ``degrees``,
    ``translate``, ``scale``, ``shear``, ``perspective``, ``flipud``, ``fliplr``, ``bgr``, ``mosaic``, ``mixup``, ``cutmix`` and the
    others that ``ghostzoo train detect --help`` lists.

    ``progress`` is called in the calling thread with a dictionary: ``{"event": "step", "step", "steps", "losses"}`` after each
    step, ``{"event": "epoch", "epoch", "epochs", "is_best", "results"}`` after each epoch. Where it returns ``False``, or raises
    an exception, and at Ctrl-C, the run ends after its step with its state saved; ``resume=save_dir``, with other ``epochs``,
    ``patience`` or ``time`` where wanted, goes on to the same weights as a run that was never stopped. What else is to be said
    goes to the logger ``ghostzoo``.

    ``group`` are the processes that train together: :func:`ghostzoo.distributed.init` finds them. ``batch`` is that of all of them, the
    first writes the files, and ``sync_bn`` takes the moments of batch norms over all of them, so that N processes have the losses of one.
    """
    return _train(_ghostzoo.train_detector, "detect", data, model, save_dir, resume, threads, progress, group, sync_bn, options)


def train_classifier(
    data: Path | None = None,
    model: Path = "ghostnet_100",
    *,
    save_dir: Path | None = None,
    resume: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    group: ProcessGroup | None = None,
    sync_bn: bool = False,
    **options: Any,
) -> TrainResult:
    """Trains a classifier on the images of a folder that holds ``train`` and ``val``, each with a folder of images per class.

    The arguments are those of :func:`train_detector`; ``options`` have timm's names and defaults: ``epochs`` (100), ``imgsz`` (224),
    ``batch`` (128), ``opt``, ``lr``, ``momentum``, ``weight_decay``, ``clip_grad``, ``sched``, ``warmup_epochs``, ``warmup_lr``,
    ``min_lr``, ``decay_epochs``, ``decay_rate``, ``model_ema``, ``model_ema_decay``, ``drop``, ``smoothing``, ``teacher``, ``scale``,
    ``ratio``, ``hflip``, ``vflip``, ``color_jitter``, ``aa``, ``reprob``, ``mixup``, ``cutmix`` and the others that
    ``ghostzoo train classify --help`` lists.
    """
    return _train(_ghostzoo.train_classifier, "classify", data, model, save_dir, resume, threads, progress, group, sync_bn, options)


def _train(
    native: Callable[..., str],
    task: str,
    data: Path | None,
    model: Path,
    save_dir: Path | None,
    resume: Path | None,
    threads: int | None,
    progress: Progress | None,
    group: ProcessGroup | None,
    sync_bn: bool,
    options: dict[str, Any],
) -> TrainResult:
    threads = None if threads is None else whole("threads", threads)
    given = {name: os.fspath(value) if hasattr(value, "__fspath__") else value for name, value in options.items()}
    if resume is not None:
        if save_dir is not None:
            raise ValueError("`save_dir`: a run that goes on has the folder that `resume` names")
        folder = os.fspath(resume)
    elif data is None:
        raise TypeError("give `data`, or the folder of a run as `resume`")
    elif group is not None and save_dir is None:
        raise ValueError("`save_dir`: processes that train together are told the run's folder")
    else:
        folder = _free(os.path.join("runs", task, "train")) if save_dir is None else os.fspath(save_dir)
        given["model"] = absolute(model)
    if data is not None:
        given["data"] = os.path.abspath(os.fspath(data))
    for name in ("pretrained", "teacher"):
        if isinstance(given.get(name), str):
            given[name] = absolute(given[name])
    try:
        text = json.dumps(given, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the options of a training are numbers, texts and lists of them: {error}") from None
    return TrainResult(native(folder, text, resume is not None, threads, progress, group and (group, sync_bn)))


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is none of them")


def _free(folder: str) -> str:
    """The folder, or with the first number that makes it new."""
    number, free = 2, folder
    while os.path.exists(free):
        free, number = f"{folder}{number}", number + 1
    return free


def _number(value: Any) -> float:
    return float("nan") if value is None else value


class ClassMetrics:
    """A class of a validation."""

    __slots__ = ("ap", "class_id", "f1", "images", "instances", "name", "precision", "recall")

    class_id: int
    """Its number."""
    name: str
    """Its name."""
    images: int
    """Images that show it."""
    instances: int
    """Its labelled objects."""
    precision: float
    """At the confidence where the classes' mean F1 is largest."""
    recall: float
    """At the same."""
    f1: float
    """At the same."""
    ap: list[float]
    """Average precision at overlaps of 0.5, 0.55 and so on to 0.95."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.name = values.pop("class") or str(values["class_id"])
        for name, value in values.items():
            setattr(self, name, value)

    @property
    def ap50(self) -> float:
        """Average precision at an overlap of 0.5."""
        return self.ap[0]

    @property
    def map(self) -> float:
        """Mean of :attr:`ap`."""
        return sum(self.ap) / len(self.ap)


class DetectionMetrics:
    """What a validation of a detector measured: by Ultralytics' definition but for :attr:`coco`."""

    __slots__ = (
        "classes",
        "coco",
        "confusion",
        "images",
        "map",
        "map50",
        "mp",
        "mr",
        "names",
        "speed",
        "unreadable_images",
    )

    images: int
    """Images that count."""
    unreadable_images: int
    """Images that could not be read, which the logger ``ghostzoo`` was told of."""
    mp: float
    """Mean precision of the classes, at the confidence where their mean F1 is largest."""
    mr: float
    """Mean recall, at the same."""
    map50: float
    """Mean average precision at an overlap of 0.5."""
    map: float
    """Mean average precision at overlaps from 0.5 to 0.95."""
    classes: list[ClassMetrics]
    """The classes that the labels have."""
    names: dict[int, str]
    """Names of the classes by their numbers."""
    coco: dict[str, float]
    """pycocotools' twelve numbers, ``AP``, ``AP50`` and so on; NaN where there is no such object."""
    confusion: list[list[int]]
    """Counts by predicted and true class; the last row and column are the background."""
    speed: dict[str, float]
    """Milliseconds per image of ``preprocess``, ``inference`` and ``postprocess``."""

    def __init__(self, text: str) -> None:
        values = json.loads(text)
        self.mp, self.mr = _number(values.pop("precision")), _number(values.pop("recall"))
        self.map50, self.map = _number(values["map50"]), _number(values["map"])
        self.images, self.unreadable_images = values["images"], values["unreadable_images"]
        self.names = dict(enumerate(values["names"]))
        self.classes = [ClassMetrics(one) for one in values["classes"]]
        self.coco = {name: _number(value) for name, value in values["coco"].items()}
        self.confusion = values["confusion"]
        self.speed = dict(zip(("preprocess", "inference", "postprocess"), values["speed"]))

    @property
    def results_dict(self) -> dict[str, float]:
        """The means under Ultralytics' names."""
        names = ("precision(B)", "recall(B)", "mAP50(B)", "mAP50-95(B)")
        return {f"metrics/{name}": value for name, value in zip(names, (self.mp, self.mr, self.map50, self.map))}

    @property
    def confusion_matrix(self) -> npt.NDArray[np.int64]:
        """:attr:`confusion` as an array."""
        import numpy as np

        return np.array(self.confusion, dtype=np.int64)

    def __repr__(self) -> str:
        return f"DetectionMetrics(images={self.images}, map50={self.map50:.4f}, map={self.map:.4f})"


class ClassificationMetrics:
    """What a validation of a classifier measured."""

    __slots__ = ("ece", "images", "loss", "top1", "top5", "unreadable_images")

    images: int
    """Images that count."""
    unreadable_images: int
    """Images that could not be read, which the logger ``ghostzoo`` was told of."""
    top1: float
    """Share of images whose likeliest class is right."""
    top5: float
    """Share of images whose class is among the five likeliest."""
    loss: float
    """Mean cross-entropy."""
    ece: float
    """Expected calibration error."""

    def __init__(self, text: str) -> None:
        for name, value in json.loads(text).items():
            setattr(self, name, value if isinstance(value, int) else _number(value))

    def __repr__(self) -> str:
        return f"ClassificationMetrics(images={self.images}, top1={self.top1:.4f}, top5={self.top5:.4f})"
