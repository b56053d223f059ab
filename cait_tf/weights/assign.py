"""Assign tensors to the parameters of a model, by timm name, and report every name."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from cait_tf import lora, position
from cait_tf.errors import WeightsError
from cait_tf.weights import names
from cait_tf.weights.channels import PATCH_KERNEL, adapt_channels
from cait_tf.weights.class_names import ClassMatch, match_classes, some
from cait_tf.weights.report import LoadingReport

if TYPE_CHECKING:
    from cait_tf.backbone import CaiTBackbone
    from cait_tf.classifier import CaiTClassifier

#: Layers of a head that have a column for each class, by timm name. A head has one of them.
_COLUMN_LAYERS = ("head.fc2", "head.fc", "head")
#: Layers of a head that have a row for each feature.
_ROW_LAYERS = ("head.fc1", "head.fc", "head")
#: Prefixes of the names that a feature extractor lacks.
_OF_HEAD = ("head.", "target_scale.")
#: The norm of the mean of the patch tokens, by timm name.
POOLED_NORM = "fc_norm"
#: The statistics of a regressor's targets, by timm name. A classifier has none.
TARGET_SCALE = ("target_scale.mean", "target_scale.std")
_LISTED = 12

#: Arrays in Keras layout by timm name.
Tensors = dict[str, np.ndarray]


def parameters(model: keras.Model) -> dict[str, Any]:
    """Return the model's variables by timm name, in order of creation, without LoRA's variables."""
    return {
        names.timm_name(variable.path): variable
        for variable in model.weights
        if not lora.is_lora(variable.path)
    }


def head_names(names: Iterable[str]) -> set[str]:
    """Return the timm names that belong to the head.

    The names include `POOLED_NORM`, and the statistics of a regressor's targets.
    """
    return {name for name in names if name.startswith((*_OF_HEAD, f"{POOLED_NORM}."))}


def is_regressor(names: Collection[str]) -> bool:
    """Whether these timm names are of a model that returns numbers in the targets' units."""
    return any(name in names for name in TARGET_SCALE)


def kind_of_head(names: Collection[str]) -> str:
    """Return the kind of head, a key of `cait_tf.heads.OPTIONS`, that has parameters of these names."""
    kinds = {
        "head.patch_norm.weight": "linear_segmentation",
        "head.fc2.weight": "mlp",
        "head.fc.weight": "batchnorm_linear",
        "head.scale.weight": "cosine",
    }
    return next((kind for name, kind in kinds.items() if name in names), "linear")


def _head_in_words(tensors: Tensors) -> str:
    hidden = tensors.get("head.fc1.weight")
    width = "" if hidden is None else f" head.hidden={hidden.shape[-1]}"
    pooling = pooling_of(tensors)
    pooled = "" if pooling == "token" else f" head.pooling={pooling}"
    return f"head={kind_of_head(tensors)}{width}{pooled}"


def pooling_of(tensors: Mapping[str, np.ndarray]) -> str:
    """Infer the backbone's `pooling` from `POOLED_NORM` and the number of the head's rows."""
    if f"{POOLED_NORM}.weight" in tensors:
        return "token_and_mean"
    first = next((one for one in _ROW_LAYERS if f"{one}.weight" in tensors), None)
    if first is None or "norm.weight" not in tensors:
        return "token"
    return "token" if len(tensors[f"{first}.weight"]) == len(tensors["norm.weight"]) else "tokens"


def column_names(names: Collection[str]) -> tuple[str, ...]:
    """Return the names of the tensors with a column for each class or target, if they exist.

    They are the head's kernel, its bias, and a regressor's statistics.
    """
    layer = next((one for one in _COLUMN_LAYERS if f"{one}.weight" in names), _COLUMN_LAYERS[-1])
    return tuple(
        name for name in (f"{layer}.weight", f"{layer}.bias", *TARGET_SCALE) if name in names
    )


def columns_of(tensors: Mapping[str, Any]) -> int:
    """Return the number of the head's columns. 0: the tensors have no whole head."""
    kernel, *bias = column_names(tensors) or ("",)
    cosine = "head.scale.weight" in tensors
    if kernel not in tensors or tensors[kernel].ndim != 2 or not (bias or cosine):
        return 0
    columns = tensors[kernel].shape[1]
    return columns if all(tensors[name].shape == (columns,) for name in bias) else 0


def grid_of(model: Any) -> tuple[int, int]:
    return getattr(model, "backbone", model).grid_size


