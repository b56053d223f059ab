"""The gate: an export that does not do what evaluation did is not an export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.errors import UserError
from cait_finetune.export.exported_model import ValidationSamples
from cait_tf.atomic import atomic_path
from cait_tf.fused.tensorflow import infer

#: Of every output of a SavedModel, which computes as evaluation does; of logits beyond 1, in parts of
#: the largest: a head with large weights magnifies the features' rounding.
TOLERANCE = 1e-4
#: Of a probability of a file that takes pixels. A few of their grey levels are rounded the other way,
#: and LiteRT's matrix products are its own.
PIXEL_TOLERANCE = 1e-3

#: Images (B, h, w, 3) uint8 of one size to probabilities (B, C).
Classify = Callable[[np.ndarray], np.ndarray]
#: The same images to all outputs of a file, by name.
Answer = Callable[[np.ndarray], Mapping[str, np.ndarray]]

_BATCH = 16


def check_parity(
    directory: Path,
    model: keras.Model,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    decode: Callable[[tf.Tensor], tf.Tensor],
    class_names: Sequence[str],
    samples: Sequence[tuple[str, bytes]],
    multi_label: bool = False,
    temperature: float = 1.0,
) -> float:
    """Compare a SavedModel's ``serving_default`` and ``images`` with evaluation on real image files.

    Returns:
        The largest difference of a probability.

    Raises:
        UserError: another top-1 on any image, other class names, or an output further off than
            `TOLERANCE`.
    """
    signatures = tf.saved_model.load(str(directory)).signatures
    images = tf.stack([preprocess(decode(data)) for _, data in samples])  # (B, S, S, 3)
    # In a graph, as evaluation does: TensorFlow fuses there, and rounds otherwise than op by op.
    features, logits = _evaluated(model)(images)  # (B, D), (B, C)
    expected = (tf.sigmoid if multi_label else tf.nn.softmax)(
        logits / temperature
    ).numpy()  # (B, C)

    files = tf.constant([data for _, data in samples])
    served = {
        name: one.numpy() for name, one in signatures["serving_default"](image_bytes=files).items()
    }
    raw = signatures["images"](images=images)
    classes = find_columns("a SavedModel", served, class_names)
    differences = {
        "probabilities": np.abs(served["probabilities"] - expected).max(),
        "probability": np.abs(served["probability"] - expected.max(-1)).max(),
        "logits": np.abs(raw["logits"].numpy() - logits.numpy()).max()
        / max(1.0, np.abs(logits.numpy()).max()),
        "features": np.abs(raw["features"].numpy() - features.numpy()).max(),
    }
    require_parity("a SavedModel", samples, expected, classes, differences, TOLERANCE)
    return float(differences["probabilities"])


def _evaluated(model: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    @tf.function(autograph=False)
    def evaluated(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = infer(model.backbone, images)
        return features, model.head(features)

    return evaluated


def check_pixels(
    what: str, classify: Classify, validation: ValidationSamples, tolerance: float = PIXEL_TOLERANCE
) -> float:
    """Compare what takes pixels with evaluation.

    Returns:
        The largest difference of a probability.

    Raises:
        UserError: another top-1 on any image, or a probability further off than `tolerance`.
    """
    got = classify_all(classify, validation.pixels)
    expected = validation.exported.probabilities(validation.logits)
    differences = {"probabilities": np.abs(got - expected).max()}
    require_parity(what, validation.files, expected, got.argmax(-1), differences, tolerance)
    return float(differences["probabilities"])


def check_answer(what: str, answer: Answer, validation: ValidationSamples) -> None:
    """Compare the other outputs of what takes pixels with evaluation, on the first image.

    Raises:
        UserError: another top-1, other class names, or a probability further off than
            `PIXEL_TOLERANCE`.
    """
    outputs = answer(validation.pixels[0][None])
    expected = validation.exported.probabilities(validation.logits[:1])
    if "predicted_index" in outputs:  # a format without texts
        classes = outputs["predicted_index"]
    else:
        classes = find_columns(what, outputs, validation.exported.class_names)
    differences = {"probability": np.abs(outputs["probability"] - expected.max(-1)).max()}
    require_parity(what, validation.files[:1], expected, classes, differences, PIXEL_TOLERANCE)


def find_columns(
    what: str, outputs: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> np.ndarray:
    """The column ``(B,)`` of each image's ``predicted_class``.

    Raises:
        UserError: ``class_names`` of the outputs are others, or lack a ``predicted_class``.
    """
    names, stated = list(class_names), _texts(outputs["class_names"])
    columns = []
    for name, row in zip(_texts(outputs["predicted_class"]), outputs["probabilities"], strict=True):
        # Two classes may have one name, as ImageNet's cranes.
        places = [column for column, one in enumerate(names) if one == name]
        if stated != names or not places:
            raise UserError(
                f"export: got {what} that says {name} and names its columns "
                f"{', '.join(stated[:5])}, expected the classes {', '.join(names[:5])}. The export is "
                "removed, the checkpoints are kept"
            )
        columns.append(max(places, key=row.__getitem__))
    return np.array(columns)


def _texts(array: np.ndarray) -> list[str]:
    return [one.decode() if isinstance(one, bytes) else str(one) for one in np.ravel(array)]


def classify_all(classify: Classify, images: Sequence[np.ndarray]) -> np.ndarray:
    """Probabilities ``(n, C)`` of n images of any sizes, those of one size a batch at a time."""
    of_shape: dict[tuple, list[int]] = {}
    for index, image in enumerate(images):
        of_shape.setdefault(image.shape, []).append(index)
    rows: dict[int, np.ndarray] = {}
    for indices in of_shape.values():
        for start in range(0, len(indices), _BATCH):
            part = indices[start : start + _BATCH]
            batch = np.stack([images[index] for index in part])
            rows.update(zip(part, classify(batch), strict=True))
    return np.stack([rows[index] for index in range(len(images))])


def require_parity(
    what: str,
    samples: Sequence[tuple[str, bytes]],
    expected: np.ndarray,
    classes: np.ndarray,
    differences: Mapping[str, float],
    tolerance: float,
) -> None:
    """Let an export pass or not.

    A class is another than evaluation's if that likes its own better by more than the tolerance:
    between two that are as good as equal the last bit decides.

    Args:
        expected: evaluation's probabilities (B, C).
        classes: the most probable ones (B,) by the export.
        differences: the largest of each output.

    Raises:
        UserError: it does not pass.
    """
    own = expected.max(-1)
    chosen = np.take_along_axis(expected, classes[:, None], axis=-1)[:, 0]
    other = np.flatnonzero(own - chosen > tolerance)
    # `not <=`: a NaN must not pass.
    beyond = [f"{name} by {d:.2g}" for name, d in differences.items() if not d <= tolerance]
    if len(other) or beyond:
        first = f", the first on {samples[other[0]][0]}" if len(other) else ""
        raise UserError(
            f"export: got {what} with another top-1 on {len(other)} of {len(samples)} "
            f"images{first}; beyond {tolerance:g}: {', '.join(beyond) or 'nothing'}; expected the "
            "outputs of evaluation. The export is removed, the checkpoints are kept"
        )


@contextmanager
def whole_or_absent(directory: Path) -> Iterator[Path]:
    """Where to write what is to be `directory`: it gets its name when the block ends without an error.

    Else nothing of it is left, and what was there before stays.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(directory) as partial:
        partial.mkdir()
        yield partial
