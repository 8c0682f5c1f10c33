"""Detection as a stage of Ray Data. Daft and Spark hand over batches too, and take the same class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._detector import Detector

if TYPE_CHECKING:
    import pyarrow as pa

    from ._model import Path
    from ._results import Results


class DetectBatch:
    """The objects in a batch of images: a callable class for ``ray.data.Dataset.map_batches``, which makes one in each actor.

    >>> paths = ray.data.from_items([{"path": path} for path in paths])
    >>> boxes = paths.map_batches(DetectBatch, fn_constructor_args=["yolov8n-ghostnet-bccd"], concurrency=8, num_cpus=1)
    >>> boxes.write_parquet("s3://bucket/boxes")

    ``images`` names the column of the images: text is a path, or an address such as ``s3://`` that pyarrow knows; bytes are those of a
    file; arrays are pixels, (height, width, 3) of uint8, by default in the order red, green, blue, as Ray, Daft and Spark read them.
    ``keep`` names columns that go into the result: those that tell the images apart, where it is not the path. ``threads`` is how many
    threads one copy computes on, and ``batch`` how many images it holds decoded at a time. The other arguments are
    :class:`ghostzoo.Detector`'s.

    A batch is a dictionary of numpy arrays, a table or a record batch of Arrow, or a pandas DataFrame. What comes back is a table of
    Arrow with a row per box: the columns of ``keep``, then ``path`` (where the images are paths), ``width``, ``height``, ``class_id``,
    ``class``, ``confidence``, ``x1``, ``y1``, ``x2``, ``y2``, ``error``, as ``ghostzoo detect --parquet`` writes them. An image without boxes
    has one row without a class, and so has one that could not be read, with why in ``error``: no image is lost, none ends the job.
    """

    def __init__(
        self,
        model: Path = "yolov8n-ghostnet-bccd",
        *,
        images: str = "path",
        keep: Sequence[str] = (),
        threads: int = 1,
        batch: int = 16,
        channels: str = "rgb",
        **options: Any,
    ) -> None:
        import pyarrow  # noqa: F401  What is missing is said before the first batch.

        self.detector = Detector(model, threads=threads, channels=channels, **options)  # type: ignore[arg-type]
        self._images, self._keep, self._batch = images, list(keep), batch

    def __call__(self, batch: Any) -> pa.Table:
        import pyarrow as pa

        images = _values(batch, self._images)
        read = [_fetched(image) for image in images]
        usable = [image for image in read if not isinstance(image, Exception)]
        found = iter(self.detector.predict(usable, stream=True, batch=self._batch, errors="return"))
        results = [image if isinstance(image, Exception) else next(found) for image in read]
        rows = np.array([1 if isinstance(one, Exception) else max(len(one), 1) for one in results], dtype=np.int64)
        image_of_row = pa.array(np.repeat(np.arange(len(results)), rows))
        columns = {name: _column(batch, name).take(image_of_row) for name in self._keep}
        if self._images == "path" or any(isinstance(image, str) for image in images):
            columns["path"] = pa.array(images, pa.string()).take(image_of_row)
        return pa.table({**columns, **_boxes(results)})


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
            row = (width, height, number, name, confidence, x1, y1, x2, y2, error and str(error))
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
        tensors = getattr(column.type, "shape", None) is not None or "tensor" in str(column.type).lower()
        return list(column.combine_chunks().to_numpy(zero_copy_only=False)) if tensors else column.to_pylist()
    return list(column)


def _of(batch: Any, name: str) -> Any:
    names = list(getattr(batch, "column_names", None) or getattr(batch, "columns", None) or batch)
    if name not in names:
        raise KeyError(f"the batch has no column {name!r}; it has {', '.join(map(str, names))}")
    return batch[name]


def _column(batch: Any, name: str) -> Any:
    import pyarrow as pa

    column = _of(batch, name)
    return column if isinstance(column, (pa.Array, pa.ChunkedArray)) else pa.array(column)


def _fetched(image: Any) -> Any:
    """An image as a detector takes it: what lies at an address is fetched. An exception where that fails."""
    if not (isinstance(image, str) and "://" in image):
        return ValueError("there is no image in this row") if image is None else image
    from pyarrow import fs

    try:
        filesystem, path = fs.FileSystem.from_uri(image)
        with filesystem.open_input_stream(path) as stream:
            return stream.read()
    except (OSError, ValueError) as error:
        return error
