"""Find a source of weights, read it, and load every tensor into a model by name."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from cait_tf import lora
from cait_tf.errors import WeightsError
from cait_tf.places import expanded
from cait_tf.variants import VARIANTS
from cait_tf.weights import collection, keras_file, names, official, timm
from cait_tf.weights.assign import (
    Tensors,
    assign_weights,
    column_names,
    columns_of,
    grid_of,
    parameters,
)
from cait_tf.weights.cautions import cautions
from cait_tf.weights.checksum import checksum
from cait_tf.weights.class_names import repeated_names, some
from cait_tf.weights.report import LoadingReport
from cait_tf.weights.stated import (
    PREPARATION,
    format_preparation,
    other_preparation,
    preparation_of,
    state_preparation,
    stated_facts,
)

if TYPE_CHECKING:
    from cait_tf.backbone import CaiTBackbone
    from cait_tf.classifier import CaiTClassifier


logger = logging.getLogger(__name__)


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


def read_into(
    model: CaiTClassifier | CaiTBackbone,
    source: str | Path,
    class_names: Sequence[str] | None = None,
    source_names: Sequence[str] | None = None,
    weights_key: str | None = None,
) -> LoadingReport:
    """Load `source` into a `CaiTClassifier` or `CaiTBackbone`, and match every tensor by name.

    If the model's columns have names, the function also matches the head's columns by class name. It
    loads the columns of classes that the source names, in any order. The other columns keep their
    values. A model without names takes the source's head and its names unchanged, if both heads
    have the same number of columns. `load_weights` also logs the warnings of `create_model`.

    Args:
        model: the model. The function builds it if necessary.
        source: a ``.safetensors`` file (timm's, or written by `save_weights`), a PyTorch checkpoint
            (``.pth``, ``.pth.tar``, ``.pt``, ``.bin``, ``.ckpt``), a SavedModel directory of the
            original collection, a ``.weights.h5`` or ``.keras`` file, or a Hugging Face repository
            such as ``timm/cait_s24_224.fb_dist_in1k``.
        class_names: names of the model's ``C`` head columns, in order. They become
            ``model.class_names``. `None`: ``model.class_names``, which `create_model` sets.
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
            finite, or `class_names` has another number of names than the head has columns. The
            message lists the tensors, and the model stays unchanged.
        ImportError: the source needs an extra that is not installed.
    """
    read = read_weights(source, weights_key)
    _check_source_names(source_names, read, source)
    theirs = source_names or read.class_names
    if class_names is None:
        class_names = getattr(model, "class_names", None)
    report = assign_weights(
        model, read.tensors, str(source), read.kind, read.grid, class_names, theirs
    )
    notes = [*read.notes, *report.notes]
    if class_names is None and theirs and column_names(report.loaded):
        class_names = theirs
        notes.append(f"the head's columns are {some(theirs)}")
    if class_names is not None and hasattr(model, "class_names"):
        model.class_names = tuple(class_names)
    return dataclasses.replace(report, notes=tuple(notes), sha256=checksum(read.tensors))


@functools.wraps(read_into, assigned=("__doc__",))
def load_weights(
    model: CaiTClassifier | CaiTBackbone, source: str | Path, *arguments: Any, **keywords: Any
) -> LoadingReport:
    for attribute, name in (("classifier", "Classifier"), ("regressor", "Regressor")):
        if hasattr(model, attribute):
            raise WeightsError(
                f"model: got an Image{name}, expected a CaiT{name} or CaiTBackbone\n"
                f"  Give model.{attribute}, if the new weights expect the same preparation of images."
            )
    before = preparation_of(model, of_these_weights=False)
    report = read_into(model, source, *arguments, **keywords)
    after = stated_facts(source).get(PREPARATION)
    state_preparation(model, after)
    if before and (other := other_preparation(after, before)):
        logger.warning("%s was trained on images prepared with %s, unlike the images "
                       "of the model's earlier weights", source, format_preparation(other))  # fmt: skip
    for caution in cautions(report):
        logger.warning("%s", caution)
    new, old = column_names(report.initialised), column_names(report.unused)
    if new and old and not report.warning:
        logger.warning(
            "%s has another head or another number of classes: the model's head keeps its values",
            source,
        )
    return report


def _check_source_names(names: Sequence[str] | None, read: Weights, source: str | Path) -> None:
    """Check the source names that the user gave.

    Raises:
        WeightsError: a name occurs twice, the number of names is not that of the head's columns, or
            the source itself states other names.
    """
    if names is None:
        return
    columns = columns_of(read.tensors)
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

    The file states the model's class names, if the model has them. If the weights have not changed
    since they were loaded, the file also states the preprocessing of their images, if it is known.

    Args:
        path: a name that ends in ``.safetensors``.
        metadata: further metadata of the file. Class names in it replace the model's.

    Raises:
        WeightsError: `path` has another ending.
    """
    if Path(path).suffix != ".safetensors":
        raise WeightsError(
            f"path: got {path}, expected a name that ends in .safetensors\n  For .weights.h5 write "
            "model.save_weights(path), for .keras model.save(path); cait_tf.convert.convert writes "
            "other formats."
        )
    if not model.built:
        model.build()
    grid = grid_of(model)
    classes = getattr(model, "class_names", None)
    stated = {timm.CLASSES: "\n".join(classes)} if classes else {}
    if preparation := preparation_of(model):
        stated[PREPARATION] = preparation
    metadata = {timm.GRID: f"{grid[0]}x{grid[1]}", **stated, **(metadata or {})}
    timm.write(path, values(model), metadata)


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
