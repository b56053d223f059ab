"""The authors' checkpoints: ``.pth`` files with ``module.``-prefixed names under ``"model"``."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cait_tf.errors import WeightsError
from cait_tf.weights import names

_PREFIX = "module."
_GRID = "cait_tf.grid"


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of the checkpoint: timm name to array in Keras layout.

    Only tensors are unpickled: a file that holds other objects is refused.

    Raises:
        ImportError: torch, an extra of this project, is not installed.
        WeightsError: the file is not such a checkpoint.
    """
    torch = _torch(f"got {path}; reading")
    checkpoint = _load(torch, path)
    state = checkpoint
    if isinstance(checkpoint, dict):  # timm's training script has it under "state_dict"
        state = checkpoint.get("model", checkpoint.get("state_dict", checkpoint))
    is_state = isinstance(state, dict) and all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in state.items()
    )
    if not state or not is_state:
        held = sorted(map(str, checkpoint)) if isinstance(checkpoint, dict) else None
        got = f"with {', '.join(held[:8])}" if held else f"with {type(checkpoint).__name__}"
        raise WeightsError(
            f"weights: got {path} {got}, expected a state dict, alone or under 'model' or "
            "'state_dict'"
        )
    return {
        name.removeprefix(_PREFIX): names.from_torch_layout(tensor.float().numpy())
        for name, tensor in state.items()
    }


def grid(path: str | Path) -> tuple[int, int] | None:
    """The patch grid that a file written by `write` states, None for the authors' own files."""
    if not zipfile.is_zipfile(path):  # torch's old form, which is none of ours
        return None
    # Mapped, not read: the tensors of the largest model take 1.4 GB.
    torch = _torch(f"got {path}; reading")
    stated = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    stated = stated.get(_GRID) if isinstance(stated, dict) else None
    return tuple(stated) if stated else None


def class_names(path: str | Path) -> tuple[str, ...] | None:
    """The authors' checkpoints name no classes."""
    return None


def write(path: str | Path, tensors: Mapping[str, np.ndarray], grid: tuple[int, int]) -> None:
    """Write tensors in Keras layout as a checkpoint of the authors' form; it states the patch grid.

    Raises:
        ImportError: torch, an extra of this project, is not installed.
    """
    torch = _torch(f"got {path}; writing")
    state = {
        f"{_PREFIX}{name}": torch.from_numpy(names.to_torch_layout(array).copy())
        for name, array in tensors.items()
    }
    torch.save({"model": state, _GRID: list(grid)}, path)


def _torch(doing: str) -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"weights: {doing} a .pth file needs torch: pip install 'cait-finetune[torch]'"
        ) from error
    return torch


def _load(torch: ModuleType, path: str | Path) -> Any:
    try:
        with warnings.catch_warnings():  # about the pickles that are refused
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch errors alike
        raise WeightsError(
            f"weights: got {path}, expected a checkpoint that holds tensors only "
            f"({type(error).__name__}); it may be damaged, or carry pickled code, which is refused"
        ) from error


def download(url: str) -> Path:
    """Fetch a checkpoint of the authors into Keras' cache directory.

    Raises:
        WeightsError: it cannot be downloaded.
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
