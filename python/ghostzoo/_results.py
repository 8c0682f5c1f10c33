"""What models found, under Ultralytics' names, as numpy arrays and as Arrow."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

    Floats = npt.NDArray[np.float32]


class Array(np.ndarray):
    """An array, with the two methods that code for PyTorch's tensors calls to get one."""

    def cpu(self) -> Array:
        """The array itself."""
        return self

    def numpy(self) -> npt.NDArray[Any]:
        """The same memory as a plain array."""
        return self.view(np.ndarray)


class Boxes:
    """Boxes of an image, the most confident first, in pixels of the image. An index gives those that it selects."""

    __slots__ = ("data", "orig_shape")

    data: Floats
    """A row per box, of shape (n, 6): x1, y1, x2, y2, confidence, class."""
    orig_shape: tuple[int, int]
    """Height and width of the image."""

    def __init__(self, data: Floats, orig_shape: tuple[int, int]) -> None:
        self.data = data.view(Array)
        self.orig_shape = orig_shape

    @property
    def xyxy(self) -> Floats:
        """Left, top, right, bottom: (n, 4)."""
        return self.data[:, :4]

    @property
    def xywh(self) -> Floats:
        """Centre, width and height: (n, 4)."""
        low, high = self.data[:, :2], self.data[:, 2:4]
        return np.concatenate([(low + high) / 2, high - low], axis=1).view(Array)

    @property
    def xyxyn(self) -> Floats:
        """:attr:`xyxy` as shares of the image's width and height."""
        return self.xyxy / self._sides()

    @property
    def xywhn(self) -> Floats:
        """:attr:`xywh` as shares of the image's width and height."""
        return self.xywh / self._sides()

    @property
    def conf(self) -> Floats:
        """Confidences: (n,)."""
        return self.data[:, 4]

    @property
    def cls(self) -> Floats:
        """Numbers of the classes, as floats as Ultralytics has them: (n,)."""
        return self.data[:, 5]

    @property
    def id(self) -> None:
        """Identities of tracked objects: none are tracked."""
        return None

    @property
    def is_track(self) -> bool:
        """Whether there are identities."""
        return False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of :attr:`data`."""
        return self.data.shape

    def cpu(self) -> Boxes:
        """The boxes themselves."""
        return self

    def numpy(self) -> Boxes:
        """The boxes themselves."""
        return self

    def _sides(self) -> Floats:
        height, width = self.orig_shape
        return np.array([width, height, width, height], dtype=np.float32)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Boxes:
        return Boxes(np.atleast_2d(self.data[index]), self.orig_shape)

    def __iter__(self) -> Iterator[Boxes]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        return f"Boxes({self.data.tolist()})"


class Probs:
    """How likely each class of an image is."""

    __slots__ = ("data",)

    data: Floats
    """By the classes' numbers: (n,), sums to 1."""

    def __init__(self, data: Floats) -> None:
        self.data = data.view(Array)

    @property
    def top1(self) -> int:
        """The likeliest class."""
        return self.top(1)[0]

    @property
    def top5(self) -> list[int]:
        """The five likeliest classes, the likeliest first."""
        return self.top(5)

    @property
    def top1conf(self) -> float:
        """How likely :attr:`top1` is."""
        return float(self.data[self.top1])

    @property
    def top5conf(self) -> Floats:
        """How likely each of :attr:`top5` is."""
        return self.data[self.top5]

    def top(self, k: int) -> list[int]:
        """The ``k`` likeliest classes, the likeliest first; of two that are equally likely, that of the lower number."""
        order: list[int] = np.argsort(-self.data, kind="stable")[:k].tolist()
        return order

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of :attr:`data`."""
        return self.data.shape

    def cpu(self) -> Probs:
        """The probabilities themselves."""
        return self

    def numpy(self) -> Probs:
        """The probabilities themselves."""
        return self

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Probs({dict(zip(self.top5, self.top5conf.tolist()))})"


class Results:
    """What a model found in an image."""

    __slots__ = ("boxes", "dropped", "error", "input_shape", "names", "orig_shape", "path", "probs", "speed")

    path: str
    """The file; of an image that came otherwise ``image0``, ``image1`` and so on, by its place in the call."""
    names: Mapping[int, str]
    """Names of the model's classes by their numbers."""
    orig_shape: tuple[int, int]
    """Height and width of the image; (0, 0) where it could not be read."""
    boxes: Boxes | None
    """Of a detector."""
    probs: Probs | None
    """Of a classifier."""
    speed: dict[str, float]
    """Milliseconds of ``preprocess``, ``inference`` and ``postprocess``: the image's share of its batch."""
    input_shape: tuple[int, int] | None
    """Height and width of a detector's input."""
    dropped: int
    """How many candidates of a detector were too many to be looked at: 0 but for a very low ``conf``."""
    error: Exception | None
    """Why the image could not be read, where the call was to return that."""

    def __init__(
        self,
        path: str,
        names: Mapping[int, str],
        orig_shape: tuple[int, int] = (0, 0),
        *,
        boxes: Boxes | None = None,
        probs: Probs | None = None,
        speed: dict[str, float] | None = None,
        input_shape: tuple[int, int] | None = None,
        dropped: int = 0,
        error: Exception | None = None,
    ) -> None:
        self.path, self.names, self.orig_shape = path, names, orig_shape
        self.boxes, self.probs, self.speed = boxes, probs, speed or {}
        self.input_shape, self.dropped, self.error = input_shape, dropped, error

    def __len__(self) -> int:
        """How many boxes there are, or one of a classifier."""
        if self.boxes is not None:
            return len(self.boxes)
        return 0 if self.probs is None else 1

    def __getitem__(self, index: Any) -> Results:
        if self.boxes is None:
            raise TypeError("the result of a classifier has no boxes to select from")
        return self._with(self.boxes[index])

    @property
    def masks(self) -> None:
        """Of segmentation: none."""
        return None

    @property
    def keypoints(self) -> None:
        """Of poses: none."""
        return None

    @property
    def obb(self) -> None:
        """Of turned boxes: none."""
        return None

    def _with(self, boxes: Boxes) -> Results:
        again = Results(self.path, self.names, self.orig_shape, boxes=boxes, speed=self.speed, dropped=self.dropped)
        again.input_shape = self.input_shape
        return again

    def cpu(self) -> Results:
        """The result itself."""
        return self

    def numpy(self) -> Results:
        """The result itself."""
        return self

    def summary(self) -> list[dict[str, Any]]:
        """What was found, as plain values: per box ``name``, ``class``, ``confidence`` and ``box``; of a classifier the likeliest."""
        if self.probs is not None:
            best = self.probs.top1
            return [{"name": self.names[best], "class": best, "confidence": self.probs.top1conf}]
        return [
            {
                "name": self.names[int(row[5])],
                "class": int(row[5]),
                "confidence": row[4],
                "box": dict(zip(("x1", "y1", "x2", "y2"), row[:4])),
            }
            for row in ([] if self.boxes is None else self.boxes.data.tolist())
        ]

    def to_arrow(self) -> pa.RecordBatch:
        """What was found as a batch of Arrow: see :func:`ghostzoo.to_arrow`, without its first columns."""
        import pyarrow as pa

        return pa.record_batch(_columns([self]))

    def to_df(self) -> pd.DataFrame:
        """:meth:`to_arrow` as a frame of pandas."""
        return self.to_arrow().to_pandas()

    def __repr__(self) -> str:
        found = self.error or self.boxes or self.probs
        return f"Results({self.path!r}, {self.orig_shape}, {found!r})"


