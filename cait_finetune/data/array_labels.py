"""Name the labels of a caller's images: the order of the classes, and the name of each label."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from cait_finetune.data.image_files.class_list import some
from cait_finetune.errors import bad_value

_LABEL = ("label", "labels", "fine_label", "target")


def label_key(columns: Collection[str]) -> str | None:
    """Return the column of the labels: the first usual name. `None`: no column has a usual name."""
    return next((key for key in _LABEL if key in columns), None)


def features_of(data: Any) -> Mapping[str, Any]:
    """Return the features of a data set of Hugging Face's ``datasets``. Empty: it states none."""
    features = getattr(data, "features", None)
    return features if isinstance(features, Mapping) else {}


def class_order(
    splits: Mapping[str, Any], class_names: Sequence[str] | None
) -> tuple[str, ...] | None:
    """Return the names of labels 0, 1, … of all splits. `None`: neither argument names them.

    Args:
        splits: the data of each split.
        class_names: the caller's names. `None`: those that the data sets state.

    Raises:
        UserError: two classes would have one name, a name has spaces around it, the data sets of two
            splits state different names, or `class_names` has a stated name at another label.
    """
    stated = {split: names for split, data in splits.items() if (names := _stated(data))}
    first = next(iter(stated), "")
    for split, names in stated.items():
        if names != stated[first]:
            raise bad_value(
                split, f"the class names {some(names)}", f"those of {first}: {some(stated[first])}"
            )
    if class_names is None:
        hint = "Give other names with class_names=."
        return _checked(first, stated[first], hint) if stated else None
    names = _checked("class_names", _listed(class_names))
    if stated:
        _check_renamed(names, first, stated[first])
    return names


def label_name(split: str, label: Any, names: Sequence[str] | None) -> str:
    """Return the class name of one image's label.

    Args:
        label: a text or an integer.
        names: names of labels 0, 1, …. `None`: the name is the text, or the digits of the integer.

    Raises:
        UserError: the label is something else, has no name, or has spaces around it.
    """
    if isinstance(label, str):
        if names is None:
            return _checked_text(split, f"the label {str(label)!r}", str(label))
        if str(label) not in names:
            raise bad_value(
                split, f"the label {str(label)!r}", f"one of the classes: {some(names)}"
            )
        return str(label)
    number = _array(label)
    if number.ndim or not np.issubdtype(number.dtype, np.integer):
        raise bad_value(split, f"a label {_shown(label)}", "a whole number or a text for each image",
                        _advice(split, number))  # fmt: skip
    if names is None and number >= 0:
        return str(int(number))
    if names is None:
        raise bad_value(
            split, f"label {int(number)}", "labels from 0", "Leave unlabelled images out."
        )
    if not 0 <= int(number) < len(names):
        raise bad_value(
            split,
            f"label {int(number)}",
            f"a label from 0 to {len(names) - 1}, by the class names {some(names)}",
        )
    return names[int(number)]


def label_value(split: str, label: Any) -> Any:
    """Convert a tensor to its NumPy value, and bytes to text. Return other labels unchanged.

    Raises:
        UserError: the label is bytes that are not UTF-8.
    """
    label = label.numpy() if hasattr(label, "numpy") else label
    if not isinstance(label, bytes):
        return label
    try:
        return label.decode()
    except UnicodeDecodeError:
        raise bad_value(
            split, f"the label {label!r}", "text in UTF-8", "Decode the labels: label.decode('latin-1')."
        ) from None  # fmt: skip


def _stated(data: Any) -> list[Any] | None:
    """Return the class names that the data set states for its label column."""
    features = features_of(data)
    names = getattr(features.get(label_key(features)), "names", None)
    return list(names) if names else None


def _listed(class_names: Any) -> list[Any]:
    """Return the elements of a sequence. Refuse others, such as a set, which has no order."""
    if hasattr(class_names, "tolist"):
        class_names = class_names.tolist()
    if isinstance(class_names, Sequence) and not isinstance(class_names, str | bytes):
        return list(class_names)
    raise bad_value(
        "class_names", repr(class_names), "a list of texts, in the order of the labels",
        "Give a list or a tuple.",
    )  # fmt: skip


def _checked(key: str, names: Sequence[Any], hint: str = "") -> tuple[str, ...]:
    """Return the names as `str`. Refuse duplicates and names that a run's files would change."""
    expected = "different texts, in the order of the labels"
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or name in seen:
            twice = " twice" * isinstance(name, str)
            raise bad_value(key, f"the class name {name!r}{twice}", expected, hint)
        seen.add(name)
        if "${" in name:
            raise bad_value(
                key,
                f"the class name {name!r}",
                "text without ${, which stands for another key in config.yaml",
                hint or "Name the class otherwise.",
            )
    if not names:
        raise bad_value(key, "no class name", expected, hint)
    return tuple(_checked_text(key, f"the class name {one!r}", str(one), hint) for one in names)


def _checked_text(key: str, got: str, name: str, hint: str = "") -> str:
    """Return the name. Refuse a name that a table or a weights file would change."""
    if name == name.strip() and len(name.splitlines()) == 1 and "\0" not in name:
        return name
    plain = " ".join(name.replace("\0", " ").split())
    raise bad_value(
        key, got, "text without spaces around it, and without line breaks",
        hint or (f"Write {plain!r}, and give each class one name." if plain else "Name the class."),
    )  # fmt: skip


def _check_renamed(names: Sequence[str], split: str, stated: Sequence[Any]) -> None:
    """Refuse a stated name at another label. A name that is not stated may rename any label."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(stated):
        places.setdefault(_plain(name), []).append(place)
    for place, name in enumerate(names):
        if place not in places.get(_plain(name), [place]):
            raise bad_value(
                "class_names",
                f"{name!r} for label {place}, which is {stated[place]!r} in {split}"
                if place < len(stated)
                else f"{name!r} for label {place}",
                f"{name!r} for label {places[_plain(name)][0]}: {split} names its labels "
                f"{some(list(map(str, stated)))}",
                "Leave class_names= out.",
            )


def _plain(name: Any) -> str:
    return str(name).strip().casefold()


def _array(label: Any) -> np.ndarray:
    try:
        return np.asarray(label)
    except ValueError:  # lists of different lengths
        return np.empty(2, object)


def _shown(label: Any) -> str:
    text = " ".join(repr(label).split())
    return text if len(text) < 100 else f"{text[:100]}…"


def _advice(split: str, label: np.ndarray) -> str:
    """Return a line that says how to convert labels such as `label`."""
    if label.size == 1 and label.ndim:
        return "Give one dimension: labels.ravel()."
    if label.ndim:
        one_hot = " Give labels.argmax(-1) for one-hot vectors." * (label.dtype.kind in "biuf")
        return f"{split}= takes one label for each image.{one_hot}"
    if label.dtype == bool:
        return "Convert the labels: labels.astype(int)."
    if np.issubdtype(label.dtype, np.floating):
        if np.isnan(label):
            return "Leave unlabelled images out."
        if label == np.floor(label):
            return "Convert the labels: labels.astype(int)."
    return (
        "Leave unlabelled images out." if label.item() is None else "Give class numbers or names."
    )
