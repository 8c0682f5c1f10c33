"""What images show."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from . import _ghostzoo
from ._model import (
    CHANNELS,
    Channels,
    Errors,
    Image,
    Model,
    Path,
    absolute,
    check,
    loading,
    named,
    refuse,
    whole,
)

if TYPE_CHECKING:
    from ._long import ClassificationMetrics, Progress
    from ._results import Results


class Classifier(Model):
    """A classifier. Make one and use it for every image, from as many threads as you like; it can be pickled.

    ``model``, ``dtype``, ``threads``, ``device`` and ``arch`` are those of :class:`Detector`; ``ghostnet_050-cifar10`` is built in.

    >>> classifier = Classifier("ghostnet_050-cifar10")
    >>> result = classifier("frog.png")[0]
    >>> result.names[result.probs.top1], result.probs.top1conf
    """

    _native: _ghostzoo.Classifier

    def __init__(
        self,
        model: Path = "ghostnet_050-cifar10",
        *,
        dtype: str = "f32",
        threads: int | None = None,
        device: str = "cpu",
        arch: Path | None = None,
        channels: Channels = "bgr",
        max_pixels: int | None = None,
    ) -> None:
        super().__init__()
        check("channels", channels, CHANNELS)
        max_pixels = None if max_pixels is None else whole("max_pixels", max_pixels)
        how = loading(dtype, threads, device, arch)
        self._model = absolute(model)
        self._native = _ghostzoo.Classifier(os.fspath(model), **how)
        self._names = named(self._native)
        self._defaults = {"channels": channels, "max_pixels": max_pixels}
        self._options = {**how, **self._defaults}

    @overload
    def predict(
        self,
        images: Image,
        *,
        stream: Literal[False] = False,
        batch: int = ...,
        errors: Errors = ...,
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
        channels: Channels | None = None,
        max_pixels: int | None = None,
        verbose: bool = False,
        **others: Any,
    ) -> list[Results] | Iterator[Results]:
        """What an image shows, or each of several: a list of :class:`ghostzoo.Results` with ``probs``, in their order.

        ``images``, ``stream``, ``batch``, ``errors``, ``channels``, ``max_pixels`` and ``verbose`` are those of
        :meth:`Detector.predict`, but that files and Pillow's images are taken as they are stored, whatever their EXIF data say: so timm
        and torchvision read them, by which classifiers are trained. Images are scaled, cropped and normalised as the checkpoint says.
        """
        refuse(others)
        if channels is not None:
            check("channels", channels, CHANNELS)
        max_pixels = None if max_pixels is None else whole("max_pixels", max_pixels)
        given = {"channels": channels, "max_pixels": max_pixels}
        options = {**self._defaults, **{key: value for key, value in given.items() if value is not None}}
        return self._results(images, stream, batch, errors, options)

    __call__ = predict

    def _batch(self, images: list[Image], options: dict[str, Any]) -> list[Any]:
        return self._native.predict(images, **options)

    def val(
        self,
        data: Path,
        *,
        split: str | None = None,
        batch: int = 128,
        workers: int = 2,
        progress: Progress | None = None,
    ) -> ClassificationMetrics:
        """Measures on the images of a folder with a folder per class, or of another layout that ``ghostzoo eval --help`` names.

        ``split`` is the part to look at: ``val`` where there is such a folder, else ``test``, unless given. ``progress`` is that of
        :meth:`Detector.val`.
        """
        from ._long import ClassificationMetrics

        return ClassificationMetrics(
            _ghostzoo.val_classifier(
                self._native,
                os.fspath(data),
                split=split,
                batch=whole("batch", batch),
                workers=whole("workers", workers, 0),
                progress=progress,
            )
        )
