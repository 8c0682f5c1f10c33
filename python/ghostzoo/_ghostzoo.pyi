"""The module in Rust: what the package wraps."""

from typing import Any, final

__all__ = [
    "Classifier",
    "Detector",
    "ImageError",
    "VERSION",
    "draw_boxes",
    "models",
    "prune_model",
    "pull",
    "quantize_model",
    "read_image",
    "save_image",
    "train_classifier",
    "train_detector",
    "val_classifier",
    "val_detector",
]

VERSION: str

class ImageError(ValueError): ...

def models() -> list[str]: ...
def pull(model: str, force: bool = False) -> None: ...
@final
class Detector:
    def __new__(
        cls,
        model: str,
        *,
        dtype: str = "f32",
        threads: int | None = None,
        device: str = "cpu",
        arch: Any = None,
    ) -> Detector: ...
    def predict(
        self,
        images: list[Any],
        *,
        channels: str,
        conf: float,
        iou: float,
        max_det: int,
        imgsz: list[int] | None,
        rect: bool,
        classes: list[int] | None,
        agnostic_nms: bool,
        max_pixels: int | None = None,
    ) -> list[Any]: ...
    @property
    def class_names(self) -> list[str]: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def imgsz(self) -> list[int]: ...
    @property
    def licence(self) -> str | None: ...

@final
class Classifier:
    def __new__(
        cls,
        model: str,
        *,
        dtype: str = "f32",
        threads: int | None = None,
        device: str = "cpu",
        arch: Any = None,
    ) -> Classifier: ...
    def predict(self, images: list[Any], *, channels: str, max_pixels: int | None = None) -> list[Any]: ...
    @property
    def class_names(self) -> list[str]: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def imgsz(self) -> list[int]: ...
    @property
    def licence(self) -> str | None: ...

def read_image(image: Any, *, channels: str, orient: bool, max_pixels: int | None = None) -> Any: ...
def draw_boxes(
    image: Any, rows: Any, names: list[str], *, labels: bool, conf: bool, boxes: bool, line_width: int | None
) -> tuple[Any, str | None]: ...
def save_image(image: Any, file: Any) -> None: ...
def val_detector(
    detector: Detector,
    data: Any,
    *,
    split: str,
    images: Any,
    imgsz: int | None,
    batch: int,
    rect: bool,
    conf: float,
    iou: float,
    max_det: int,
    agnostic_nms: bool,
    single_cls: bool,
    progress: Any,
) -> str: ...
def val_classifier(
    classifier: Classifier, data: Any, *, split: str | None, batch: int, workers: int, progress: Any
) -> str: ...
def train_detector(
    folder: Any,
    options: str,
    resumes: bool,
    threads: int | None = None,
    progress: Any = None,
    group: tuple[Any, bool] | None = None,
) -> str: ...
def train_classifier(
    folder: Any,
    options: str,
    resumes: bool,
    threads: int | None = None,
    progress: Any = None,
    group: tuple[Any, bool] | None = None,
) -> str: ...
def quantize_model(
    model: Any,
    images: list[Any],
    output: Any,
    *,
    count: int,
    method: str,
    percentile: float,
    bias_correction: bool,
    skip: list[str],
    imgsz: list[int] | None,
    channels: str,
    threads: int | None,
    progress: Any,
) -> str: ...
def prune_model(
    model: Any,
    output: Any,
    *,
    ratio: float | None,
    target_gflops: float | None,
    target_ms: float | None,
    max_drop: float | None,
    val_split: str,
    criterion: str | None,
    data: Any,
    split: str | None,
    images: int,
    scope: str,
    round_to: int,
    min_channels: int,
    imgsz: list[int] | None,
    arch: Any,
    threads: int | None,
    progress: Any,
) -> str: ...
