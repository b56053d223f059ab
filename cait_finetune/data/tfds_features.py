"""Which features of a TFDS set are the image and its labels, and what the classes are called."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig
from cait_finetune.errors import bad_value

_LABEL_KEYS = ("label", "labels")


def find_keys(builder: tfds.core.DatasetBuilder, config: DatasetConfig) -> tuple[str, str]:
    """The names of the image and the label feature: the configured ones, or those that are usual."""
    features = builder.info.features
    columns = config.columns
    keys = builder.info.supervised_keys
    candidates = [keys] if isinstance(keys, tuple) and len(keys) == 2 else []
    candidates += [("image", label) for label in _LABEL_KEYS]
    candidates = [(columns.image or image, columns.label or label) for image, label in candidates]
    for image_key, label_key in candidates:
        if (
            image_key in features
            and label_key in features
            and isinstance(features[image_key], tfds.features.Image)
            and _is_label(features[label_key], config.multi_label)
        ):
            return image_key, label_key
    kind = "labels of any number of classes" if config.multi_label else "one class label"
    hint = "name them with dataset.columns.image=… and dataset.columns.label=…"
    names = sorted(features)  # TFDS reads them back in any order
    other = [name for name in names if _is_label(features[name], not config.multi_label)]
    if other and not columns.label:
        value = str(not config.multi_label).lower()
        hint = f"{other[0]} would do with dataset.multi_label={value}, or {hint}"
    raise bad_value(
        "dataset.name",
        builder.name,
        f"a set with one image and {kind} in each example; it has {', '.join(names)}",
        hint,
    )


def _is_label(feature: tfds.features.FeatureConnector, multi_label: bool) -> bool:
    if not multi_label:
        return feature.shape == () and tf.as_dtype(feature.dtype).is_integer
    if isinstance(feature, tfds.features.FeaturesDict):
        return all(one.shape == () and tf.as_dtype(one.dtype).is_bool for one in feature.values())
    return isinstance(feature, tfds.features.Sequence) and isinstance(
        feature.feature, tfds.features.ClassLabel
    )


def find_class_names(
    builder: tfds.core.DatasetBuilder, label_key: str, config: DatasetConfig
) -> tuple[str, ...]:
    feature = builder.info.features[label_key]
    if isinstance(feature, tfds.features.FeaturesDict):
        return tuple(sorted(feature))  # TFDS reads them back in any order
    feature = getattr(feature, "feature", feature)
    names = list(feature.names) if isinstance(feature, tfds.features.ClassLabel) else []
    count = config.num_classes or len(names)
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
    return tuple(names + [f"class_{label}" for label in range(len(names), count)])
