"""Find the image feature, the label feature and the class names of a TFDS set."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig
from cait_finetune.data.bands import RGB
from cait_finetune.data.image_files.class_list import some
from cait_finetune.data.targets import KINDS
from cait_finetune.data.targets.numbers import Numbers
from cait_finetune.data.targets.one_class import ONE_CLASS
from cait_finetune.data.targets.target import Target
from cait_finetune.errors import UserError, bad_value, suggest
from cait_tf.label_groups import column_name

_LABEL_KEYS = ("label", "labels")
_ARRAYS = ("uint8", "uint16", "float16", "float32", "float64")  # types of an image's numbers
_CHANNELS = (None, 1, 2, 3, 4)  # unknown; grey and RGB, without and with alpha


def find_keys(
    builder: tfds.core.DatasetBuilder,
    config: DatasetConfig,
    target: Target,
    channels: int = RGB,
) -> tuple[str, str | tuple[str, ...]]:
    """Return the names of the image and the label feature: the configured or the usual names.

    With `dataset.columns.labels` the second item lists the label features.

    Args:
        channels: channels of an image. If it is not 3, an array of numbers is an image, too.

    Raises:
        UserError: no pair of features fits, or the image feature has a type of numbers or a number of
            channels that cannot be read.
    """
    features = builder.info.features
    columns = config.columns
    if columns.labels:
        return _find_several(builder, config, target, channels)
    keys = builder.info.supervised_keys
    candidates = [keys] if isinstance(keys, tuple) and len(keys) == 2 else []
    candidates += [("image", label) for label in _LABEL_KEYS]
    candidates = [(columns.image or image, columns.label or label) for image, label in candidates]
    candidates = [
        (image, label)
        for image, label in candidates
        if image in features and label in features and target.is_label(features[label])
    ]
    for image_key, label_key in candidates:
        if _is_picture(features[image_key], channels):
            _check_picture(image_key, features[image_key], channels)
            return image_key, label_key
    for image_key, _ in candidates:
        if is_array(features[image_key]):
            raise _numbers(image_key, features[image_key])
    hint = "name them with dataset.columns.image=… and dataset.columns.label=…"
    names = sorted(features)  # TFDS loads features in any order
    fit = [(name, kind.task) for kind in KINDS for name in names if kind.is_label(features[name])]
    other = [(name, task) for name, task in fit if task != target.task]
    if other and not columns.label:
        name, task = other[0]
        hint = f"{name} fits with task={task}, or {hint}"
    raise bad_value(
        "dataset.name",
        builder.name,
        f"a set with one image and {target.words} in each example; it has {', '.join(names)}",
        hint,
    )


def is_array(feature: tfds.features.FeatureConnector) -> bool:
    """Return whether a feature holds the bands of an image as numbers, not as an encoded file."""
    if not isinstance(feature, tfds.features.Tensor) or len(feature.shape) not in (2, 3):
        return False
    return tf.as_dtype(feature.np_dtype).name in _ARRAYS


def _is_picture(feature: tfds.features.FeatureConnector, channels: int) -> bool:
    return isinstance(feature, tfds.features.Image) or (channels != RGB and is_array(feature))


def _numbers(key: str, feature: tfds.features.FeatureConnector) -> UserError:
    """Return the error for an array of numbers with ``model.in_channels=3``."""
    own = _channels(feature)
    hint = "Prepare the set with tfds.features.Image: numbers are read with other channels."
    return bad_value(
        "dataset.columns.image",
        f"{key!r}, a tensor of numbers",
        "pictures with model.in_channels=3",
        hint if own == RGB else f"Set model.in_channels={own or 'N, the number of its channels'}.",
    )


def _channels(feature: tfds.features.FeatureConnector) -> int | None:
    """Return the number of channels of a picture or an array. `None`: the set does not state it."""
    return feature.shape[2] if len(feature.shape) == 3 else 1


def _find_several(
    builder: tfds.core.DatasetBuilder, config: DatasetConfig, target: Target, channels: int
) -> tuple[str, tuple[str, ...]]:
    """Return the names of the image feature and of the features in `dataset.columns.labels`."""
    features, labels = builder.info.features, tuple(config.columns.labels or ())
    names = sorted(features)
    for label in labels:
        if label not in features or not target.is_label(features[label]):
            fit = [name for name in names if target.is_label(features[name])]
            raise bad_value(
                "dataset.columns.labels",
                label,
                f"features of {builder.name} with one class: {', '.join(fit) or 'it has none'}",
                suggest(label, fit),
            )
    pictures = [name for name in names if _is_picture(features[name], channels)]
    arrays = [name for name in names if is_array(features[name])]
    usual = "image" if "image" in pictures else next(iter(pictures or arrays), None)
    image = config.columns.image or usual
    if channels == RGB and image in features and is_array(features[image]):
        raise _numbers(image, features[image])
    if image not in pictures:
        raise bad_value(
            "dataset.columns.image",
            image or "nothing",
            f"a feature of {builder.name} with an image: {', '.join(pictures) or 'it has none'}",
        )
    _check_picture(image, features[image], channels)
    return image, labels


def _check_picture(key: str, feature: tfds.features.FeatureConnector, channels: int) -> None:
    """Refuse pixels that the decoder would change without an error."""
    kind, own = tf.as_dtype(feature.np_dtype).name, _channels(feature)
    if channels != RGB:
        if own not in (None, channels):
            raise bad_value(
                "model.in_channels",
                f"{channels} with {key!r} of {own} channel{'s' * (own != 1)}",
                str(own),
                f"Set model.in_channels={own}.",
            )
        if isinstance(feature, tfds.features.Image) and kind not in ("uint8", "uint16"):
            raise bad_value(
                "dataset.columns.image",
                f"{key!r}, a picture of {kind}",
                "a picture of uint8 or uint16, or a tensor of numbers",
                "Prepare the set with tfds.features.Tensor",
            )
        return
    if kind != "uint8":
        raise bad_value(
            "dataset.columns.image",
            f"{key!r}, whose pixels are {kind}",
            "pictures of 8 bits (uint8) with model.in_channels=3",
            f"Set model.in_channels={own}."
            if own not in (None, RGB) and kind == "uint16"
            else "Prepare the set with pixels scaled to 0 to 255",
        )
    if own not in _CHANNELS:
        raise bad_value(
            "dataset.columns.image",
            f"{key!r} with {own} channels",
            "pictures with 1 to 4 channels with model.in_channels=3",
            f"Prepare the set with tfds.features.Tensor, and set model.in_channels={own}.",
        )


def find_class_names(
    builder: tfds.core.DatasetBuilder,
    label_key: str | tuple[str, ...],
    config: DatasetConfig,
    target: Target = ONE_CLASS,
) -> tuple[str, ...]:
    """Return the classes in the order of the set's labels, or the names of the targets of numbers.

    The names in a prepared set's folder take precedence over the names in the builder's code,
    because the folder's labels were written with the folder's names.

    `dataset.class_names` can name labels that are only numbers. If the set has names,
    `dataset.class_names` must be the same names in any order. The caller then reorders the classes.

    Raises:
        UserError: the number of classes is unknown, or above `dataset.num_classes`. The prepared
            folder names another number of classes than the code. `dataset.class_names` are other
            classes.
    """
    if not isinstance(label_key, str):
        # `num_classes` counts the classes of a single label.
        config = dataclasses.replace(config, num_classes=None)
        return tuple(
            column_name(key, name)
            for key in label_key
            for name in find_class_names(builder, key, config)
        )
    feature = builder.info.features[label_key]
    typed = config.class_names
    if isinstance(target, Numbers):
        return tuple(target.feature_names(label_key, feature))
    if isinstance(feature, tfds.features.FeaturesDict):
        names = sorted(feature)  # TFDS loads features in any order
        return _reconciled(builder, names, typed)
    feature = getattr(feature, "feature", feature)
    names = _prepared_names(builder, label_key) or _names_in_code(feature)
    count = config.num_classes or len(names) or len(typed or ())
    if not count:
        raise bad_value(
            "dataset.num_classes",
            "nothing",
            f"the number of classes, which {builder.name} does not state",
        )
    if count < len(names):
        raise bad_value(
            "dataset.num_classes",
            count,
            f"at least {len(names)}, the number of labels of {builder.name}",
        )
    names += [f"class_{label}" for label in range(len(names), count)]
    return _reconciled(builder, names, typed)


def names_notes(
    builder: tfds.core.DatasetBuilder, label_key: str | tuple[str, ...]
) -> tuple[str, ...]:
    """Return a line on the origin of the class names if folder and code disagree, else nothing."""
    if not isinstance(label_key, str):
        return tuple(line for key in label_key for line in names_notes(builder, key))
    feature = builder.info.features[label_key]
    prepared = _prepared_names(builder, label_key)
    if not prepared or prepared == _names_in_code(getattr(feature, "feature", feature)):
        return ()
    path = _names_file(builder, label_key)
    return (f"data   class names of {path}, which differ from those in the code of {builder.name}",)


def _names_in_code(feature: tfds.features.FeatureConnector) -> list[str]:
    """Return the names of a `ClassLabel`, or its numbers if it has no names.

    Return an empty list for another feature, or if the number of classes is unknown.
    """
    known = isinstance(feature, tfds.features.ClassLabel) and feature.num_classes
    return list(feature.names) if known else []


def _names_file(builder: tfds.core.DatasetBuilder, label_key: str) -> tfds.core.Path:
    """Return the file, beside the examples, in which TFDS keeps the names of a feature's labels."""
    return tfds.features.ClassLabel.get_names_filepath(
        builder.data_path, label_key.replace("/", ".")
    )


