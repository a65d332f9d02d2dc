"""One image file as 8-bit RGB, as every viewer shows it; what is none is refused by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from reidlab.common.errors import DataError

ORIENTATION = 0x0112  # EXIF tag: how a camera was held

#: More pixels than any crop of a person has; a file of a kilobyte can claim them.
MOST_PIXELS = 64_000_000


@contextmanager
def opened(file: Path) -> Iterator[Image.Image]:
    """An image file, not decoded yet; whatever goes wrong with it is an error that names it.

    Raises:
        DataError: the file is missing, cut short, not an image, or too large to be a crop.
    """
    try:
        with Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(
                    f"{file} has {image.width} x {image.height} pixels; at most "
                    f"{MOST_PIXELS:,} are read. Cut out one person an image, or scale it down."
                )
            yield image
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{file} does not exist. Check the path.") from error
    except Exception as error:  # Pillow's formats raise nearly anything: SyntaxError, struct.error
        raise DataError(
            f"{file} cannot be read as an image ({error}). Put a whole copy in its place: from "
            "where it came, or saved afresh as JPEG or PNG."
        ) from error


def read_image(file: Path, height: int | None = None, width: int | None = None) -> np.ndarray:
    """One image file as (height, width, 3) uint8 RGB, see :func:`as_rgb`; else its own size.

    Raises:
        DataError: as :func:`opened` and :func:`as_rgb`.
    """
    with opened(file) as image:
        rgb = as_rgb(image, file)
        if height is not None and rgb.size != (width, height):
            rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(rgb)


def as_rgb(image: Image.Image, name: object) -> Image.Image:
    """An image as 8-bit RGB, in the way that the study reads every picture.

    It is turned as its EXIF orientation says. What is transparent lies on white. Greys of 16 bits
    are scaled to 8 (65,535 becomes 255).

    Args:
        image: of any mode.
        name: what an error calls it.

    Raises:
        DataError: greys of 32 bits or floating point, whose white nobody knows.
    """
    deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if image.mode in ("I", "F") and not deep:
        kind = "floating-point numbers" if image.mode == "F" else "32-bit numbers"
        raise DataError(
            f"{name} holds greys as {kind}, and which of them is white is not said. Save it as an "
            "8-bit JPEG or PNG."
        )
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if deep:
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def oriented_size(file: Path) -> tuple[int, int]:
    """Width and height of an image as viewers show it.

    Raises:
        DataError: as :func:`opened`.
    """
    with opened(file) as image:
        # Pillow turns TIFFs by itself.
        turned = image.format != "TIFF" and image.getexif().get(ORIENTATION, 1) >= 5
        return image.size[::-1] if turned else image.size