def assign_weights(
    model: CaiTClassifier | CaiTBackbone,
    tensors: Tensors,
    source: str,
    kind: str,
    source_grid: tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    source_names: Sequence[str] | None = None,
) -> LoadingReport:
    """Load the tensors of `load.read_weights` into a model: the second half of `load_weights`.

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
    ours, theirs = column_names(variables), columns_of(tensors)
    if class_names is not None and ours:
        columns = variables[ours[0]].shape[1]
        if len(class_names) != columns:
            raise WeightsError(
                f"class_names: got {len(class_names)} names, expected {columns}, one for each column of "
                "the model's head"
            )
    resampled, initialised, unused, notes = [], [], [], []

    match, warning = None, ""
    alike = _differ_in_columns_at_most(tensors, variables)
    if class_names is not None and theirs and ours and alike:
        match = match_classes(source_names, class_names, theirs)
        warning = _kept_columns(match, class_names, theirs)
        _match_head(tensors, variables, match, notes)
    if _has_other_head(tensors, variables):
        found = _head_in_words(tensors)
        kept = _norm_without_head(tensors, variables)
        unused = sorted(head_names(tensors) - kept, reverse=True)  # each weight before its bias
        for name in unused:
            del tensors[name]
        initialised = [name for name in variables if name in head_names(variables) - kept]
        if ours:
            if is_regressor(unused) != is_regressor(variables):
                found += f" of a {'regressor' if is_regressor(unused) else 'classifier'}"
            unlike = "" if alike or not unused else f"; the source has {found}"
            columns = "targets" if is_regressor(variables) else "classes"
            notes.append(f"new head for {variables[ours[0]].shape[1]} {columns}{unlike}")
        elif initialised:
            notes.append(f"new {POOLED_NORM}")
    if not ours and (left := sorted(one for one in tensors if one.startswith(_OF_HEAD))):
        unused = [*unused, *(name for name in left if tensors.pop(name) is not None)]
    if not ours and unused:
        notes.append("the source's head is left out, because the model has no head")

    grid = grid_of(model)
    embedding = tensors.get("pos_embed")
    if embedding is not None and embedding.ndim == 3 and embedding.shape[0] == 1 and embedding.size:
        side = math.isqrt(embedding.shape[1])
        theirs = source_grid or (side, side)
        fits = theirs[0] * theirs[1] == embedding.shape[1]
        if theirs != grid and fits and embedding.shape[2] == variables["pos_embed"].shape[2]:
            tensors["pos_embed"] = position.resample(embedding, theirs, grid)
            resampled.append("pos_embed")
            notes.append(f"pos_embed resampled from {theirs[0]}x{theirs[1]} to {grid[0]}x{grid[1]}")

    own = variables[PATCH_KERNEL].shape[2]
    if adapt_channels(tensors, own, source):
        notes.append(f"patch_embed adapted from 3 channels to {own}")

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
        warning=warning and f"{source} {warning}",
    )


def _kept_columns(match: ClassMatch | None, ours: Sequence[str], columns: int) -> str:
    """Return a report's ``warning``. `columns` counts the columns of the source's head."""
    equal = columns == len(ours)
    if match is None:
        why = (
            "names no classes, so the head keeps its values: name the columns with source_names=[…]"
        )
        return why if equal else ""
    missed = [name for name, column in zip(ours, match.columns, strict=True) if column < 0]
    if not missed or not (match.kept or equal):
        return ""
    return f"has no unique column for {some(missed)}: these columns of the model keep their values"


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
    columns = column_names(tensors)
    if match is None or not match.kept:
        for name in head_names(tensors):
            tensors.pop(name)
        if match is None:
            notes.append("the source names no classes of the model's head")
        return
    if match.in_order:
        return
    found = match.columns >= 0
    for name in columns:
        mixed = np.array(variables[name])  # (D, C) or (C,), as initialised
        mixed[..., found] = tensors[name][..., match.columns[found]]
        tensors[name] = mixed
    if match.complete:
        notes.append("head columns reordered by class name")
    else:
        kept, new = match.kept, match.new
        words = f"head columns of {len(kept)} classes kept by name ({some(kept)})"
        notes.append(f"{words}, {len(new)} new ({some(new)})" if new else words)


def _is_of_other_kind(tensors: Tensors, variables: Mapping[str, Any]) -> bool:
    """Whether the source's head has parameters of another kind of head, or of another task.

    The result is `False` for a head that lacks a parameter. `_check` reports that error.
    """
    theirs, ours = head_names(tensors), head_names(variables)
    pooled = {f"{POOLED_NORM}.weight" in one for one in (theirs, ours)}
    heads = [one for one in (theirs, ours) if any(name.startswith("head.") for name in one)]
    tasks = {is_regressor(one) for one in heads}
    return len(pooled) > 1 or len(tasks) > 1 or not (theirs <= ours or ours <= theirs)


def _differ_in_columns_at_most(tensors: Tensors, variables: Mapping[str, Any]) -> bool:
    """Whether two heads have the same parameters, with another number of columns at most."""
    theirs, ours = head_names(tensors), head_names(variables)
    columns = column_names(ours)
    return theirs == ours and all(
        tensors[name].shape[: -1 if name in columns else None]
        == tuple(variables[name].shape)[: -1 if name in columns else None]
        for name in ours
    )


def _has_other_head(tensors: Tensors, variables: Mapping[str, Any]) -> bool:
    """Whether the source has no head, a head of another kind, or a whole head of other shapes."""
    theirs = head_names(tensors)
    if not theirs or _is_of_other_kind(tensors, variables):
        return True
    if head_names(variables) and theirs != head_names(variables):
        return bool(_norm_without_head(tensors, variables))  # else the head lacks a parameter
    shapes = {name: tuple(variables[name].shape) for name in head_names(variables)}
    return bool(columns_of(tensors)) and shapes != {name: tensors[name].shape for name in theirs}


def _norm_without_head(tensors: Tensors, variables: Mapping[str, Any]) -> set[str]:
    """Return the names of `POOLED_NORM`, if source and model have that norm and the source has no head."""
    theirs = head_names(tensors)
    headless = not any(name.startswith(_OF_HEAD) for name in theirs)
    return theirs if headless and theirs <= head_names(variables) else set()


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
                "numbers; the training run may have diverged"
            )
        std = tensors.get(TARGET_SCALE[1])
        if std is not None and not (std > 0).all():
            raise WeightsError(
                f"weights: got {source}, with {std.min():g} in {TARGET_SCALE[1]}; expected numbers above 0"
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
