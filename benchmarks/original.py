"""The corruptions of Market-1501-C as its authors made them, on today's NumPy and SciPy.

That is ``imagecorruptions`` 1.1.2 and the rain of ``albumentations`` 0.5.2. Neither has moved for
years nor can be installed beside current packages, so they are no dependency:

    pip install --no-deps --target FOLDER \
        imagecorruptions==1.1.2 albumentations==0.5.2 scikit-image lazy-loader

and FOLDER on PYTHONPATH. ``python -m benchmarks.original FILE`` then writes what the tests compare
with. What they miss of older packages is put in its place here, and all they
draw comes from one generator, so that others can be given the same random numbers.
"""

import contextlib
import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from scipy import ndimage

from reidlab.recipe.names import corruptions


def corrupt(image: np.ndarray, kind: str, severity: int, rng: np.random.Generator) -> np.ndarray:
    """One image the original's way: (H, W, 3) uint8 -> the same.

    Raises:
        ImportError: the packages are not installed.
    """
    if kind == "rain":
        return _rain(image, severity, rng)
    module = _imagecorruptions()
    noise = functools.partial(module.sk.util.random_noise, rng=rng)
    with _drawing_from(rng), mock.patch.object(module.sk.util, "random_noise", noise):
        return np.uint8(getattr(module, kind)(Image.fromarray(image), severity))


def _rain(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """RandomRain and RandomBrightness with the parameters of Market-1501-C."""
    functional, transforms = _albumentations()
    falling = transforms.RandomRain(
        rain_type=["drizzle", "heavy", "heavy", "torrential", "torrential"][severity - 1],
        blur_value=2 + severity,
        brightness_coefficient=1,
    )
    draws = types.SimpleNamespace(
        uniform=rng.uniform, randint=lambda low, high: int(rng.integers(low, high, endpoint=True))
    )
    with mock.patch.object(transforms, "random", draws):
        drawn = falling.get_params_dependent_on_targets({"image": image})
    wet = falling.apply(image, **drawn)
    return functional.brightness_contrast_adjust(wet, 1, -(0.05 + 0.05 * severity), True)


@contextlib.contextmanager
def _drawing_from(rng: np.random.Generator) -> Iterator[None]:
    """Whatever draws from NumPy's global state draws from this generator instead."""
    with contextlib.ExitStack() as stack:
        for name in ("normal", "uniform", "poisson"):
            stack.enter_context(mock.patch.object(np.random, name, getattr(rng, name)))
        stack.enter_context(mock.patch.object(np.random, "randint", rng.integers))
        yield


@functools.cache
def _imagecorruptions() -> types.ModuleType:
    resources = _module(
        "pkg_resources",
        resource_filename=lambda _, file: str(Path(module.__file__).parent / file),
    )
    former = _module("scipy.ndimage.interpolation", map_coordinates=ndimage.map_coordinates)
    with mock.patch.dict(sys.modules, resources | former):
        module = importlib.import_module("imagecorruptions.corruptions")
    np.float_ = np.float64

    def gaussian(x, sigma, multichannel=False, mode="nearest", truncate=4.0):
        sigma = (sigma, sigma, 0) if multichannel else sigma
        return ndimage.gaussian_filter(x, sigma, mode=mode, truncate=truncate)

    module.gaussian = gaussian  # scikit-image's has lost its argument `multichannel`
    return module


@functools.cache
def _albumentations() -> tuple[types.ModuleType, types.ModuleType]:
    """Its functions and transforms, without what the package imports for its other parts."""
    found = importlib.util.find_spec("albumentations")
    if found is None:
        raise ImportError("albumentations is not installed")
    (root,) = found.submodule_search_locations
    bare = {}
    for name in ("albumentations", "albumentations.augmentations", "albumentations.core"):
        folder = str(Path(root, *name.split(".")[1:]))
        bare |= _module(name, __path__=[folder], __version__="0.5.2")
    former = _module("scipy.ndimage.filters", gaussian_filter=ndimage.gaussian_filter)
    with mock.patch.dict(sys.modules, bare | former):
        return tuple(
            importlib.import_module(f"albumentations.augmentations.{name}")
            for name in ("functional", "transforms")
        )


def _module(name: str, **content: object) -> dict[str, types.ModuleType]:
    module = types.ModuleType(name)
    vars(module).update(content)
    return {name: module}


def write_reference(file: Path) -> None:
    """What the tests compare with: every fourth row of every kind at every severity.

    The image has slopes, edges, colours, greys, black and white.
    """
    low = np.random.default_rng(0).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    image = np.array(Image.fromarray(low).resize((32, 64), Image.Resampling.BICUBIC))
    for first, grey in ((8, 0), (24, 128), (40, 255)):
        image[first : first + 6, 8:20] = grey
    made = {
        f"{kind}-{severity}": corrupt(image, kind, severity, np.random.default_rng(severity))[::4]
        for kind in corruptions()["any"]
        for severity in range(1, 6)
    }
    np.savez_compressed(file, image=image, **made)


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
