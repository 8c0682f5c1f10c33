"""What models found, under Ultralytics' names, as numpy arrays and as Arrow."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _ghostzoo
from ._boxes import Boxes, Probs
from ._model import whole

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa


class Results:
    """What a model found in an image."""

    __slots__ = ("_image", "_options", "boxes", "dropped", "error", "input_shape", "names", "orig_shape", "path", "probs", "speed")

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
        # What was looked at, and the options of the call.
        self._image: Any = None
        self._options: Mapping[str, Any] = {}
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
        again.input_shape, again._image, again._options = self.input_shape, self._image, self._options
        return again

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        # A file is read again; pixels would make the result as large as its image.
        state = {name: getattr(self, name) for name in self.__slots__}
        return None, state if isinstance(self._image, (str, os.PathLike)) else {**state, "_image": None}

    @property
    def orig_img(self) -> npt.NDArray[np.uint8]:
        """The image that was looked at: (height, width, 3), blue, green, red. A file is read anew; a pickled result has no other."""
        if self.error is not None:
            raise self.error
        if self._image is None:
            raise ValueError(f"the result of {self.path} has no image: it was pickled, or made without; `plot` takes it as `img`")
        reading = {name: self._options[name] for name in ("channels", "max_pixels")}
        image: npt.NDArray[np.uint8] = _ghostzoo.read_image(self._image, orient=self.probs is None, **reading)
        if image.shape[:2] != tuple(self.orig_shape):
            raise ValueError(f"{self.path} is no longer the image that was looked at: its size is another one")
        return image

    def plot(
        self,
        conf: bool = True,
        line_width: int | None = None,
        *,
        img: npt.NDArray[np.uint8] | None = None,
        labels: bool = True,
        boxes: bool = True,
    ) -> npt.NDArray[np.uint8]:
        """The image with its boxes, names and confidences, as ``ghostzoo detect`` writes it: (height, width, 3), blue, green, red.

        ``line_width`` is that of a frame in pixels, 0.003 of the mean of the image's sides unless given; text grows with it. ``img`` is
        drawn on, in the place of :attr:`orig_img`, and left as it is.
        """
        image = self.orig_img if img is None else img
        if self.boxes is None:
            raise TypeError("the result of a classifier has no boxes to draw")
        names = [self.names[number] for number in range(len(self.names))]
        width = None if line_width is None else whole("line_width", line_width)
        rows = np.ascontiguousarray(self.boxes.data.view(np.ndarray), np.float32)
        drawn, note = _ghostzoo.draw_boxes(image, rows, names, labels=labels, conf=conf, boxes=boxes, line_width=width)
        if note is not None:
            logging.getLogger("ghostzoo").warning("%s", note)
        return drawn  # type: ignore[no-any-return]

    def save(self, filename: str | os.PathLike[str], **options: Any) -> str:
        """Writes :meth:`plot` with its options as JPEG, PNG, WebP or BMP, by the name's ending, whole or not at all; the name."""
        _ghostzoo.save_image(self.plot(**options), filename)
        return os.fspath(filename)

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

    # Without the images, which a stream lets go.
    results = [Results(one.path, one.names, one.orig_shape, boxes=one.boxes, probs=one.probs) for one in results]
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


def of_image(found: Any, image: Any, number: int, names: Mapping[int, str], raises: bool, options: Mapping[str, Any]) -> Results:
    """The result of what the module found in an image, the one of that number in a call with these options."""
    is_path = isinstance(image, str) or hasattr(image, "__fspath__")
    path = os.fsdecode(image) if is_path else getattr(image, "filename", "") or f"image{number}"
    if isinstance(found, Exception):
        if raises:
            raise found
        return Results(path, names, error=found)
    if len(found) == 5:
        boxes, shape, sides, times, dropped = found
        result = Results(path, names, shape, boxes=Boxes(boxes, shape), input_shape=sides, dropped=dropped)
    else:
        data, shape, times = found
        result = Results(path, names, shape, probs=Probs(data))
    result.speed = {"preprocess": times[0], "inference": times[1], "postprocess": times[2]}
    result._image, result._options = image, options
    return result
