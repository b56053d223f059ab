"""Read weights that Keras saved: ``.weights.h5`` and ``.keras`` of a backbone or a model around it.

Keras stores a variable under its attribute path and its number in the layer, for instance
``backbone/blocks/self_attention_block_3/attn/qkv/vars/0``.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cait_tf.errors import WeightsError

_H5_IN_ARCHIVE = "model.weights.h5"
#: Path prefix of the regressor in an `ImageRegressor`: Keras walks attributes in alphabetical order,
#: and finds the regressor in ``layers`` before ``regressor``.
_REGRESSOR = "layers/cai_t_regressor/"
#: Path prefixes of the models around a backbone: `ImageClassifier` around `CaiTClassifier`.
_WRAPPERS = ("classifier/", _REGRESSOR, "backbone/")
_ROOTS = ("", "backbone/", "classifier/backbone/", f"{_REGRESSOR}backbone/")
_GRIDS = tuple(f"{root}vars/grid" for root in _ROOTS)
_CLASSES = tuple(
    f"{root}{layer}/vars/class_names"
    for root in ("", "classifier/", _REGRESSOR)
    for layer in ("head", "head/fc", "head/fc2")
)
_STATED = "stated"
_PREPARED = tuple(f"{root}vars/prepared" for root in _ROOTS)
#: Key of an `ImageClassifier`'s or `ImageRegressor`'s own settings, and the names of the settings for images.
_OWN = "vars/own"
OF_IMAGES = ("crop_pct", "interpolation", "mean", "std", "resize_mode", "antialias")
#: The two variables of layers that have no kernel.
_LEAVES = {"head.norm": ("running_mean", "running_var"), "target_scale": ("mean", "std")}
_STAGES = {
    "blocks/self_attention_block": "blocks",
    "blocks_token_only/class_attention_block": "blocks_token_only",
}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Read every weight of the file: timm name to array in Keras layout.

    Raises:
        WeightsError: the file is damaged, or holds variables that are not a CaiT's.
    """
    import h5py

    path = Path(path)
    try:
        with h5py.File(_h5(path), "r") as file:
            arrays = {}
            file.visititems(
                lambda key, item: (
                    arrays.update({key: item[()]})
                    if isinstance(item, h5py.Dataset)
                    and "seed_generator" not in key
                    and not key.startswith("optimizer/")
                    and key not in (*_GRIDS, *_CLASSES, *_PREPARED, _OWN, _STATED)
                    else None
                )
            )
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"weights: got {path}, expected a file that Keras saved ({error}); it may be damaged or "
            "cut short, so fetch or write it again"
        ) from error
    names = {key: name for key in arrays if (name := _timm_name(key)) is not None}
    if strangers := [key for key in arrays if key not in names]:
        raise WeightsError(
            f"weights: got {path}, expected a model of cait_tf; these variables are "
            f"unknown: {', '.join(strangers[:8])}"
        )
    return {name: arrays[key] for key, name in names.items()}


def grid(path: str | Path) -> tuple[int, int] | None:
    """Return the patch grid that the file states. `None`: the file states no grid.

    `CaiTBackbone.save_own_variables` writes the grid.
    """
    with _opened(_h5(Path(path))) as file:
        stated = next((file[key][()] for key in _GRIDS if key in file), None)
    if stated is not None:
        return int(stated[0]), int(stated[1])
    return _configured_grid(Path(path)) if Path(path).suffix == ".keras" else None


def class_names(path: str | Path) -> tuple[str, ...] | None:
    """Return the classes that the file names, in column order. `None`: it names none.

    The head's `save_own_variables` writes them.
    """
    with _opened(_h5(Path(path))) as file:
        stated = next((file[key][()] for key in _CLASSES if key in file), None)
    return None if stated is None else tuple(of_numbers(stated))


