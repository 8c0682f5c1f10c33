"""Boxes and probabilities, under Ultralytics' names, as numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

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
