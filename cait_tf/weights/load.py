"""Find a source of weights, read it, and load every tensor into a model by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from cait_tf import lora, position
from cait_tf.errors import WeightsError
from cait_tf.places import expanded
from cait_tf.variants import VARIANTS
from cait_tf.weights import collection, keras_file, names, official, timm
from cait_tf.weights.checksum import checksum
from cait_tf.weights.class_names import ClassMatch, match_classes, repeated_names, some
from cait_tf.weights.report import LoadingReport

if TYPE_CHECKING:
    from cait_tf.backbone import CaiTBackbone
    from cait_tf.classifier import CaiTClassifier

_HEAD = ("head.weight", "head.bias")
_LISTED = 12

Tensors = dict[str, np.ndarray]


class Weights(NamedTuple):
    """The content of a source of weights.

    ``tensors``: arrays in Keras layout by timm name. ``kind``: name of the source's format.
    ``grid``: the patch grid; `None`: the source states no grid, so the grid is square.
    ``class_names``: names of the head's columns; `None`: the source names no classes. ``notes``:
    notes for the loading report.
    """

    tensors: Tensors
    kind: str
    grid: tuple[int, int] | None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def parameters(model: keras.Model) -> dict[str, Any]:
    """Return the model's variables by timm name, in order of creation, without LoRA's variables."""
    return {
        names.timm_name(variable.path): variable
        for variable in model.weights
        if not lora.is_lora(variable.path)
    }


def load_weights(
    model: CaiTClassifier | CaiTBackbone,
    source: str | Path,
    class_names: Sequence[str] | None = None,
    source_names: Sequence[str] | None = None,
    weights_key: str | None = None,
) -> LoadingReport:
    """Load `source` into a `CaiTClassifier` or `CaiTBackbone`, and match every tensor by name.

    With `class_names` the function also matches the head's columns by class name. It loads the
    columns of classes that the source names, in any order. The other columns stay as initialised.

    Args:
        model: the model. The function builds it if necessary.
        source: a ``.safetensors`` file (timm's, or written by `save_weights`), a PyTorch checkpoint
            (``.pth``, ``.pth.tar``, ``.pt``, ``.bin``, ``.ckpt``), a SavedModel directory of the
            original collection, a ``.weights.h5`` or ``.keras`` file, or a Hugging Face repository
            such as ``timm/cait_s24_224.fb_dist_in1k``.
        class_names: names of the model's ``C`` head columns, in order. `None`: ``model.class_names``,
            which `create_model` sets; without it, load the source's head unchanged if it has C columns.
        source_names: names of the source's head columns, in order. `None`: the names in the source.
        weights_key: key of the state dict to load, for a PyTorch checkpoint with several state
            dicts. `None`: the moving average (``state_dict_ema``, ``model_ema``) if there is one,
            as in timm.

    Returns:
        The loading report. It states whether the model's head stays as initialised, and whether the
        position embedding was resampled to the model's grid.

    Raises:
        WeightsError: the source cannot be found, downloaded or read, `source_names` do not fit its
            head, a tensor is missing, unexpected, of another shape or of integers, a number is not
            finite, or `class_names` has another number of names than the head has columns. The message lists the tensors, and the model stays unchanged.
        ImportError: the source needs an extra that is not installed.
    """
    read = read_weights(source, weights_key)
    _check_source_names(source_names, read, source)
    if class_names is None:
        class_names = getattr(model, "class_names", None)
    report = assign_weights(
        model,
        read.tensors,
        str(source),
        read.kind,
        read.grid,
        class_names,
        source_names or read.class_names,
    )
    notes = [*read.notes, *report.notes]
    if class_names is None and read.class_names and _HEAD[1] in report.loaded:
        notes.append(f"the head's columns are {some(read.class_names)}")
    return dataclasses.replace(report, notes=tuple(notes), sha256=checksum(read.tensors))


def _check_source_names(names: Sequence[str] | None, read: Weights, source: str | Path) -> None:
    """Check the source names that the user gave.

    Raises:
        WeightsError: a name occurs twice, the number of names is not that of the head's columns, or
            the source itself states other names.
    """
    if names is None:
        return
    columns = len(read.tensors[_HEAD[1]]) if _has_whole_head(read.tensors) else 0
    stated = read.class_names
    if stated is None and (repeated := repeated_names(names)):
        raise WeightsError(
            f"weights_class_names: got {repeated[0]} twice, expected a list of different names"
        )
    if len(names) == columns and (stated is None or tuple(names) == stated):
        return
    expected = f"a name for each of the {columns} columns of its head"
    if not columns:
        expected = "null: the file has no head"
    elif stated is not None:
        expected = f"null: the file, or config.json beside it, names its classes: {some(stated)}"
    raise WeightsError(
        f"weights_class_names: got {some(list(names))} with {source}, expected {expected}"
    )


def read_weights(source: str | Path, weights_key: str | None = None) -> Weights:
    """Read every tensor of a source.

    Args:
        source: as for `load_weights`.
        weights_key: as for `load_weights`.

    Raises:
        WeightsError: the source cannot be found, downloaded or read, or has no state dict under
            `weights_key`.
        ImportError: the source needs an extra that is not installed.
    """
    reader, path, kind = _resolve(str(source))
    notes: tuple[str, ...] = ()
    if reader is official:
        tensors, notes = official.read_chosen(path, weights_key)
    elif weights_key is None:
        tensors = reader.read(path)
        if reader is collection:
            collection.check(path, tensors)
    else:
        raise WeightsError(
            f"weights_key: got {weights_key!r} with {source}, expected null: only PyTorch checkpoints "
            "hold several state dicts"
        )
    stated = reader.class_names(path)
    if reader is timm and stated and not timm.metadata(path).get(timm.CLASSES):
        notes = (*notes, "class names from config.json beside the file")
    return Weights(tensors, kind, reader.grid(path), stated, notes)


def stated_class_names(source: str | Path) -> tuple[str, ...] | None:
    """Return the names of the head's columns in a source. `None`: the source names no classes.

    Raises:
        WeightsError: the source cannot be found or downloaded.
    """
    reader, path, _ = _resolve(str(source))
    return reader.class_names(path)


def save_weights(
    model: CaiTClassifier | CaiTBackbone,
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the model's weights to a safetensors file with timm's names, which timm loads too.

    Args:
        metadata: further metadata of the file.
    """
    if not model.built:
        model.build()
    grid = _grid(model)
    metadata = {timm.GRID: f"{grid[0]}x{grid[1]}", **(metadata or {})}
    timm.write(path, values(model), metadata)


def _grid(model: Any) -> tuple[int, int]:
    return getattr(model, "backbone", model).grid_size


def values(model: keras.Model) -> Tensors:
    """Return all parameters by timm name, in Keras layout, with LoRA's updates added."""
    merged = lora.merged_kernels(model)
    return {
        name: merged.get(variable.path, np.asarray(variable))
        for name, variable in parameters(model).items()
    }


def weights_checksum(model: keras.Model) -> str:
    """Return the SHA-256 of a model's parameters, in hexadecimal. Files of `save_weights` state it.

    The checksum is that of the model's own arrays: after resampling, and in the model's class
    order.
    """
    return checksum({name: names.to_torch_layout(one) for name, one in values(model).items()})


def _resolve(source: str) -> tuple[ModuleType, Path, str]:
    """Return the module that reads a source, its local path, and the name of its format.

    A Hugging Face repository is downloaded.
    """
    path = Path(expanded("weights", source))
    if path.is_dir() and collection.checkpoint_prefix(path):
        return collection, path, "SavedModel of the collection"
    by_ending = (
        (".safetensors", timm, "timm safetensors"),
        *((ending, official, "PyTorch checkpoint") for ending in official.ENDINGS),
        (".weights.h5", keras_file, "Keras weights"),
        (".keras", keras_file, "Keras model"),
    )
    for ending, reader, kind in by_ending:
        if source.endswith(ending):
            if not path.is_file():
                raise WeightsError(f"weights: got {source}, expected an existing file")
            return reader, path, kind
    if path.exists():
        hint = "\n  For a run, give RUN/checkpoints/best.safetensors." * path.is_dir()
        raise WeightsError(
            f"weights: got {source}, expected a .safetensors, .pth, .weights.h5 or .keras file or "
            f"a SavedModel directory of the CaiT collection{hint}"
        )
    if source.count("/") == 1 and not source.startswith((".", "/", "~")):
        return timm, timm.download(source), "Hugging Face Hub, safetensors"
    if source in VARIANTS:
        raise WeightsError(
            f"weights: got {source!r}, the name of a model; expected a file, a directory or a hub "
            f"repository such as {VARIANTS[source].hub_id or 'timm/cait_s24_224.fb_dist_in1k'!r}"
        )
    raise WeightsError(
        f"weights: got {source!r}, expected an existing .safetensors, .pth, .weights.h5 or .keras "
        "file, a SavedModel directory, or a Hugging Face repository such as "
        "timm/cait_s24_224.fb_dist_in1k"
    )


def assign_weights(
    model: CaiTClassifier | CaiTBackbone,
    tensors: Tensors,
    source: str,
    kind: str,
    source_grid: tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    source_names: Sequence[str] | None = None,
) -> LoadingReport:
    """Load tensors that `read_weights` has read into a model: the second half of `load_weights`.

    Args:
        tensors: arrays in Keras layout by timm name.
        source: name of the source, for messages and the report.
        kind: name of the source's format.
        source_grid: patch grid of the source. `None`: a square grid.
        class_names: as for `load_weights`.
        source_names: names of the source's head columns, in order. `None`: not known.

    Raises:
        WeightsError: the tensors or the number of class names do not fit the model, as for
            `load_weights`.
    """
    if not model.built:
        model.build()
    variables = parameters(model)
    tensors = dict(tensors)
    if class_names is not None and _HEAD[1] in variables:
        columns = variables[_HEAD[1]].shape[0]
        if len(class_names) != columns:
            raise WeightsError(
                f"class_names: got {len(class_names)} names, expected {columns}, one for each column of "
                "the model's head"
            )
    resampled, initialised, unused, notes = [], [], [], []

    match = None
    if class_names is not None and _has_whole_head(tensors) and _HEAD[0] in variables:
        match = match_classes(source_names, class_names, len(tensors["head.bias"]))
        _match_head(tensors, variables, match, notes)
    if _has_other_head(tensors, variables):
        unused = [name for name in _HEAD if tensors.pop(name, None) is not None]
        initialised = [name for name in _HEAD if name in variables]
        if initialised:
            notes.append(f"new head for {variables['head.bias'].shape[0]} classes")
        elif unused:
            notes.append("the model has no head, the source's is left out")

    grid = _grid(model)
    embedding = tensors.get("pos_embed")
    if embedding is not None and embedding.ndim == 3 and embedding.shape[0] == 1 and embedding.size:
        side = math.isqrt(embedding.shape[1])
        theirs = source_grid or (side, side)
        fits = theirs[0] * theirs[1] == embedding.shape[1]
        if theirs != grid and fits and embedding.shape[2] == variables["pos_embed"].shape[2]:
            tensors["pos_embed"] = position.resample(embedding, theirs, grid)
            resampled.append("pos_embed")
            notes.append(f"pos_embed resampled from {theirs[0]}x{theirs[1]} to {grid[0]}x{grid[1]}")

    expected = [name for name in variables if name not in initialised]
    _check(expected, variables, tensors, source)
    for name in expected:
        variables[name].assign(tensors[name])
    lora.reset_lora(model)
    loaded = [name for name in expected if name not in resampled]
    return LoadingReport(
        source,
        kind,
        tuple(loaded),
        tuple(resampled),
        tuple(initialised),
        tuple(unused),
        tuple(notes),
        match,
    )


def _match_head(
    tensors: Tensors, variables: dict, match: ClassMatch | None, notes: list[str]
) -> None:
    """Reorder the head's columns in `tensors` to the model's classes, and add a note.

    If the source and the model share no class, remove the head from `tensors`.
    """
    if match is not None and match.repeated:
        notes.append(
            f"several columns have one name ({some(match.repeated)}): none of these columns is loaded"
        )
    if match is None or not match.kept:
        for name in _HEAD:
            tensors.pop(name)
        if match is None:
            notes.append("the source names no classes of the model's head")
        return
    if match.in_order:
        return
    found = match.columns >= 0
    for name in _HEAD:
        mixed = np.array(variables[name])  # (D, C) or (C,), as initialised
        mixed[..., found] = tensors[name][..., match.columns[found]]
        tensors[name] = mixed
    if match.complete:
        notes.append("head columns reordered by class name")
    else:
        kept, new = match.kept, match.new
        words = f"head columns of {len(kept)} classes kept by name ({some(kept)})"
        notes.append(f"{words}, {len(new)} new ({some(new)})" if new else words)


def _has_whole_head(tensors: Tensors) -> bool:
    heads = [tensors[name] for name in _HEAD if name in tensors]
    return len(heads) == 2 and heads[0].ndim == 2 and heads[0].shape[1:] == heads[1].shape


def _has_other_head(tensors: Tensors, variables: dict) -> bool:
    """Whether the source has no head, or a whole head with another number of classes.

    The result is `False` for a head that lacks its kernel or its bias. `_check` reports that error.
    """
    if not any(name in tensors for name in _HEAD):
        return True
    shapes = [tuple(variables[name].shape) for name in _HEAD if name in variables]
    return _has_whole_head(tensors) and shapes != [tensors[name].shape for name in _HEAD]


def _check(expected: list[str], variables: dict, tensors: Tensors, source: str) -> None:
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in variables]
    misshaped = [
        f"{name} {tuple(tensors[name].shape)}, the model has {tuple(variables[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != tuple(variables[name].shape)
    ]
    if not (missing or unexpected or misshaped):
        integers = [name for name in expected if tensors[name].dtype.kind in "iub"]
        if integers:
            kind = tensors[integers[0]].dtype
            raise WeightsError(
                f"weights: got {source}, with {kind} numbers in {_listed(integers)}; expected "
                "floating-point numbers: quantised weights lack the scale of each tensor"
            )
        damaged = [name for name in expected if not np.isfinite(tensors[name]).all()]
        if damaged:
            raise WeightsError(
                f"weights: got {source}, with NaN or infinity in {_listed(damaged)}; expected finite "
                "numbers, which a run that diverged does not leave"
            )
        return
    lines = [
        f"weights: got {source}, whose tensors are not the model's: {len(missing)} missing, "
        f"{len(unexpected)} unexpected, {len(misshaped)} of another shape; expected weights of the "
        "same variant (kernels are listed in Keras' layout)"
    ]
    for title, listed in (
        ("missing in the source", missing),
        ("unexpected in the source", unexpected),
        ("of another shape", misshaped),
    ):
        if listed:
            lines.append(f"  {title}: {_listed(listed)}")
    raise WeightsError("\n".join(lines))


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
