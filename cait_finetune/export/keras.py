"""Export a ``.keras`` file. Loading the file needs ``cait_tf``."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.export.parity import Classify, check_answer, check_pixels, whole_or_absent
from cait_finetune.export.pixels import image_model
from cait_finetune.runs.provenance import add_to_archive
from cait_tf.weights import keras_file
from cait_tf.weights.stated import PREPARATION, state_preparation

FILE = "model.keras"


def export(exported: ExportedModel, validation: ValidationSamples, directory: Path) -> dict:
    """Write and check ``model.keras``, as `formats.Export` specifies.

    The file holds a `cait_tf.ImageClassifier`. Its attribute ``classifier`` is the trained network.

    Raises:
        UserError: the outputs of the file differ from evaluation.
    """
    with whole_or_absent(directory) as partial:
        stated = exported.provenance.metadata()
        state_preparation(exported.model, stated[PREPARATION])
        image_model(exported).save(partial / FILE)
        add_to_archive(exported.provenance, partial / FILE)
        keras_file.add_stated(partial / FILE, stated)  # for cait_tf.convert
        difference = check_pixels("a .keras file", load(partial / FILE), validation)
        loaded = load_model(partial / FILE)
        answer = getattr(loaded, "estimate", None) or loaded.classify
        check_answer("a .keras file", answer, validation)
    return {"path": str(directory / FILE), "difference": difference}


def load(path: Path) -> Classify:
    """Load a ``.keras`` file as a function from images to probabilities."""
    model = load_model(path)
    return lambda images: np.asarray(model(images))


def load_model(path: Path) -> keras.Model:
    """Load the `cait_tf.ImageClassifier` in a ``.keras`` file."""
    return keras.saving.load_model(path)
