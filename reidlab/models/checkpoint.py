"""Checkpoints as people have them, read as key -> tensor; what is none is told as what it is.

Files are read as tensors only: a pickle that asks for anything else is refused, because unpickling
it runs code.
"""

import codecs
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from reidlab.common.errors import WeightsError
from reidlab.common.files import first_line

#: Where trainings keep the network: torchreid and Lightning, PyTorch's tutorial, fast-reid and
#: timm, deep_sort_pytorch.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net_dict", "network")

#: What data-parallel training, Lightning and torch.compile put before the names of parameters.
PREFIXES = re.compile(r"^((module|model|_orig_mod)\.)+")

BROWSER = "open the address in a browser and save the file that it offers"

#: First bytes of files that are no checkpoints -> what they are, and what to do.
KINDS = {
    rb"\s*<[!?\w]": (
        "a web page",
        "a site sent it instead of the file, to ask for a sign-in or to say that a quota is used "
        f"up; {BROWSER}",
    ),
    rb'\s*\{\s*"': (
        "a text in JSON",
        f"if a site sent it, {BROWSER}",
    ),
    rb"version https://git-lfs": (
        "git-LFS's pointer to a file",
        "run `git lfs pull` in the repository that it comes from",
    ),
    rb"\x1f\x8b": ("compressed with gzip", "unpack it with gunzip"),
    rb"BZh": ("compressed with bzip2", "unpack it with bunzip2"),
    rb"\xfd7zXZ": ("compressed with xz", "unpack it with unxz"),
    rb"\x28\xb5\x2f\xfd": ("compressed with zstd", "unpack it with unzstd"),
    rb"7z\xbc\xaf|Rar!": ("an archive", "unpack it and name the checkpoint in it"),
    rb"\x89HDF": ("an HDF5 file, as Keras writes", "take the weights that were saved by PyTorch"),
    rb"\x93NUMPY": ("a NumPy array", "take the weights that were saved by PyTorch"),
    rb"\x08[\x01-\x20][\x12\x3a]": (
        "an ONNX network",
        "take the PyTorch weights that it was exported from",
    ),
}


