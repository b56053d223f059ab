"""A small exported model, and image files of several sizes to check it on."""

import numpy as np

from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.scores.activation import SOFTMAX
from cait_finetune.scores.numbers import Numbers
from cait_finetune.scores.probabilities import Probabilities
from cait_tf import CaiTRegressor
from tests.cait_finetune.stand_ins import encode, picture
from tests.cait_finetune.tiny import tiny_model

NAMES = ["zero", "one", "zwölf", "three"]
TARGETS = ["größe", "tiny"]
#: Standard deviation of each target of `lively_regressor`: a huge and a tiny unit.
UNITS = np.array([3e6, 2e-6])
SIZES = ((40, 50), (64, 32), (32, 32), (32, 32), (20, 90), (301, 97))


def preprocessing(**changes) -> Preprocessing:
    values = {
        "image_size": 32,
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    return Preprocessing(**{**values, **changes})


def samples() -> list[tuple[str, bytes]]:
    return [(f"{seed}.png", encode(picture(*size, seed))) for seed, size in enumerate(SIZES)]


def lively_model(**changes) -> ExportedModel:
    """Return an exported model that predicts different classes for different images."""
    size = changes.pop("image_size", (32, 32))
    model = tiny_model(num_classes=len(NAMES), image_size=size)
    kernel = np.random.default_rng(1).normal(size=model.head.kernel.shape)
    model.head.kernel.assign(kernel.astype("float32"))
    values = {"variant": "cait_nano_32", "postprocessing": Probabilities(SOFTMAX, 1.7)}
    exported = ExportedModel(model, preprocessing(image_size=size), NAMES, **{**values, **changes})
    model.head.bias.assign(-ValidationSamples(exported, samples()).logits.mean(0))
    return exported


def validation_of(exported: ExportedModel) -> ValidationSamples:
    """Return validation samples that are labelled with the model's own predictions."""
    validation = ValidationSamples(exported, samples())
    labels = validation.logits.argmax(-1)
    assert len(set(labels)) > 1  # else an export with a constant class would pass
    return ValidationSamples(
        exported,
        samples(),
        lambda: [(data, label) for (_, data), label in zip(samples(), labels, strict=True)],
    )


def lively_regressor(**changes) -> ExportedModel:
    """Return an exported model that predicts numbers in a huge and in a tiny unit."""
    source = tiny_model(num_classes=len(TARGETS))
    settings = source.get_config()
    settings["num_targets"] = settings.pop("num_classes")
    settings["target_names"] = TARGETS
    del settings["class_names"], settings["name"]
    model = CaiTRegressor.from_config(settings)
    model.build()
    model.backbone.set_weights(source.backbone.get_weights())
    kernel = np.random.default_rng(1).normal(size=model.head.kernel.shape)
    model.head.kernel.assign(0.3 * kernel.astype("float32"))
    model.target_scale.set([1e6, -1e-6], UNITS)
    after = Numbers(0.1, tuple((0.5 * UNITS).tolist()))
    values = {"variant": "cait_nano_32", "postprocessing": after}
    return ExportedModel(model, preprocessing(), TARGETS, **{**values, **changes})
