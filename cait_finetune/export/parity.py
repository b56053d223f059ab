"""The parity check: refuse an export whose outputs differ from evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.errors import UserError
from cait_finetune.export.exported_model import ValidationSamples
from cait_finetune.scores.postprocessing import PLAIN_SOFTMAX, Postprocessing
from cait_tf.atomic import atomic_path
from cait_tf.fused.tensorflow import infer

#: Largest allowed difference of each output of a SavedModel, which computes as evaluation does. The
#: difference of the logits is divided by max(1, largest absolute logit), because a head with large
#: weights magnifies the rounding of the features.
TOLERANCE = 1e-4
#: Largest allowed difference of a probability for files that take pixels. Such files may round a
#: few resized grey levels differently, and LiteRT has its own matrix products.
PIXEL_TOLERANCE = 1e-3

#: Maps images (B, h, w, 3) uint8 of one size to probabilities (B, C).
Classify = Callable[[np.ndarray], np.ndarray]
#: Maps such images to all outputs of a file, by name.
Answer = Callable[[np.ndarray], Mapping[str, np.ndarray]]

_BATCH = 16


def check_parity(
    directory: Path,
    model: keras.Model,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    decode: Callable[[tf.Tensor], tf.Tensor],
    class_names: Sequence[str],
    samples: Sequence[tuple[str, bytes]],
    postprocessing: Postprocessing = PLAIN_SOFTMAX,
) -> float:
    """Compare the signatures ``serving_default`` and ``images`` of a SavedModel with evaluation.

    Args:
        directory: the SavedModel.
        samples: id and bytes of each real image file.

    Returns:
        The largest difference of a probability.

    Raises:
        UserError: the top-1 class of an image or the class names differ, or an output differs by more
            than `TOLERANCE`.
    """
    signatures = tf.saved_model.load(str(directory)).signatures
    images = tf.stack([preprocess(decode(data)) for _, data in samples])  # (B, H, W, 3)
    # Compute in a graph, as evaluation does: TensorFlow fuses ops there, which changes the rounding.
    features, logits = _evaluated(model)(images)  # (B, D), (B, C)
    expected = postprocessing.tensor(logits).numpy()  # (B, C)

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
    """Compare the probabilities of a file that takes pixels with evaluation.

    Args:
        what: the file, for messages.
        classify: classifies with the file.

    Returns:
        The largest difference of a probability.

    Raises:
        UserError: the top-1 class of an image differs, or a probability differs by more than
            `tolerance`.
    """
    got = classify_all(classify, validation.pixels)
    expected = validation.exported.probabilities(validation.logits)
    differences = {"probabilities": np.abs(got - expected).max()}
    require_parity(what, validation.files, expected, got.argmax(-1), differences, tolerance)
    return float(differences["probabilities"])


def check_answer(what: str, answer: Answer, validation: ValidationSamples) -> None:
    """Compare the other outputs of a file that takes pixels with evaluation, on the first image.

    Raises:
        UserError: the top-1 class or the class names differ, or ``probability`` differs by more than
            `PIXEL_TOLERANCE`.
    """
    outputs = answer(validation.pixels[0][None])
    expected = validation.exported.probabilities(validation.logits[:1])
    if "predicted_index" in outputs:  # LiteRT: the file has no strings
        classes = outputs["predicted_index"]
    else:
        classes = find_columns(what, outputs, validation.exported.class_names)
    differences = {"probability": np.abs(outputs["probability"] - expected.max(-1)).max()}
    require_parity(what, validation.files[:1], expected, classes, differences, PIXEL_TOLERANCE)


def find_columns(
    what: str, outputs: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> np.ndarray:
    """Return the column ``(B,)`` of each image's ``predicted_class``.

    Raises:
        UserError: ``class_names`` of the outputs differ from `class_names`, or a ``predicted_class`` is
            not one of `class_names`.
    """
    names, stated = list(class_names), _texts(outputs["class_names"])
    columns = []
    for name, row in zip(_texts(outputs["predicted_class"]), outputs["probabilities"], strict=True):
        # Two classes may have the same name, such as "crane" in ImageNet.
        places = [column for column, one in enumerate(names) if one == name]
        if stated != names or not places:
            raise UserError(
                f"export: got {what} that predicts {name} and names its columns "
                f"{', '.join(stated[:5])}, expected the classes {', '.join(names[:5])}. The export is "
                "removed, the checkpoints are kept"
            )
        columns.append(max(places, key=row.__getitem__))
    return np.array(columns)


def _texts(array: np.ndarray) -> list[str]:
    return [one.decode() if isinstance(one, bytes) else str(one) for one in np.ravel(array)]


def classify_all(classify: Classify, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return probabilities ``(n, C)`` of n images of any sizes. A batch holds images of one size."""
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
    """Refuse an export that differs from evaluation.

    The export's top-1 class counts as different if evaluation's probability of that class is lower
    than evaluation's largest probability by more than `tolerance`. Rounding alone can swap two
    classes whose probabilities are almost equal.

    Args:
        what: the export, for messages.
        samples: id and file bytes of each image.
        expected: evaluation's probabilities (B, C).
        classes: columns of the export's top-1 classes (B,).
        differences: largest difference of each output, by name.
        tolerance: largest allowed difference.

    Raises:
        UserError: a top-1 class differs, or a difference is above `tolerance` or NaN.
    """
    own = expected.max(-1)
    chosen = np.take_along_axis(expected, classes[:, None], axis=-1)[:, 0]
    other = np.flatnonzero(own - chosen > tolerance)
    # `not <=`: a NaN must not pass.
    beyond = [f"{name} by {d:.2g}" for name, d in differences.items() if not d <= tolerance]
    if len(other) or beyond:
        wrong = []
        if len(other):
            first = samples[other[0]][0]
            many = f"{len(other)} of {len(samples)} images"
            wrong.append(f"another top-1 on {many}, the first on {first}")
        if beyond:
            wrong.append(f"outputs that differ by more than {tolerance:g} ({', '.join(beyond)})")
        raise UserError(
            f"export: got {what} with {', and '.join(wrong)}; expected the outputs of evaluation\n"
            "  The export is removed, the checkpoints are kept."
        )


@contextmanager
def whole_or_absent(directory: Path) -> Iterator[Path]:
    """Yield a temporary directory that becomes `directory` if the block ends without an error.

    An error removes the temporary directory and leaves an existing `directory` as it is.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(directory) as partial:
        partial.mkdir()
        yield partial
