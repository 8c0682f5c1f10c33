"""What detectors and classifiers share."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Union

if TYPE_CHECKING:
    from ._results import Results

Image = Any
Path = Union[str, "os.PathLike[str]"]
Classes = Union[int, str, Sequence[Union[int, str]]]
Channels = Literal["bgr", "rgb"]
Errors = Literal["raise", "return"]

CHANNELS = ("bgr", "rgb")
ERRORS = ("raise", "return")

# What Ultralytics' users write, and what has that effect here.
INSTEAD = {
    "device": "give `device` where the model is made",
    "half": "give `dtype=\"f16\"` where the model is made",
    "save": "`result.save(\"a.jpg\")` writes the image with its boxes",
    "show": "`result.plot()` is the image with its boxes, which OpenCV, Pillow and notebooks show",
}


class Model:
    """What detectors and classifiers share: names, arguments, batches of images."""

    _native: Any
    _model: Path
    _names: dict[int, str]
    _defaults: dict[str, Any]
    _options: dict[str, Any]
    _of_image: Callable[..., Results]

    def __init__(self) -> None:
        # Once: after a network, which fills the processor's caches, an import statement in a call would take 30 us.
        from ._results import of_image

        self._of_image = of_image

    @property
    def model(self) -> Path:
        """What the model was asked for by; a file by its absolute path."""
        return self._model

    @property
    def names(self) -> dict[int, str]:
        """Names of the classes by their numbers; the numbers themselves where the model has no names."""
        return self._names

    @property
    def imgsz(self) -> tuple[int, int]:
        """Height and width, in pixels, that images are scaled to fit, of a classifier those of the network's input."""
        height, width = self._native.imgsz
        return height, width

    @property
    def licence(self) -> str | None:
        """The licence of the weights, where it is known. Ultralytics' own are AGPL-3.0, and bind what you build on them."""
        licence: str | None = self._native.licence
        return licence

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self._model, self._options)

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self._options.items())
        return f"{type(self).__name__}({os.fspath(self._model)!r}{options})"

    def _batch(self, images: list[Image], options: dict[str, Any]) -> list[Any]:
        raise NotImplementedError

    def _results(
        self, images: Image, stream: bool, batch: int, errors: str, options: dict[str, Any]
    ) -> list[Results] | Iterator[Results]:
        check("errors", errors, ERRORS)
        batch, raises, images = whole("batch", batch), errors == "raise", listed(images)
        if not stream and isinstance(images, tuple) and len(images) == 1:
            # What follows for several would be half of the time that Python takes for one.
            image = content(images[0])
            (found,) = self._batch([image], options)
            return [self._of_image(found, image, 0, self._names, raises, options)]
        results = self._each(images, batch, raises, options)
        return results if stream else list(results)

    def _each(self, images: Iterable[Image], batch: int, raises: bool, options: dict[str, Any]) -> Iterator[Results]:
        images, first = map(content, images), 0
        while chunk := list(islice(images, batch)):
            found = self._batch(chunk, options)
            for number, (one, image) in enumerate(zip(found, chunk), first):
                yield self._of_image(one, image, number, self._names, raises, options)
            first += len(chunk)


def _again(kind: type[Model], model: Path, options: dict[str, Any]) -> Model:
    return kind(model, **options)  # type: ignore[call-arg]


def named(native: Any) -> dict[int, str]:
    return dict(enumerate(native.class_names or map(str, range(native.num_classes))))


def check(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"`{name}` is {value!r}: give {' or '.join(map(repr, known))}")


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number, of Python's or of numpy's."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"`{name}` is {value!r}: give a whole number") from None
    if number < least:
        raise ValueError(f"`{name}` is {number}: give at least {least}")
    return number


def share(name: str, value: Any) -> float:
    """A number from 0 to 1."""
    number = float(value) if hasattr(value, "__float__") else None
    if number is None or not 0 <= number <= 1:
        raise ValueError(f"`{name}` is {value!r}: give a number from 0 to 1")
    return number


def sides(imgsz: Any) -> list[int] | None:
    """Height and width, of both or of a side."""
    if imgsz is None:
        return None
    given = [imgsz, imgsz] if isinstance(imgsz, str) or not hasattr(imgsz, "__len__") else list(imgsz)
    if len(given) != 2:
        raise ValueError(f"`imgsz` is {imgsz!r}: give a side, or (height, width)")
    return [whole("imgsz", side) for side in given]


def absolute(model: Path) -> str:
    """The whole path of a file; another name as it is."""
    text = os.fspath(model)
    return os.path.abspath(text) if os.path.isfile(text) else text


def loading(dtype: str, threads: int | None, device: str, arch: Path | None) -> dict[str, Any]:
    """What says how a model is loaded."""
    threads = None if threads is None else whole("threads", threads)
    return {"dtype": dtype, "threads": threads, "device": device, "arch": None if arch is None else absolute(arch)}


def refuse(others: Iterable[str]) -> None:
    """Refuses arguments that have no effect."""
    for name in others:
        raise TypeError(f"predict() has no argument `{name}`" + (f": {INSTEAD[name]}" if name in INSTEAD else ""))


def content(image: Image) -> Image:
    """The bytes of an open file, from where it stands; another image as it is."""
    if not hasattr(image, "read"):
        return image
    read = image.read()
    if isinstance(read, str):
        raise TypeError("a file that is open as text is no image: open it as \"rb\"")
    return read


def listed(images: Image) -> Iterable[Image]:
    """Images one by one: of a list, a tuple, an iterator, an array of (n, height, width, 3); else the one that is given."""
    if isinstance(images, (list, tuple)):
        return images
    if hasattr(images, "ndim"):
        return iter(images) if images.ndim == 4 else (images,)
    # An open file is an iterator of lines too.
    return images if hasattr(images, "__next__") and not hasattr(images, "read") else (images,)
