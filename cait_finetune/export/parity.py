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
from cait_finetune.scores.postprocessing import PLAIN_SOFTMAX, Numbers, Postprocessing
from cait_finetune.scores.several_probabilities import SeveralProbabilities
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
        classes = None
        if isinstance(self.postprocessing, Numbers):
            self._check_targets(what, got)
            wanted = self.postprocessing.ends(self.values)
        elif isinstance(self.postprocessing, SeveralProbabilities):
            classes = self._classes_of_labels(what, got, self.postprocessing)
            surest = [self.values[:, one].max(-1) for one in self.postprocessing.choices]
            wanted = {"probabilities": self.values, "probability": np.stack(surest, axis=-1)}
        else:
            classes = self._classes(what, got)
            wanted = {"probabilities": self.values, "probability": self.values.max(-1)}
        if lost := wanted.keys() - got.keys():
            raise UserError(
                f"export: got {what} without {', '.join(sorted(lost))}, expected all outputs. The export "
                "is removed, the checkpoints are kept"
            )
        unit = 1.0 if classes is not None else self.unit
        found = {
            name: float((np.abs(got[name] - one) / unit).max()) for name, one in wanted.items()
        }
        differences = {**found, **(differences or {})}
        require_parity(
            what, self.samples, self.values, classes, differences, tolerance,
            self.postprocessing.choices,
        )  # fmt: skip
        return next(iter(found.values()))

    def _classes(self, what: str, got: Mapping[str, np.ndarray]) -> np.ndarray:
        if "class_names" not in got:  # LiteRT: the file has no strings
            return got["predicted_index"]
        return find_columns(what, got, self.names)

    def _classes_of_labels(
        self, what: str, got: Mapping[str, np.ndarray], after: SeveralProbabilities
    ) -> np.ndarray:
        """Return the column ``(B, L)`` of each label's ``predicted_class``."""
        if "class_names" not in got:  # LiteRT: the file has no strings
            return got["predicted_index"]
        labels = [group.name for group in after.groups]
        texts = np.array(_texts(got["predicted_class"])).reshape(-1, len(labels))
        stated = (_texts(got["class_names"]), _texts(got.get("label_names", ())))
        known = all(
            set(column) <= set(group.classes)
            for group, column in zip(after.groups, texts.T, strict=True)
        )
        if stated != (list(self.names), labels) or not known:
            raise UserError(
                f"export: got {what} that predicts {', '.join(texts[0])} and names its columns "
                f"{', '.join(stated[0][:5])}, expected the classes {', '.join(self.names[:5])}. The "
                "export is removed, the checkpoints are kept"
            )
        columns = [
            [group.start + group.classes.index(one) for one in column]
            for group, column in zip(after.groups, texts.T.tolist(), strict=True)
        ]
        return np.array(columns).T

    def _check_targets(self, what: str, got: Mapping[str, np.ndarray]) -> None:
        if "target_names" in got and (stated := _texts(got["target_names"])) != list(self.names):
            raise UserError(
                f"export: got {what} that names its targets {', '.join(stated[:5])}, expected "
                f"{', '.join(self.names[:5])}. The export is removed, the checkpoints are kept"
            )


def _evaluated(model: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    @tf.function(autograph=False)
    def evaluated(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = infer(model.backbone, images)
        return features, model.outputs(features)

    return evaluated


def values_of(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the values ``(B, C)`` among a file's outputs: probabilities, or numbers."""
    return outputs["probabilities"] if "probabilities" in outputs else outputs["prediction"]


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
        UserError: the top-1 class of an image differs, or a probability or number differs by more than
            `tolerance`.
    """
    got, exported = classify_all(classify, validation.pixels), validation.exported
    expected = exported.values(validation.logits)
    difference = float((np.abs(got - expected) / unit_of(exported.model)).max())
    choices = exported.postprocessing.choices
    classes = top_columns(got, choices) if choices else None
    require_parity(
        what, validation.files, expected, classes, {"values": difference}, tolerance, choices
    )
    return difference


def top_columns(values: np.ndarray, choices: Sequence[slice]) -> np.ndarray:
    """Return the column of the largest value in each of `choices`, ``(B, L)``."""
    best = [values[:, one].argmax(-1) + (one.start or 0) for one in choices]
    return np.stack(best, axis=-1)


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
