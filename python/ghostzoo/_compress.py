"""Models that compute less: pruning and quantization."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from . import _ghostzoo
from ._model import absolute, content, listed, sides, whole

if TYPE_CHECKING:
    from ._long import Progress
    from ._model import Path


def quantize(
    model: Path,
    images: Iterable[Any],
    output: Path,
    *,
    count: int = 128,
    method: str = "mse",
    percentile: float = 99.99,
    bias_correction: bool = True,
    skip: Sequence[str] = (),
    imgsz: int | tuple[int, int] | None = None,
    channels: str = "bgr",
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes ``output``, the model with its dense convolutions in 8 bits, by the ranges that ``images`` show; what was done.

    ``images`` are what :meth:`Detector.predict` takes, better 128 and more, of those that the model is for; ``count`` of them are
    looked at, spread evenly. ``method`` chooses the ranges: ``"mse"``, ``"minmax"`` or ``"percentile"`` with ``percentile``.
    ``skip`` names convolutions, or what they are part of, that stay in floats. ``progress`` is called with
    ``{"event": "image", "done", "total"}``; where it returns ``False``, and at Ctrl-C, the work ends without a file.
    """
    if channels not in ("bgr", "rgb"):
        raise ValueError(f"`channels` is {channels!r}: give 'bgr' or 'rgb'")
    report: dict[str, Any] = json.loads(
        _ghostzoo.quantize_model(
            os.fspath(model),
            [content(image) for image in listed(images)],
            _output(output, model),
            count=whole("count", count),
            method=method,
            percentile=percentile,
            bias_correction=bias_correction,
            skip=list(skip),
            imgsz=sides(imgsz),
            channels=channels,
            threads=None if threads is None else whole("threads", threads),
            progress=progress,
        )
    )
    return report


def prune(
    model: Path,
    output: Path,
    *,
    ratio: float | None = None,
    target_gflops: float | None = None,
    target_ms: float | None = None,
    max_drop: float | None = None,
    val_split: str = "val",
    criterion: str | None = None,
    data: Path | None = None,
    split: str | None = None,
    images: int = 128,
    scope: str = "global",
    round_to: int = 8,
    min_channels: int = 8,
    imgsz: int | tuple[int, int] | None = None,
    arch: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes ``output``, the model with fewer channels, which :class:`Detector`, :class:`Classifier` and training take; what was removed.

    One of three says how much: ``ratio``, a share of the channels, above 0 and below 1; ``target_gflops`` or ``target_ms``, the GFLOPs or
    the milliseconds on this machine's CPU that an image of ``imgsz`` (as the model was trained) takes at most, for which the fewest
    channels go. Or ``max_drop`` does: as many go as cost at most so much of mAP50-95 or of top-1, each from 0 to 1, on ``val_split`` of
    ``data``, with no training (``0.005`` is half a point); beside one of the three, no more than that asks for.

    The least important go: by ``criterion``, the norm of their weights (``"l1"``, ``"l2"``), their batch norms' weights (``"bn"``), or
    what the training loss depends on (``"taylor"``), which keeps most accuracy and looks at ``images`` labelled images of ``data``,
    spread evenly over its ``split`` (``train``): a ``data.yaml`` or COCO's instances for a detector, class folders for a classifier.
    Unless it is given, it is ``"taylor"`` with ``data`` and ``"l2"`` without. ``scope`` says whether they are looked for in all layers
    (``"global"``), or the same share in each (``"uniform"``). Each layer keeps a multiple of ``round_to`` channels, and ``min_channels``
    at least.

    What comes back has ``file``, ``imgsz``, ``layers``, and pairs of before and after: ``channels``, ``parameters``, ``gflops`` and, with
    ``target_ms``, ``millis``; with ``max_drop`` ``metric``. Unless that says how much is lost, the network computes less exactly until it
    is trained on: ``train_detector(data, output)``.

    ``progress`` is called with ``{"event": "image", "done", "total"}`` of ``"taylor"``'s images; where it returns ``False``, and at Ctrl-C,
    the work ends without a file.
    """
    report: dict[str, Any] = json.loads(
        _ghostzoo.prune_model(
            os.fspath(model),
            _output(output, model),
            ratio=ratio,
            target_gflops=target_gflops,
            target_ms=target_ms,
            max_drop=max_drop,
            val_split=val_split,
            criterion=criterion,
            data=data,
            split=split,
            images=whole("images", images),
            scope=scope,
            round_to=whole("round_to", round_to),
            min_channels=whole("min_channels", min_channels, 0),
            imgsz=sides(imgsz),
            arch=None if arch is None else absolute(arch),
            threads=None if threads is None else whole("threads", threads),
            progress=progress,
        )
    )
    return report


def _output(output: Path, model: Path) -> str:
    """The checkpoint to write, which is not the one that is read."""
    path = os.fspath(output)
    if not path.endswith(".safetensors"):
        raise ValueError(f"`output` is {path!r}: give a name that ends in .safetensors, the format that is written")
    if os.path.exists(path) and os.path.exists(os.fspath(model)) and os.path.samefile(path, model):
        raise ValueError("`model` and `output` are the same file: give another name")
    return path
