"""Read and write safetensors files: timm's, local or on the Hugging Face Hub, and our own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from cait_tf.atomic import atomic_path
from cait_tf.errors import WeightsError
from cait_tf.weights import names
from cait_tf.weights.checksum import STATED, checksum
from cait_tf.weights.state_dicts import plain_names

#: Metadata key of the patch grid ("14x14") in our files.
GRID = "cait_tf.grid"
#: Metadata key of the class names, one per line, in our files.
CLASSES = "classes"
_FILENAME = "model.safetensors"
_CONFIG = "config.json"  # beside the weights
_TIMEOUT_SECONDS = 10.0


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Read every tensor of a safetensors file: timm name to array in Keras layout.

    Raises:
        WeightsError: the file is damaged or not a safetensors file. The checksum in our files
            detects even a single changed bit.
    """
    import safetensors
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        stated = metadata(path).get(STATED)
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error
    if stated and stated != checksum(tensors):
        raise _damaged(path, "its checksum does not match")
    return {name: names.from_torch_layout(array) for name, array in plain_names(tensors).items()}


def grid(path: str | Path) -> tuple[int, int] | None:
    """Return the patch grid in the file's metadata. `None`: it states none, as in timm's files."""
    stated = metadata(path).get(GRID)
    return cast("tuple[int, int]", tuple(map(int, stated.split("x")))) if stated else None


def class_names(path: str | Path) -> tuple[str, ...] | None:
    """Return the classes that a file names, in column order. `None`: it names none.

    Our files name the classes in the metadata. timm names them in the ``config.json`` beside the
    file. ``config.json`` describes only ``model.safetensors``. The function ignores it beside a
    file of another name, which may be another model.
    """
    if stated := metadata(path).get(CLASSES):
        return tuple(stated.split("\n"))
    if Path(path).name != _FILENAME:
        return None
    try:
        stated = json.loads(Path(path).with_name(_CONFIG).read_bytes())["label_names"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tuple(map(str, stated)) if isinstance(stated, list) else None


def metadata(path: str | Path) -> dict[str, str]:
    """Return the metadata of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.metadata() or {}


def _damaged(path: str | Path, why: str) -> WeightsError:
    return WeightsError(
        f"weights: got {path}, expected a safetensors file ({why}); it may be damaged or cut "
        "short, so fetch or write it again"
    )


def write(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as a file that timm loads with ``strict=True``. The write is atomic.

    Args:
        tensors: arrays in Keras layout by timm name.
        metadata: further metadata. The function adds the checksum.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch_layout = {name: names.to_torch_layout(array) for name, array in tensors.items()}
    metadata = {"format": "pt", STATED: checksum(torch_layout), **(metadata or {})}
    with atomic_path(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # the umask's mode; safetensors would make the file private
        save_file(torch_layout, partial, metadata=metadata)
        partial.chmod(mode)


def download(hub_id: str) -> Path:
    """Return ``model.safetensors`` of a Hugging Face repository, from the cache or downloaded.

    Args:
        hub_id: ``OWNER/NAME``. timm's prefix ``hf_hub:`` may precede it.

    Raises:
        WeightsError: the network, the repository or the file is missing.
    """
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    hub_id = hub_id.removeprefix("hf_hub:").removeprefix("hf-hub:")
    try:
        cached = try_to_load_from_cache(hub_id, _FILENAME)
        if isinstance(cached, str):
            return Path(cached)
        # Make one plain request first: without a network, the download would retry for long.
        HfApi().model_info(hub_id, timeout=_TIMEOUT_SECONDS)
        path = Path(hf_hub_download(hub_id, _FILENAME))
        with contextlib.suppress(Exception):  # without config.json the head has no class names
            hf_hub_download(hub_id, _CONFIG)
        return path
    except Exception as error:  # the library raises many unrelated types
        raise WeightsError(
            f"weights: got {hub_id!r}, which could not be downloaded from the Hugging Face Hub "
            f"({type(error).__name__}: {_first_line(error)}); expected a network, or one of the "
            "three other ways: a local .safetensors file of the same repository, the authors' .pth "
            "(dl.fbaipublicfiles.com/deit), or the directory of the published SavedModel\n"
            "  Set model.weights=FILE, or model=cait_nano_32, whose weights are in the package."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no details").splitlines()[0][:200]
