"""Objects in images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, overload

from . import _ghostzoo
from ._model import (
    CHANNELS,
    Channels,
    Classes,
    Errors,
    Image,
    Model,
    Path,
    absolute,
    check,
    loading,
    named,
    refuse,
    share,
    sides,
    whole,
)

if TYPE_CHECKING:
    from ._long import DetectionMetrics, Progress
    from ._results import Results


class Detector(Model):
    """A detector. Make one and use it for every image, from as many threads as you like; it can be pickled.

    ``model`` is a name of :func:`ghostzoo.models` (``yolov8n-ghostnet-bccd`` is built in), a file (safetensors, or PyTorch's
    ``.pt``), or ``hf://organisation/repository[@revision]/file``.

    ``dtype`` is what it computes in: ``"f32"``, ``"f16"``, ``"bf16"``, or ``"auto"`` for the one that suits model and processor.
    ``threads`` is how many threads it computes on, one per core unless given; results do not depend on it. Two detectors of one
    thread each, called from two threads of Python, run side by side. ``device`` is ``"cpu"``; ``"cuda"``, ``"cuda:N"`` and
    ``"metal"`` where the package is built with that. ``arch`` names the architecture of a checkpoint that does not say it.

    The other arguments are those of :meth:`predict`, for every call that does not say otherwise.

    >>> detector = Detector("yolov8n-ghostnet-bccd", conf=0.5, threads=1)
    >>> for result in detector(["a.jpg", "b.jpg"]):
    ...     print(result.path, result.boxes.xyxy.tolist())
    """

    _native: _ghostzoo.Detector

    def __init__(
        self,
        model: Path = "yolov8n-ghostnet-bccd",
        *,
        dtype: str = "f32",
        threads: int | None = None,
        device: str = "cpu",
        arch: Path | None = None,
        conf: float = 0.25,
        iou: float = 0.7,
        max_det: int = 300,
        imgsz: int | tuple[int, int] | None = None,
        rect: bool = True,
        classes: Classes | None = None,
        agnostic_nms: bool = False,
        channels: Channels = "bgr",
        max_pixels: int | None = None,
    ) -> None:
        super().__init__()
        how = loading(dtype, threads, device, arch)
        self._model = absolute(model)
        self._native = _ghostzoo.Detector(os.fspath(model), **how)
        self._names = named(self._native)
        self._defaults = self._checked(
            {
                "conf": conf,
                "iou": iou,
                "max_det": max_det,
                "imgsz": imgsz,
                "rect": rect,
                "classes": classes,
                "agnostic_nms": agnostic_nms,
                "channels": channels,
                "max_pixels": max_pixels,
            }
        )
        self._options = {**how, **self._defaults}

    @overload
    def predict(
        self,
        images: Image,
        *,
        stream: Literal[False] = False,
        batch: int = ...,
        errors: Errors = ...,
        conf: float | None = ...,
        iou: float | None = ...,
        max_det: int | None = ...,
        imgsz: int | tuple[int, int] | None = ...,
        rect: bool | None = ...,
        classes: Classes | None = ...,
        agnostic_nms: bool | None = ...,
        channels: Channels | None = ...,
        max_pixels: int | None = ...,
        verbose: bool = ...,
    ) -> list[Results]: ...

    @overload
    def predict(
        self,
        images: Image,
        *,
        stream: Literal[True],
        batch: int = ...,
        errors: Errors = ...,
        conf: float | None = ...,
        iou: float | None = ...,
        max_det: int | None = ...,
        imgsz: int | tuple[int, int] | None = ...,
        rect: bool | None = ...,
        classes: Classes | None = ...,
        agnostic_nms: bool | None = ...,
        channels: Channels | None = ...,
        max_pixels: int | None = ...,
        verbose: bool = ...,
    ) -> Iterator[Results]: ...

    def predict(
        self,
        images: Image,
        *,
        stream: bool = False,
        batch: int = 16,
        errors: Errors = "raise",
        conf: float | None = None,
        iou: float | None = None,
        max_det: int | None = None,
        imgsz: int | tuple[int, int] | None = None,
        rect: bool | None = None,
        classes: Classes | None = None,
        agnostic_nms: bool | None = None,
        channels: Channels | None = None,
        max_pixels: int | None = None,
        verbose: bool = False,
        **others: Any,
    ) -> list[Results] | Iterator[Results]:
        """The objects in an image, or in each of several: a list of :class:`ghostzoo.Results`, in their order.

        ``images`` is one of these, or a list, a tuple or an iterator of them:

        - the path of a file, its bytes, or the file, open as ``"rb"``: read as OpenCV reads it, upright as its EXIF data say;
        - a numpy array of uint8, (height, width, 3) or grey (height, width): blue, green, red, as OpenCV and Ultralytics have it,
          unless ``channels="rgb"``;
        - an image of Pillow, whose colours are known.

        ``conf`` (0.25) is the least confidence of a box, ``iou`` (0.7) the overlap above which the less confident of two boxes of a
        class goes, with ``agnostic_nms`` (False) of any two classes, ``max_det`` (300) how many boxes an image may have,
        ``classes`` (all) a list of numbers or names of those that are kept. ``imgsz`` (the model's) is the side that images are
        scaled to, or (height, width); ``rect`` (True) pads them to the next multiple of the stride alone. ``max_pixels`` is how
        large a file's image may be.

        ``stream=True`` gives an iterator, which takes ``batch`` images at a time. With ``errors="return"``, the result of an image
        that cannot be read has its exception as ``error``, and no boxes; else the exception is raised. ``verbose`` is taken and
        ignored, whatever it is: nothing is printed. A result holds on to the image that was given, for ``plot``, of a file to its path.
        """
        if others:
            refuse(others)
        given = {
            "conf": conf,
            "iou": iou,
            "max_det": max_det,
            "imgsz": imgsz,
            "rect": rect,
            "classes": classes,
            "agnostic_nms": agnostic_nms,
            "channels": channels,
            "max_pixels": max_pixels,
        }
        given = {key: value for key, value in given.items() if value is not None}
        options = {**self._defaults, **self._checked(given)} if given else self._defaults
        return self._results(images, stream, batch, errors, options)

    __call__ = predict

    def _batch(self, images: list[Image], options: dict[str, Any]) -> list[Any]:
        return self._native.predict(images, **options)

    def val(
        self,
        data: Path,
        *,
        split: str = "val",
        images: Path | None = None,
        imgsz: int | None = None,
        batch: int = 16,
        rect: bool = True,
        conf: float = 0.001,
        iou: float = 0.7,
        max_det: int = 300,
        agnostic_nms: bool = False,
        single_cls: bool = False,
        progress: Progress | None = None,
    ) -> DetectionMetrics:
        """Measures on the labelled images of Ultralytics' ``data.yaml``, or of COCO's ``instances_*.json`` with its ``images``.

        The arguments are Ultralytics', and so are the numbers. ``progress`` is called with ``{"event": "batch", "done", "total"}``;
        where it returns ``False``, the validation ends with an exception.
        """
        from ._long import DetectionMetrics

        imgsz = None if imgsz is None else whole("imgsz", imgsz)
        return DetectionMetrics(
            _ghostzoo.val_detector(
                self._native,
                os.fspath(data),
                split=split,
                images=images,
                imgsz=imgsz,
                batch=whole("batch", batch),
                rect=rect,
                conf=share("conf", conf),
                iou=share("iou", iou),
                max_det=whole("max_det", max_det, 0),
                agnostic_nms=agnostic_nms,
                single_cls=single_cls,
                progress=progress,
            )
        )

    def _checked(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options as the module takes them."""
        if "channels" in options:
            check("channels", options["channels"], CHANNELS)
        for name in ("conf", "iou"):
            if name in options:
                options[name] = share(name, options[name])
        if "max_det" in options:
            options["max_det"] = whole("max_det", options["max_det"], 0)
        if options.get("max_pixels") is not None:
            options["max_pixels"] = whole("max_pixels", options["max_pixels"])
        if "imgsz" in options:
            options["imgsz"] = sides(options["imgsz"])
        if "classes" in options:
            options["classes"] = self._classes(options["classes"])
        return options

    def _classes(self, classes: Classes | None) -> list[int] | None:
        """Classes by their numbers."""
        if classes is None:
            return None
        numbers = {name: number for number, name in self.names.items()}
        chosen = []
        for given in [classes] if isinstance(classes, (int, str)) else classes:
            number = numbers.get(given, -1) if isinstance(given, str) else int(given)
            if number not in self.names:
                known = ", ".join(islice(self.names.values(), 8))
                raise ValueError(f"`classes`: the model has no class {given!r}; it has {len(self.names)}: {known}")
            chosen.append(number)
        return chosen