def to_arrow(results: Iterable[Results]) -> pa.Table:
    """A table of Arrow of what was found in images.

    A row per box: ``image`` (the place of its result), ``path``, ``class_id``, ``class``, ``confidence``, ``x1``, ``y1``, ``x2``,
    ``y2``. Of a classifier a row per image: ``image``, ``path``, ``class_id``, ``class``, ``confidence`` of the likeliest class, and
    ``probabilities`` of all. An image without boxes, or that could not be read, has no row. Bytes of a path that are not UTF-8 are written
    as ``\\xFF``.
    """
    import pyarrow as pa

    results = list(results)
    rows = np.array([len(result) for result in results], dtype=np.int64)
    images = np.repeat(np.arange(len(results), dtype=np.int64), rows)
    paths = pa.array([shown(result.path) for result in results], pa.string()).take(pa.array(images))
    return pa.table({"image": pa.array(images), "path": paths, **_columns(results)})


def _columns(results: Sequence[Results]) -> dict[str, Any]:
    """A row per box, or per classified image."""
    import pyarrow as pa

    names = results[0].names if results else {}

    def named(numbers: npt.NDArray[np.int64]) -> Any:
        return pa.array([names[number] for number in numbers.tolist()], pa.string())

    probs = [result.probs.data for result in results if result.probs is not None]
    if probs:
        best = np.array([np.argsort(-one, kind="stable")[0] for one in probs], dtype=np.int64)
        conf = np.array([one[number] for one, number in zip(probs, best)], dtype=np.float32)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(probs).view(np.ndarray)), len(probs[0]))
        return {"class_id": pa.array(best), "class": named(best), "confidence": pa.array(conf), "probabilities": lists}
    boxes = [result.boxes.data for result in results if result.boxes is not None]
    data = np.concatenate([*boxes, np.empty((0, 6), np.float32)]).view(np.ndarray)
    classes = data[:, 5].astype(np.int64)
    columns = {name: pa.array(data[:, place].copy()) for place, name in enumerate(("x1", "y1", "x2", "y2"))}
    return {"class_id": pa.array(classes), "class": named(classes), "confidence": pa.array(data[:, 4].copy()), **columns}


def shown(text: str) -> str:
    """A text that UTF-8 can hold: bytes of a path that are not UTF-8, which Python has as surrogates, are written as ``\\xFF``."""

    def written(found: re.Match[str]) -> str:
        code = ord(found[0])
        return f"\\x{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04X}"

    return re.sub("[\ud800-\udfff]", written, text)


SPEEDS = ("preprocess", "inference", "postprocess")


def of_batch(
    found: list[Any], images: Sequence[Any], first: int, names: Mapping[int, str], raises: bool
) -> Iterator[Results]:
    """The results of a batch; ``first`` is the place of its first image in the call."""
    for number, (one, image) in enumerate(zip(found, images), first):
        is_path = isinstance(image, (str, os.PathLike))
        path = os.fsdecode(image) if is_path else getattr(image, "filename", "") or f"image{number}"
        if isinstance(one, Exception):
            if raises:
                raise one
            yield Results(path, names, error=one)
        elif len(one) == 5:
            boxes, shape, sides, times, dropped = one
            speed = dict(zip(SPEEDS, times))
            yield Results(
                path, names, shape, boxes=Boxes(boxes, shape), speed=speed, input_shape=sides, dropped=dropped
            )
        else:
            data, shape, times = one
            yield Results(path, names, shape, probs=Probs(data), speed=dict(zip(SPEEDS, times)))