def check_same_task(path: str | Path, regressor: bool) -> None:
    """Check that the file of a whole model is a regressor's, or a classifier's.

    Keras ignores layers that only the file has, so it would load a regressor's head into a
    classifier.

    Args:
        regressor: whether the model is a regressor.

    Raises:
        WeightsError: the model is a regressor and the file is not a regressor's, or the reverse.
    """
    with _opened(_h5(Path(path))) as file:
        theirs = "layers/target_scale/vars/0" in file
        whole = "head" in file
    if whole and theirs != regressor:  # Keras refuses a file without a head
        got, wanted = ("regressor", "classifier") if theirs else ("classifier", "regressor")
        raise WeightsError(
            f"weights: got {path}, the file of a {got}, expected the file of a {wanted}\n"
            "  cait_tf.load_weights(model, FILE) loads the backbone, and the head keeps its values."
        )


def as_numbers(value: Any) -> np.ndarray:
    """Return a JSON value as ``(n,)`` uint8, because Keras' stores hold only numbers."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def of_numbers(numbers: Any) -> Any:
    """Return the JSON value that `as_numbers` converted."""
    return json.loads(bytes(np.asarray(numbers)))


def add_stated(path: Path, stated: Mapping[str, str]) -> None:
    """Write what the weights state about themselves, such as their run. Keras ignores it."""
    import h5py

    text = json.dumps(dict(stated))
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{_STATED}.json", text)
    else:
        with h5py.File(path, "a") as file:
            file[_STATED] = text


def stated(path: str | Path) -> dict[str, str]:
    """Return what a file states about its weights; an empty dictionary if it states nothing.

    The facts come from `add_stated`, `CaiTBackbone.prepared` or an `ImageModel`'s settings.
    """
    try:
        if Path(path).suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                if f"{_STATED}.json" in archive.namelist():
                    return json.loads(archive.read(f"{_STATED}.json"))
        with _opened(_h5(Path(path))) as file:
            if _STATED in file:
                return json.loads(file[_STATED].asstr()[()])
            if _OWN in file:
                own = of_numbers(file[_OWN][()])
                return {"preprocessing": json.dumps({key: own[key] for key in OF_IMAGES})}
            found = next((of_numbers(file[key][()]) for key in _PREPARED if key in file), None)
            return {} if found is None else {"preprocessing": found[1]}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return {}


def _configured_grid(path: Path) -> tuple[int, int] | None:
    """Return the grid from a ``.keras`` file's configuration, the only place in older files."""
    config = _config(path)
    size, patch = config.get("image_size"), config.get("patch_size")
    return (size[0] // patch, size[1] // patch) if size and patch else None


def configured_pooling(path: str | Path) -> str | None:
    """Return the `pooling` of the feature extractor in a ``.keras`` file. `None`: another file."""
    return _config(Path(path)).get("pooling") if Path(path).suffix == ".keras" else None


def _config(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))["config"]


def _opened(path: str | Path | io.BytesIO) -> Any:
    """Open an HDF5 file to read it. `Any`: h5py's types do not distinguish data sets and groups."""
    import h5py

    return h5py.File(path, "r")


def _h5(path: Path) -> Path | io.BytesIO:
    if path.suffix != ".keras":
        return path
    with zipfile.ZipFile(path) as archive:
        return io.BytesIO(archive.read(_H5_IN_ARCHIVE))


def _timm_name(key: str) -> str | None:
    """Map ``backbone/blocks/self_attention_block_3/gamma_1/vars/0`` to ``blocks.3.gamma_1``.

    `None`: the variable is not a CaiT's.
    """
    for wrapper in _WRAPPERS:
        key = key.removeprefix(wrapper)
    path, _, number = key.rpartition("/")
    if number not in ("0", "1"):
        return None
    if path == "vars":
        return ("cls_token", "pos_embed")[int(number)]
    path = path.removesuffix("/vars")
    for prefix, stage in _STAGES.items():
        if match := re.match(rf"{prefix}(?:_(\d+))?/", path):
            path = f"{stage}.{match[1] or 0}/{path[match.end() :]}"
    path = path.replace("layers/layer_normalization", "norm").replace("layers/", "")
    name = path.replace("/", ".")
    if name.endswith((".gamma_1", ".gamma_2")):
        return name
    if not re.match(r"(patch_embed\.proj|blocks|norm|fc_norm|head|target_scale)", name):
        return None
    leaves = _LEAVES.get(name, ("weight", "bias"))
    return f"{name}.{leaves[int(number)]}"
