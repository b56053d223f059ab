"""A LiteRT file (TensorFlow Lite, as it was called), and smaller variants of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from cait_finetune.errors import UserError
from cait_finetune.export.accuracy import compare_accuracy
from cait_finetune.export.parity import Classify, check_pixels, whole_or_absent
from cait_finetune.export.pixels import frozen_function, write_labels
from cait_finetune.export.subject import Evidence, Subject
from cait_tf.quiet import quiet_imports

FILE = "model.tflite"

#: The share of validation images on which a quantised variant must give the class that the float file
#: gives. One that says something else more often is no variant of it.
AGREEMENT = 0.9


def export(
    subject: Subject, evidence: Evidence, directory: Path, quantise: Sequence[str] = ()
) -> dict:
    """Write and check ``model.tflite``, and ``model_NAME.tflite`` for each name in `quantise`.

    Input ``images`` (B, h, w, 3) uint8 of any one size, output ``probabilities`` (B, C), in the
    signature ``serving_default``; of LiteRT's own operations. An interpreter without signatures has
    to be told the size (``resize_tensor_input``) before it allocates. ``labels.txt`` has the class
    names.

    ``float16`` keeps weights in half the bits; ``int8`` the kernels in a quarter, and makes their
    products in integers, with a scale for each image (dynamic range). Their accuracy is measured on
    the labelled images.

    Returns:
        As `formats.Export`; ``variants`` has, for each, what `compare_accuracy` says, and its size.

    Raises:
        UserError: the file does not answer as evaluation does, or a variant agrees with it on less
            than `AGREEMENT`; nothing is left of any.
    """
    function = frozen_function(subject)
    with whole_or_absent(directory) as partial:
        (partial / FILE).write_bytes(_convert(function, "float32"))
        write_labels(subject, partial)
        plain = load(partial / FILE)
        difference = check_pixels("a LiteRT file", plain, evidence)
        for name in quantise:
            (partial / variant_file(name)).write_bytes(_convert(function, name))
        variants = {name: load(partial / variant_file(name)) for name in quantise}
        compared = compare_accuracy(plain, variants, evidence) if variants else {}
        for name, figures in compared.items():
            if not figures["agreement"] >= AGREEMENT:
                raise UserError(
                    f"export.quantise: got {name}, which gives the class of the float file on "
                    f"{figures['agreement']:.1%} of {figures['images']} validation images, expected "
                    f"at least {AGREEMENT:.0%}; no LiteRT file is kept\n  leave {name} out"
                )
            figures["path"] = str(directory / variant_file(name))
            figures["megabytes"] = _megabytes(partial / variant_file(name))
        size = _megabytes(partial / FILE)
    exported = {"path": str(directory / FILE), "difference": difference, "megabytes": size}
    return {**exported, "variants": compared} if compared else exported


def variant_file(name: str) -> str:
    """``model_int8.tflite``."""
    return f"{Path(FILE).stem}_{name}{Path(FILE).suffix}"


def load(path: Path) -> Classify:
    """What a LiteRT file computes, on all cores."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet_imports():  # it names its delegate
        interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
        run = interpreter.get_signature_runner()

    def classify(images: np.ndarray) -> np.ndarray:
        return run(images=images)["probabilities"]

    return classify


def _convert(function: tf.types.experimental.GenericFunction, kind: str) -> bytes:
    owner = tf.Module()  # without one the file gets no signature
    owner.classify = function
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], owner
    )
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # int8, where nothing else is said
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def _megabytes(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 2)
