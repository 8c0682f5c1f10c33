"""Small detectors and classifiers: GhostNet and YOLOv8 with Ghost backbones, on the CPU and without PyTorch.

>>> from ghostzoo import Detector
>>> detector = Detector("yolov8n-ghostnet-bccd")
>>> result = detector("cells.jpg")[0]
>>> result.boxes.xyxy, result.boxes.conf, result.boxes.cls

Arguments have Ultralytics' names, and arrays hold blue, green, red, as OpenCV reads images, unless ``channels="rgb"`` is given.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._classifier import Classifier
from ._detector import Detector
from ._ghostzoo import VERSION as __version__
from ._ghostzoo import ImageError, models, pull

if TYPE_CHECKING:
    from . import distributed
    from ._boxes import Boxes, Probs
    from ._compress import prune, quantize
    from ._long import (
        ClassificationMetrics,
        ClassMetrics,
        DetectionMetrics,
        TrainResult,
        train_classifier,
        train_detector,
    )
    from ._results import Results, to_arrow

__all__ = [
    "Boxes",
    "ClassMetrics",
    "ClassificationMetrics",
    "Classifier",
    "DetectionMetrics",
    "Detector",
    "ImageError",
    "Probs",
    "Results",
    "TrainResult",
    "__version__",
    "distributed",
    "models",
    "prune",
    "pull",
    "quantize",
    "to_arrow",
    "train_classifier",
    "train_detector",
]


def __getattr__(name: str) -> Any:
    # With numpy, which takes longer than all else, and only where it is needed.
    if name in ("Boxes", "Probs", "Results", "to_arrow"):
        from . import _results

        return getattr(_results, name)
    if name == "distributed":
        return import_module(".distributed", __name__)
    if name in ("prune", "quantize"):
        from . import _compress

        return getattr(_compress, name)
    if name in __all__:
        from . import _long

        return getattr(_long, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
