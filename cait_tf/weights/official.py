"""Read PyTorch checkpoints, and write them in the authors' format.

The module reads files of the authors, and of timm's and DeiT's training scripts. The authors' files
have a state dict under ``"model"``, and its names begin with ``module.``.
"""

from __future__ import annotations

import argparse
import pathlib
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from cait_tf.atomic import atomic_path
from cait_tf.errors import WeightsError
from cait_tf.weights import names
from cait_tf.weights.state_dicts import choose, plain_names

#: timm calls its training checkpoints ``.pth.tar``, but the files are not tar archives.
ENDINGS = (".pth", ".pt", ".pth.tar", ".pt.tar", ".bin", ".ckpt")

#: Oldest supported torch. In older versions a file can run code despite ``weights_only``
#: (CVE-2025-32434).
_TORCH = (2, 6)
_PREFIX = "module."
_GRID = "cait_tf.grid"
_CLASSES = "cait_tf.class_names"
_STATED = "cait_tf.stated"

T = TypeVar("T")


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Read the checkpoint's state dict that `state_dicts.choose` prefers.

    Returns:
        timm name to array in Keras layout.

    Raises:
        ImportError, WeightsError: as for `read_chosen`.
    """
    return read_chosen(path)[0]


def read_chosen(
    path: str | Path, key: str | None = None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Read every tensor of one state dict in the checkpoint.

    The function unpickles only tensors and plain values. It refuses a file with other objects.

    Args:
        key: key of the state dict. `None`: the state dict that `state_dicts.choose` prefers.

    Returns:
        timm name to float32 array in Keras layout, and notes for the loading report.

    Raises:
        ImportError: torch, an extra of this project, is not installed or too old.
        WeightsError: the file is damaged, holds other objects or no state dict, or has none under
            `key`.
    """
    torch = _torch(f"got {path}; reading")
    state, notes = choose(_load(torch, path), torch.is_tensor, str(path), key)
    tensors = {
        # Copy the array, because the checkpoint is memory-mapped from the file.
        name: names.from_torch_layout(tensor.detach().float().numpy().copy())
        for name, tensor in plain_names(state).items()
    }
    return tensors, notes


def grid(path: str | Path) -> tuple[int, int] | None:
    """Return the patch grid that `write` stored. `None`: the file has no grid, like those of the authors."""
    return _written(path, _GRID, tuple)


def class_names(path: str | Path) -> tuple[str, ...] | None:
    """Return the class names that `write` stored. `None`: the file has none, like those of the authors."""
    return _written(path, _CLASSES, tuple)


def stated(path: str | Path) -> dict[str, str]:
    """Return what `write` stored as `stated`; an empty dictionary for any other file."""
    return _written(path, _STATED, dict) or {}


def _written(path: str | Path, key: str, kind: Callable[[Any], T]) -> T | None:
    if not zipfile.is_zipfile(path):  # torch's old file format, which `write` does not use
        return None
    content = _load(_torch(f"got {path}; reading"), path)
    found = content.get(key) if isinstance(content, dict) else None
    return kind(found) if found else None


def write(
    path: str | Path,
    tensors: Mapping[str, np.ndarray],
    grid: tuple[int, int],
    class_names: Sequence[str] | None = None,
    stated: Mapping[str, str] | None = None,
) -> None:
    """Write tensors as a checkpoint in the authors' format, with the patch grid added.

    Args:
        tensors: arrays in Keras layout by timm name.
        grid: the patch grid.
        class_names: names of the head's columns, in order. `None`: the file names no classes.
        stated: what the weights state about themselves, such as their run.

    Raises:
        ImportError: torch, an extra of this project, is not installed or too old.
    """
    torch = _torch(f"got {path}; writing")
    state = {
        f"{_PREFIX}{name}": torch.from_numpy(names.to_torch_layout(array).copy())
        for name, array in tensors.items()
    }
    beside = {_CLASSES: list(class_names)} if class_names else {}
    beside |= {_STATED: dict(stated)} if stated else {}
    with atomic_path(path) as partial:
        torch.save({"model": state, _GRID: list(grid), **beside}, partial)


def check_torch() -> None:
    """Check that a ``.pth`` file can be written.

    Raises:
        ImportError: torch, an extra of this project, is not installed or too old.
    """
    _torch("writing")


def _torch(doing: str) -> ModuleType:
    try:
        import torch  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise ImportError(
            f"weights: {doing} a .pth file needs torch: pip install 'cait-finetune[torch]'"
        ) from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < _TORCH:
        raise ImportError(
            f"weights: {doing} a .pth file needs torch {'.'.join(map(str, _TORCH))}, got "
            f"{torch.__version__}: pip install -U 'cait-finetune[torch]'"
        )
    return torch


def _load(torch: ModuleType, path: str | Path) -> Any:
    # Map the file instead of reading it: it may hold an optimizer state twice as large as the
    # model.
    mapped = {"mmap": True} if zipfile.is_zipfile(path) else {}
    try:
        with warnings.catch_warnings():  # torch warns about the pickles that it refuses
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals(_plain_values()):
                return torch.load(path, map_location="cpu", weights_only=True, **mapped)
    except Exception as error:  # pickle, zipfile and torch raise different types
        raise WeightsError(
            f"weights: got {path}, expected a checkpoint that holds tensors only "
            f"({_reason(torch, path, error)}); it may be damaged, or carry pickled code, which is "
            "refused\n  save its state dict by itself: torch.save(model.state_dict(), PATH)"
        ) from error


def _reason(torch: ModuleType, path: str | Path, error: Exception) -> str:
    """Return the refused classes and functions in the file, or else the type of the error."""
    try:
        with torch.serialization.safe_globals(_plain_values()):
            refused = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # the file is damaged, or in torch's old format
        refused = []
    return f"it holds {', '.join(sorted(refused)[:4])}" if refused else type(error).__name__


def _plain_values() -> list[Any]:
    """Return classes that run no code and that training scripts store besides tensors."""
    numbers = [type(np.dtype(code)) for code in "?bBhHiIlLqQefd"]
    scalar = np.float64(0).__reduce__()[0]
    return [
        argparse.Namespace,
        np.dtype,
        *numbers,
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
        *(
            (pure, f"{module}.{system}Path")
            for module in ("pathlib", "pathlib._local")
            for system, pure in (
                ("Posix", pathlib.PurePosixPath),
                ("Windows", pathlib.PureWindowsPath),
            )
        ),
    ]


def download(url: str) -> Path:
    """Download a checkpoint of the authors into Keras' cache directory, and return its path.

    Raises:
        WeightsError: the download failed.
    """
    import keras

    try:
        return Path(keras.utils.get_file(origin=url, cache_subdir="cait_tf"))
    except Exception as error:  # urllib raises several unrelated types
        raise WeightsError(
            f"weights: got {url}, which could not be downloaded ({error}); expected a network, or "
            "one of the three other ways: the Hugging Face Hub (hub), a local .safetensors or "
            ".pth file, or the directory of the published SavedModel"
        ) from error
