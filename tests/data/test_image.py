"""Image files of many kinds: the pixels that a viewer shows, or one error that names the file."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidlab.common.errors import DataError
from reidlab.data.image import oriented_size, read_image

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(6, 4)


def read(image: Image.Image, file: Path, **settings) -> np.ndarray:
    """An image as it is read back from a file, at its own size."""
    image.save(file, **settings)
    width, height = oriented_size(file)
    return read_image(file, height, width)


def test_grey_palette_bilevel_and_cmyk_become_rgb(tmp_path):
    assert (read(Image.fromarray(GREY), tmp_path / "grey.png") == GREY[..., None]).all()
    palette = Image.fromarray(GREY).convert("P")
    assert (read(palette, tmp_path / "palette.png") == GREY[..., None]).all()
    assert (read(Image.new("1", (4, 6), 1), tmp_path / "bilevel.png") == 255).all()
    assert (read(Image.new("CMYK", (4, 6)), tmp_path / "cmyk.tif") == 255).all()


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_greys_of_16_bits_are_the_same_picture_in_8(tmp_path, kind):
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert (read(deep, tmp_path / f"deep.{kind}") == GREY[..., None]).all()
    full = Image.fromarray(np.array([[0, 128, 129, 65535]], np.uint16))
    assert read(full, tmp_path / f"full.{kind}")[0, :, 0].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize(
    ("dtype", "kind"), [(np.int32, "32-bit numbers"), (np.float32, "floating-point numbers")]
)
def test_greys_without_a_known_white_are_refused(tmp_path, dtype, kind):
    file = tmp_path / "deep.tif"
    Image.fromarray(GREY.astype(dtype)).save(file)
    with pytest.raises(DataError, match=rf"deep\.tif holds greys as {kind}.*8-bit JPEG or PNG"):
        read_image(file, 6, 4)


#: EXIF orientation -> how a viewer turns the stored pixels.
TURNS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "webp"])
def test_orientation_is_that_of_every_viewer(tmp_path, orientation, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 3), np.uint8).repeat(8, 0)
    pixels = pixels.repeat(8, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"quality": 100, "subsampling": 0} if kind == "jpg" else {"exif": exif}
    settings |= {"lossless": True} if kind == "webp" else {}
    got = read(Image.fromarray(pixels), tmp_path / f"x.{kind}", **settings | {"exif": exif})
    expected = TURNS[orientation](pixels)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got.astype(int), expected, atol=3 if kind == "jpg" else 0)


def test_turned_greys_of_16_bits(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    got = read(deep, tmp_path / "deep.png", exif=exif)
    assert (got == np.rot90(GREY, -1)[..., None]).all()


def test_what_is_transparent_lies_on_white(tmp_path):
    rgba = np.zeros((6, 4, 4), np.uint8)
    rgba[..., 0] = GREY
    rgba[..., 3] = np.array([0, 51, 128, 255])
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    got = read(Image.fromarray(rgba), tmp_path / "cutout.png")
    np.testing.assert_allclose(got, expected, atol=1)
    grey = Image.fromarray(rgba[..., [0, 3]], "LA")
    assert (read(grey, tmp_path / "la.png")[:, 0] == 255).all()
    palette = Image.fromarray(GREY).convert("P")
    assert (read(palette, tmp_path / "p.png", transparency=50)[1, 1] == 255).all()
    opaque = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)])
    assert (read(Image.fromarray(opaque), tmp_path / "opaque.png") == GREY[..., None]).all()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_header(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)


def bomb(side: int) -> bytes:
    rows = zlib.compress(bytes(side * (side // 8 + 1)), 9)
    return png(png_header(side, side), (b"IDAT", rows), (b"IEND", b""))


def noted() -> bytes:
    """A picture with a compressed note of 2 MB, as editors and converters write."""
    note = b"note\0\0" + zlib.compress(bytes(2 * 2**20))
    return png(png_header(8, 8), (b"zTXt", note), (b"IDAT", zlib.compress(bytes(16))))


def jpeg() -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.dstack([GREY] * 3)).save(content, "JPEG")
    return content.getvalue()


BAD = {
    "12,000 x 12,000 pixels in 20 kB": (bomb(12_000), r"has 12000 x 12000 pixels; at most"),
    "30,000 x 30,000": (png(png_header(30_000, 30_000)), r"cannot be read as an image|pixels"),
    "a large note": (noted(), r"cannot be read as an image \(.*saved afresh as JPEG or PNG"),
    "a broken chunk": (png(png_header(8, 8))[:-2] + b"xx" + bytes(40), r"cannot be read as an im"),
    "a strange chunk": (png(png_header(8, 8), (b"\0\0\0\0", b"x")), r"cannot be read as an image"),
    "cut": (jpeg()[:300], r"cannot be read as an image"),
    "header only": (jpeg()[:20], r"cannot be read as an image"),
    "empty": (b"", r"cannot be read as an image"),
    "text": (b"not a picture", r"cannot be read as an image"),
    "GIF of no size": (b"GIF89a" + bytes(20), r"cannot be read as an image"),
    "TIFF of nothing": (b"II*\0\x08\0\0\0\x01\0" + b"\xff" * 20, r"cannot be read as an image"),
}


@pytest.mark.filterwarnings("ignore")  # Pillow's, of large images
@pytest.mark.parametrize("kind", BAD)
def test_bad_file_is_named(tmp_path, kind):
    content, message = BAD[kind]
    file = tmp_path / "bad.png"
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.png ({message})"):
        read_image(file, 8, 8)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of strange tags
def test_any_damage_is_an_error_that_names_the_file_or_none(tmp_path):
    """Random bytes of whole files changed: Pillow's errors of any class come out named."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (24, 12, 3), np.uint8))
    for kind in ("png", "jpg", "bmp", "webp", "tif"):
        file = tmp_path / f"damaged.{kind}"
        picture.save(file)
        whole = file.read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            for at in rng.integers(0, min(len(content), 200), 4):
                content[at] = rng.integers(256)
            file.write_bytes(content)
            try:
                assert read_image(file, 24, 12).shape == (24, 12, 3)
            except DataError as error:
                assert str(file) in str(error)


def test_missing_file_says_check_the_path(tmp_path):
    with pytest.raises(DataError, match=r"nope\.jpg does not exist\. Check the path"):
        read_image(tmp_path / "nope.jpg", 8, 8)
