"""Detection as a stage of Ray Data. Daft and Spark hand over batches too, and take the same class."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ._detector import Detector
from ._model import whole
from ._results import shown

if TYPE_CHECKING:
    import pyarrow as pa

    from ._model import Path
    from ._results import Results


# Bytes that a copy begins with, and a batch: a detector of a few million parameters and some images.
ROOM = 128 << 20
# Columns of the result but the path's.
RESULT = ("width", "height", "class_id", "class", "confidence", "x1", "y1", "x2", "y2", "error")


class DetectBatch:
    """The objects in a batch of images: a callable class for ``ray.data.Dataset.map_batches``, which makes one in each actor.

    >>> paths = ray.data.from_items([{"path": path} for path in paths])
    >>> workers = ray.data.ActorPoolStrategy(size=8)
    >>> boxes = paths.map_batches(DetectBatch, fn_constructor_args=["yolov8n-ghostnet-bccd"], compute=workers, num_cpus=1)
    >>> boxes.write_parquet("s3://bucket/boxes")

    ``images`` names the column of the images: text is a path, or an address such as ``s3://`` that pyarrow knows; bytes are those of a
    file; arrays are pixels, (height, width, 3) of uint8, by default in the order red, green, blue, as Ray, Daft and Spark read them; what
    is transparent of them is not looked at. ``keep`` names columns, or one, that go into the result: those that tell the images apart,
    where it is not the path. They have no names of the result's own, but for ``path``. ``threads`` is how many
    threads one copy computes on, and ``batch`` how many images it holds decoded at a time. The other arguments are
    :class:`ghostzoo.Detector`'s.

    A batch is a dictionary of numpy arrays, a table or a record batch of Arrow, or a pandas DataFrame. What comes back is a table of
    Arrow with a row per box: the columns of ``keep``, then ``path`` (where the images are paths), ``width``, ``height``, ``class_id``,
    ``class``, ``confidence``, ``x1``, ``y1``, ``x2``, ``y2``, ``error``, as ``ghostzoo detect --parquet`` writes them. An image without boxes
    has one row without a class, and so has one that could not be read, with why in ``error``: no image is lost, none ends the job. Bytes of
    a path that are not UTF-8 are written as ``\\xFF``.

    A model that cannot be loaded ends the job with the exception that :class:`ghostzoo.Detector` has. Where the system gives no memory
    (a limit of address space, or a machine that promises no more than it has), a ``MemoryError`` says what to change. What kills a process
    without a word, as Linux does where a machine or a container has no memory left, is between the engine and the system: Ray begins
    a killed copy anew with the same batch, without end, so that its ``memory`` has to say what a copy takes.
    """

    def __init__(
        self,
        model: Path = "yolov8n-ghostnet-bccd",
        *,
        images: str = "path",
        keep: str | Sequence[str] = (),
        threads: int = 1,
        batch: int = 16,
        channels: str = "rgb",
        **options: Any,
    ) -> None:
        import pyarrow  # noqa: F401  What is missing is said before the first batch.

        self._images, self._batch = images, whole("batch", batch)
        self._keep = [keep] if isinstance(keep, str) else list(keep)
        taken = [name for name in self._keep if name in RESULT]
        if taken:
            raise ValueError(f"`keep` names {', '.join(taken)}, which the result has of its own: give the column another name before")
        with _memory(f"load {os.fspath(model)}"):
            self.detector = Detector(model, threads=threads, channels=channels, **options)  # type: ignore[arg-type]

    def __call__(self, batch: Any) -> pa.Table:
        with _memory("look at a batch"):
            return self._rows(batch)

    def _rows(self, batch: Any) -> pa.Table:
        import pyarrow as pa

        images = [_plain(image) for image in _values(batch, self._images)]
        results: list[Results | Exception] = []
        for start in range(0, len(images), self._batch):
            results += self._found([_fetched(image) for image in images[start : start + self._batch]])
        rows = np.array([1 if isinstance(one, Exception) else max(len(one), 1) for one in results], dtype=np.int64)
        image_of_row = pa.array(np.repeat(np.arange(len(results)), rows))
        columns = {name: _column(batch, name).take(image_of_row) for name in self._keep if (name, name) != ("path", self._images)}
        if "path" not in columns and (self._images == "path" or _is_text(batch, self._images, images)):
            paths = [shown(image) if isinstance(image, str) else None for image in images]
            columns["path"] = pa.array(paths, pa.string()).take(image_of_row)
        return pa.table({**columns, **_boxes(results)})

    def _found(self, images: list[Any]) -> list[Results | Exception]:
        """What each image shows. What is no image is looked at alone, so that the others keep their boxes."""
        usable = [image for image in images if not isinstance(image, Exception)]
        try:
            results = self.detector.predict(usable, batch=self._batch, errors="return")
        except (TypeError, ValueError) as error:
            if len(images) == 1:
                return [error]
            return [one for image in images for one in self._found([image])]
        for result in results:
            # What was fetched is let go before the next images are.
            result._image = None
        found = iter(results)
        return [image if isinstance(image, Exception) else next(found) for image in images]


@contextmanager
def _memory(doing: str) -> Iterator[None]:
    """Says what to do where there is no memory. What the system would refuse is asked for before: the module in Rust ends its process."""
    try:
        if hasattr(mmap, "MAP_PRIVATE"):
            try:
                mmap.mmap(-1, ROOM, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
            except OSError as error:
                raise MemoryError(f"the system gives no {ROOM >> 20} MB more: {error.strerror}") from None
        yield
    except MemoryError as error:
        raise MemoryError(
            f"there is no memory to {doing} ({error}): give fewer copies to a machine, Ray by `memory=` what one takes, the engine a smaller "
            "`batch_size`, or DetectBatch a smaller `batch`"
        ) from error


def _boxes(results: Sequence[Results | Exception]) -> dict[str, Any]:
    """The columns of boxes: a row per box, and one of each image without."""
    import pyarrow as pa

    kinds = {"width": pa.int32(), "height": pa.int32(), "class_id": pa.int32(), "class": pa.string()}
    kinds |= dict.fromkeys(("confidence", "x1", "y1", "x2", "y2"), pa.float32()) | {"error": pa.string()}
    values: dict[str, list[Any]] = {name: [] for name in kinds}
    for result in results:
        error = result if isinstance(result, Exception) else result.error
        height, width = (None, None) if isinstance(result, Exception) or error else result.orig_shape
        boxes = None if isinstance(result, Exception) or error else result.boxes
        empty = [[None] * 6]
        for x1, y1, x2, y2, confidence, number in boxes.data.tolist() if boxes else empty:
            name = None if number is None or isinstance(result, Exception) else result.names[int(number)]
            number = None if number is None else int(number)
            why = None if error is None else shown(str(error) or type(error).__name__)
            row = (width, height, number, name, confidence, x1, y1, x2, y2, why)
            for column, value in zip(values.values(), row):
                column.append(value)
    return {name: pa.array(values[name], kind) for name, kind in kinds.items()}


def _values(batch: Any, name: str) -> list[Any]:
    """The images of a batch, one by one."""
    column = _of(batch, name)
    if isinstance(column, np.ndarray):
        return list(column) if column.dtype != object and column.ndim > 1 else column.tolist()
    if hasattr(column, "to_pylist"):
        # A column of tensors is one of pixels.
        is_tensor = getattr(column.type, "shape", None) is not None or "tensor" in str(column.type).lower()
        return _tensors(column) if is_tensor else column.to_pylist()
    return list(column)


def _tensors(column: Any) -> list[Any]:
    """The arrays of a column of Arrow, ``None`` where there is none."""
    arrays: list[Any] = []
    for chunk in getattr(column, "chunks", [column]):
        there = chunk.drop_null() if chunk.null_count else chunk
        # Plain Arrow flattens tensors of a fixed shape where numpy is asked for, but for this method.
        values = iter(there.to_numpy_ndarray() if hasattr(there, "to_numpy_ndarray") else there.to_numpy(zero_copy_only=False))
        arrays += [next(values) if is_there else None for is_there in chunk.is_valid().to_pylist()]
    return arrays


def _of(batch: Any, name: str) -> Any:
    """A column of a dictionary, of Arrow or of pandas."""
    names = batch
    for attribute in ("columns", "column_names"):
        names = getattr(batch, attribute, None) if getattr(batch, attribute, None) is not None else names
    if name not in list(names):
        raise KeyError(f"the batch has no column {name!r}; it has {', '.join(map(str, names))}")
    return batch[name]


def _is_text(batch: Any, name: str, images: list[Any]) -> bool:
    """Whether a column holds paths: by Arrow's type, so that every batch has the same columns, else by its values."""
    import pyarrow as pa

    kind = getattr(_of(batch, name), "type", None)
    if isinstance(kind, pa.DataType):
        return pa.types.is_string(kind) or pa.types.is_large_string(kind) or "string_view" in str(kind)
    return any(isinstance(image, str) for image in images)


def _column(batch: Any, name: str) -> Any:
    import pyarrow as pa

    column = _of(batch, name)
    return column if isinstance(column, (pa.Array, pa.ChunkedArray)) else pa.array(column)


def _plain(image: Any) -> Any:
    """A value of a column as what it stands for: pandas and Ray wrap arrays, and a missing value of pandas is NA or NaN."""
    if isinstance(image, os.PathLike):
        return os.fspath(image)
    if type(image).__name__ in ("NAType", "NaTType") or (isinstance(image, float) and image != image):
        return None
    return image.to_numpy() if hasattr(image, "to_numpy") else image


def _fetched(image: Any) -> Any:
    """An image as a detector takes it: what lies at an address is fetched. An exception where that fails."""
    if image is None:
        return ValueError("there is no image in this row")
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 4:
        return image[:, :, :3]
    if not (isinstance(image, str) and "://" in image):
        return image
    from pyarrow import fs

    try:
        filesystem, path = fs.FileSystem.from_uri(image)
        with filesystem.open_input_stream(path) as stream:
            return stream.read()
    except MemoryError:
        raise
    except Exception as error:
        return error
