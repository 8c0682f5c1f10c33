"""Images of Pillow as arrays. Pillow is the caller's: it is imported where an image of its is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def rgb(image: Any, orient: bool) -> npt.NDArray[np.uint8]:
    """Red, green, blue of shape (height, width, 3), with ``orient`` upright, as its EXIF data say."""
    if orient:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            # The high byte, as OpenCV reads 16 bits; ``convert`` would clip them.
            return (np.asarray(image) >> 8).astype(np.uint8)
    return np.asarray(image.convert("RGB"))