class _Aside:
    """Stands for an object beside the tensors; whatever it was made of is dropped."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


#: Read as `_Aside`: torchreid's engine saves its Rank-1 as a NumPy number, others their settings.
ASIDE = [
    (_Aside, name)
    for name in (
        "numpy.dtype",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray.scalar",  # NumPy 1
        "argparse.Namespace",
    )
]


def read_weights(file: Path | str) -> dict[str, Tensor]:
    """A checkpoint as key -> tensor on the CPU.

    It may be in the safetensors format, or in PyTorch's (``.pth``, ``.pt``, ``.tar``,
    ``.pth.tar-150``), which is read with ``weights_only=True``. The content decides, not the name.
    The network is taken out of a training checkpoint (`WRAPPERS`), and its names lose what comes
    before them (`PREFIXES`).

    Raises:
        WeightsError: no such file; truncated; not a plain file of dense, real tensors.
    """
    file = Path(file)
    if not file.is_file():
        raise WeightsError(f"{file}: there is no such weights file; {_where(file)}")
    try:
        with open(file, "rb") as opened:
            head = opened.read(512)
    except OSError as error:
        raise WeightsError(
            f"{file}: cannot be read ({error.strerror}); see that you may read it"
        ) from error
    # The length of the header in 8 bytes, then the header.
    state = _read_safetensors(file) if head[4:9] == b"\0\0\0\0{" else _read_torch(file, head)
    for _ in range(3):
        wrapped = isinstance(state, Mapping) and [state.get(key) for key in WRAPPERS]
        state = next((inner for inner in wrapped or [] if isinstance(inner, Mapping)), state)
    if not isinstance(state, Mapping):
        raise WeightsError(
            f"{file}: holds a {type(state).__name__}, expected a dictionary of "
            "tensors; save `model.state_dict()`"
        )
    others = [
        f"{key} ({type(value).__name__.lstrip('_')})"
        for key, value in state.items()
        if not isinstance(value, Tensor)
    ]
    if others or not state:
        raise WeightsError(
            f"{file}: expected a dictionary of tensors, found "
            f"{shorten(others) or 'nothing'}; save `model.state_dict()`"
        )
    _refuse_odd_tensors(file, state)
    plain = {PREFIXES.sub("", str(key)): tensor for key, tensor in state.items()}
    # Two parameters with one name are told by their whole names.
    return plain if len(plain) == len(state) else {str(key): state[key] for key in state}


def shorten(keys: Sequence[str], most: int = 8) -> str:
    """The first few of many names, for an error."""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def _where(file: Path) -> str:
    if [*file.glob("data.pkl"), *file.glob("*/data.pkl")]:
        return (
            "it is a folder: the checkpoint, which is a zip file, was unpacked, as some browsers "
            "do. Fetch it again without unpacking"
        )
    if file.is_dir():
        return "it is a folder: name the file in it"
    return f"check the path, relative ones start at {Path.cwd()}"


def _refuse_odd_tensors(file: Path, state: Mapping[str, Tensor]) -> None:
    kinds = {
        "without values (meta)": (
            lambda t: t.is_meta,
            "save the network after its weights have been loaded",
        ),
        "quantised": (
            lambda t: t.is_quantized or (t.is_floating_point() and t.element_size() == 1),
            "save the network as it was before, or `dequantize()` them",
        ),
        "sparse": (lambda t: t.layout != torch.strided, "save them with `to_dense()`"),
        "complex": (lambda t: t.is_complex(), "no network here has such; take its own file"),
    }
    for kind, (is_odd, remedy) in kinds.items():
        if odd := [str(key) for key, tensor in state.items() if is_odd(tensor)]:
            raise WeightsError(
                f"{file}: expected dense tensors of real numbers, found {len(odd)} that are "
                f"{kind}: {shorten(odd)}; {remedy}"
            )


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{file}: is not a whole safetensors file ({error}); it is truncated "
            "or damaged, fetch it again"
        ) from error


#: How PyTorch's reader of tensors names the first thing in a pickle of protocol 4 or 5.
FRAME = "Unsupported operand 149"


def require_whole(opened: BinaryIO) -> None:
    """Compare each member of a zip with its CRC-32, which PyTorch does not.

    Raises:
        zipfile.BadZipFile: other bytes than were written.
    """
    if opened.read(4) == b"PK\3\4" and (bad := zipfile.ZipFile(opened).testzip()):
        raise zipfile.BadZipFile(f"the bytes of {bad} are not those that were written")
    opened.seek(0)


def _read_torch(file: Path, head: bytes) -> object:
    try:
        with (
            open(file, "rb") as opened,  # of a path PyTorch would believe the name
            torch.serialization.safe_globals(ASIDE),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # about pickle protocols; errors say enough
            require_whole(opened)
            return torch.load(opened, map_location="cpu", weights_only=True)
    except Exception as error:  # of nearly any type, depending on where a file was cut
        # torch wraps the unpickler's own words in advice to switch its protection off.
        reason = str(error.__context__ if isinstance(error, pickle.UnpicklingError) else error)
        reason = reason.partition("\n")[0].partition(". ")[0]
        foreign = reason.startswith("Unsupported operand") and head.startswith(pickle.PROTO)
        if found := _kind(file, head):
            message = "is {}, not a checkpoint; {}".format(*found)
        elif "global" in reason.lower() or foreign:
            message = (
                "is not a plain file of tensors, and was not loaded: unpickling anything else "
                f"can run code ({reason}). If you trust its source, read it in PyTorch yourself "
                "and save only its `state_dict` of tensors"
            )
        elif reason.startswith(FRAME):
            message = (
                "was pickled with protocol 4 or later, of which PyTorch reads tensors only by "
                "running code. Have it saved again by `torch.save(state_dict, file)`, without "
                "`pickle_protocol`"
            )
        else:
            message = (
                f"cannot be read as a PyTorch checkpoint ({type(error).__name__}: "
                f"{reason}); it is truncated or damaged, fetch it again"
            )
        raise WeightsError(f"{file}: {message}") from error


def _kind(file: Path, head: bytes) -> tuple[str, str] | None:
    """What a file is that cannot be loaded, and what to do; None where nothing is known of it."""
    if not head:
        return "empty", "it is truncated or damaged, fetch it again"
    head = head.removeprefix(codecs.BOM_UTF8)
    for start, found in KINDS.items():
        if re.match(start, head):
            return found
    if line := first_line(head):
        return f"a text that begins {line!r}", "if a site sent it, " + BROWSER
    try:
        if head[257:262] == b"ustar":
            with tarfile.open(file) as archive:
                return _archive("tar", archive.getnames())
        with zipfile.ZipFile(file) as archive:
            return _archive("zip", archive.namelist())
    except (tarfile.TarError, zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None


def _archive(form: str, names: list[str]) -> tuple[str, str] | None:
    ends = {name.rpartition("/")[2] for name in names}
    again = "`torch.save({}.state_dict(), 'weights.pth')` makes a checkpoint of it"
    if {"sys_info", "storages"} <= ends:
        return (
            "in the first format of PyTorch, a tar file that cannot be read without running code",
            "if you trust its source, load and save it with PyTorch yourself",
        )
    if "constants.pkl" in ends:
        return "a TorchScript program", again.format("torch.jit.load(file)")
    if {"archive_format", "serialized_exported_program.json"} & ends:
        return "a program of torch.export", again.format("torch.export.load(file)")
    if "data.pkl" in ends:
        return None  # a checkpoint as PyTorch writes it
    if all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays", "take the weights that were saved by PyTorch"
    return f"a {form} archive of {shorten(names, 3)}", "unpack it and name the checkpoint in it"
