"""The parity check: refuse an export whose outputs differ from evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.errors import UserError
from cait_finetune.export.exported_model import ValidationSamples
from cait_finetune.scores.postprocessing import Postprocessing
from cait_finetune.scores.probabilities import PLAIN_SOFTMAX
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
    unit = unit_of(model)
    differences = {
        "logits": (np.abs(raw["logits"].numpy() - logits.numpy()) / unit).max()
        / max(1.0, (np.abs(logits.numpy()) / unit).max()),
        "features": np.abs(raw["features"].numpy() - features.numpy()).max(),
    }
    wanted = Expected(postprocessing, expected, class_names, samples, unit)
    return wanted.check("a SavedModel", served, TOLERANCE, differences)


def unit_of(model: keras.Model) -> np.ndarray:
    """Return the size ``(C,)`` by which differences of outputs are divided: 1 for classes.

    For numbers: the standard deviation of each target, so that a tolerance fits every unit.
    """
    scale = getattr(model, "target_scale", None)
    return np.ones(1) if scale is None else np.asarray(scale.std, "float64")


@dataclasses.dataclass(frozen=True)
class Expected:
    """What evaluation answers for some images. A file's outputs are compared with it.

    Attributes:
        postprocessing: the kind of answers.
        values: evaluation's probabilities or numbers, ``(B, C)``.
        names: names of the columns.
        samples: id and file bytes of each image.
        unit: as `unit_of`.
    """

    postprocessing: Postprocessing
    values: np.ndarray
    names: Sequence[str]
    samples: Sequence[tuple[str, bytes]]
    unit: np.ndarray

    def check(
        self,
        what: str,
        got: Mapping[str, np.ndarray],
        tolerance: float,
        differences: Mapping[str, float] | None = None,
    ) -> float:
        """Compare all outputs of a file for the images of `samples`.

        Args:
            what: the file, for messages.
            got: the file's outputs by name.
            tolerance: largest allowed difference.
            differences: differences that were found already, by the output's name.

        Returns:
            The largest difference of a value, in `unit`.

        Raises:
            UserError: an output differs by more than `tolerance`, or a name differs.
        """
        try:
            classes = self.postprocessing.chosen(got, self.names)
        except ValueError as error:
            raise UserError(
                f"export: got {what} that {error}. The export is removed, the checkpoints are kept"
            ) from error
        wanted = self.postprocessing.expected(self.values)
        if lost := wanted.keys() - got.keys():
            raise UserError(
                f"export: got {what} without {', '.join(sorted(lost))}, expected all outputs. The export "
                "is removed, the checkpoints are kept"
            )
        found = {
            name: float((np.abs(got[name] - one) / self.unit).max()) for name, one in wanted.items()
        }
        differences = {**found, **(differences or {})}
        require_parity(
            what, self.samples, self.values, classes, differences, tolerance,
            self.postprocessing.choices,
        )  # fmt: skip
        return next(iter(found.values()))


def _evaluated(model: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    @tf.function(autograph=False)
    def evaluated(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = infer(model.backbone, images)
        return features, model.outputs(features)

    return evaluated


def values_of(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the values ``(B, C)`` among a file's outputs: probabilities, or numbers."""
    return outputs["probabilities"] if "probabilities" in outputs else outputs["prediction"]


def check_pixels(what: str, classify: Classify, validation: ValidationSamples) -> float:
    """Compare the values of a file that takes pixels with evaluation, as `check_values`.

    Args:
        what: the file, for messages.
        classify: classifies with the file.
    """
    return check_values(what, classify_all(classify, validation.pixels), validation)


def check_values(what: str, got: np.ndarray, validation: ValidationSamples) -> float:
    """Compare values ``(B, C)`` for the images of `validation` with evaluation.

    Returns:
        The largest difference of a value, in `unit_of`.

    Raises:
        UserError: the top-1 class of an image differs, or a value differs by more than
            `PIXEL_TOLERANCE`.
    """
    exported = validation.exported
    expected, choices = exported.values(validation.logits), exported.postprocessing.choices
    difference = float((np.abs(got - expected) / unit_of(exported.model)).max())
    best = [got[:, one].argmax(-1) + (one.start or 0) for one in choices]
    require_parity(
        what,
        validation.files,
        expected,
        np.stack(best, axis=-1) if best else None,  # (B, L)
        {"values": difference},
        PIXEL_TOLERANCE,
        choices,
    )
    return difference


def check_answer(what: str, answer: Answer, validation: ValidationSamples) -> None:
    """Compare the other outputs of a file that takes pixels with evaluation, on the first image.

    Raises:
        UserError: the top-1 class or the class names differ, or ``probability`` differs by more than
            `PIXEL_TOLERANCE`.
    """
    exported = validation.exported
    wanted = Expected(
        exported.postprocessing,
        exported.values(validation.logits[:1]),
        exported.class_names,
        validation.files[:1],
        unit_of(exported.model),
    )
    wanted.check(what, answer(validation.pixels[0][None]), PIXEL_TOLERANCE)


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
    classes: np.ndarray | None,
    differences: Mapping[str, float],
    tolerance: float,
    choices: Sequence[slice] = (slice(None),),
) -> None:
    """Refuse an export that differs from evaluation.

    The export's top-1 class counts as different if evaluation's probability of that class is lower
    than evaluation's largest probability by more than `tolerance`. Rounding alone can swap two
    classes whose probabilities are almost equal.

    Args:
        what: the export, for messages.
        samples: id and file bytes of each image.
        expected: evaluation's probabilities (B, C).
        classes: columns of the export's top-1 classes (B,), or (B, L) for several labels. `None`: the
            values are numbers.
        differences: largest difference of each output, by name.
        tolerance: largest allowed difference.
        choices: the columns of each label's classes.

    Raises:
        UserError: a top-1 class differs, or a difference is above `tolerance` or NaN.
    """
    other: Sequence[int] = ()
    if classes is not None:
        columns = classes.reshape(len(expected), -1)  # (B, L)
        chosen = np.take_along_axis(expected, columns, axis=-1)
        best = np.stack([expected[:, one].max(-1) for one in choices], axis=-1)
        other = np.flatnonzero((best - chosen > tolerance).any(axis=-1))
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