def _prepared_names(builder: tfds.core.DatasetBuilder, label_key: str) -> list[str]:
    """Return the prepared folder's names of its label numbers, or an empty list if it has none.

    TFDS compares the folder's names with the code's names in a thread, and drops the thread's error
    (`FeaturesDict.load_metadata`). The builder then keeps the names of its code.

    Raises:
        UserError: the file cannot be read, or names another number of classes than the code.
    """
    feature = builder.info.features[label_key]
    feature = getattr(feature, "feature", feature)
    if not isinstance(feature, tfds.features.ClassLabel) or not builder.is_prepared():
        return []
    path = _names_file(builder, label_key)
    try:
        if not path.exists():
            return []
        names = list(tfds.features.ClassLabel(names_file=path).names)
        why = f"{len(names)} names" if len(names) != (feature.num_classes or len(names)) else ""
    except (OSError, ValueError) as error:  # unreadable, not UTF-8, or a duplicate name
        why = str(error)
    if why:
        raise bad_value(
            "dataset.name",
            f"{builder.name} with {path} ({why})",
            f"the names of its {feature.num_classes} classes, one on each line",
            "Restore the file, or prepare the set again in another dataset.data_dir",
        )
    return names


def _reconciled(
    builder: tfds.core.DatasetBuilder, names: list[str], typed: list[str] | None
) -> tuple[str, ...]:
    """Return the set's names, with the names in `dataset.class_names` for labels without a name.

    Raises:
        UserError: `typed` names other classes; or it mixes new names with numbers of other labels.
    """
    if not typed or sorted(typed) == sorted(names):
        return tuple(names)
    number = {form: label for label in range(len(names)) for form in (str(label), f"class_{label}")}
    displaced = [name for label, name in enumerate(typed) if number.get(name, label) != label]
    if displaced and len(typed) == len(names) and set(names) <= number.keys():
        raise bad_value(
            "dataset.class_names",
            f"{some(displaced)} at the place of another number, beside names that are no number",
            f"the numbers of {builder.name}'s classes in any order, or a name for each in their order",
        )
    nameless = [{str(label), f"class_{label}"} for label in range(len(names))]
    if len(typed) == len(names) and all(
        new == own or own in numbers
        for new, own, numbers in zip(typed, names, nameless, strict=True)
    ):
        return tuple(typed)
    strangers = [name for name in typed if name not in names]
    lacking = [name for name in names if name not in typed]
    got = f"{len(typed)} names"
    got += f", among them {some(strangers)}" if strangers else ""
    raise bad_value(
        "dataset.class_names",
        f"{got}{f', without {some(lacking)}' if lacking else ''}",
        f"the {len(names)} classes of {builder.name} in any order: {some(names)}",
        suggest(strangers[0], lacking) if strangers else "",
    )
