"""What detectors and classifiers share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
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


class Model:
    """What detectors and classifiers share: names, arguments, batches of images."""

    _native: Any
    _model: Path
    _names: dict[int, str]
    _defaults: dict[str, Any]
    _options: dict[str, Any]

    @property
    def model(self) -> Path:
        """What the model was asked for by."""
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

    def _results(self, images: Iterable[Image], batch: int, errors: str, options: dict[str, Any]) -> Iterator[Results]:
        from ._results import of_batch

        check("errors", errors, ERRORS)
        if batch < 1:
            raise ValueError(f"`batch` is {batch}: give at least 1")
        names, images, first = self.names, iter(images), 0
        while chunk := list(islice(images, batch)):
            found = self._batch(chunk, options)
            yield from of_batch(found, chunk, first, names, errors == "raise")
            first += len(chunk)


def _again(kind: type[Model], model: Path, options: dict[str, Any]) -> Model:
    return kind(model, **options)  # type: ignore[call-arg]


def named(native: Any) -> dict[int, str]:
    return dict(enumerate(native.class_names or map(str, range(native.num_classes))))


def check(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"`{name}` is {value!r}: give {' or '.join(map(repr, known))}")


def listed(images: Image) -> Iterable[Image]:
    """Images one by one: of a list, a tuple, an iterator, an array of (n, height, width, 3); else the one that is given."""
    if isinstance(images, (list, tuple, Iterator)):
        return images
    return iter(images) if getattr(images, "ndim", 0) == 4 else (images,)
