"""The authors' checkpoints: ``.pth`` files with ``module.``-prefixed names under ``"model"``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cait_tf.errors import WeightsError
from cait_tf.weights import names

_PREFIX = "module."


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of the checkpoint: timm name to array in Keras layout.

    Only tensors are unpickled: a file that holds other objects is refused.

    Raises:
        ImportError: torch, an extra of this project, is not installed.
        WeightsError: the file is not such a checkpoint.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"weights: got {path}; reading a .pth file needs torch: "
            "pip install 'cait-finetune[torch]'"
        ) from error
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch errors alike
        raise WeightsError(
            f"weights: got {path}, expected a checkpoint that holds tensors only "
            f"({type(error).__name__}); it may be damaged, or carry pickled code, which is refused"
        ) from error
    state = checkpoint.get("model", checkpoint) if isinstance(checkpoint, dict) else None
    is_state = isinstance(state, dict) and all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in state.items()
    )
    if not state or not is_state:
        raise WeightsError(f"weights: got {path}, expected a state dict, alone or under 'model'")
    return {
        name.removeprefix(_PREFIX): names.from_torch_layout(tensor.float().numpy())
        for name, tensor in state.items()
    }


def write(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write tensors in Keras layout as a checkpoint of the authors' form.

    Raises:
        ImportError: torch, an extra of this project, is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"weights: got {path}; writing a .pth file needs torch: "
            "pip install 'cait-finetune[torch]'"
        ) from error
    state = {
        f"{_PREFIX}{name}": torch.from_numpy(names.to_torch_layout(array).copy())
        for name, array in tensors.items()
    }
    torch.save({"model": state}, path)


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
