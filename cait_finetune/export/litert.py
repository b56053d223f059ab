"""A LiteRT file (TensorFlow Lite, as it was called), and smaller variants of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from cait_finetune.errors import bad_value
from cait_finetune.export.accuracy import compare_accuracy
from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.export.parity import (
    Answer,
    Classify,
    check_answer,
    check_pixels,
    whole_or_absent,
)
from cait_finetune.export.pixels import frozen_function, write_labels
from cait_finetune.runs.provenance import add_to_archive
from cait_tf.quiet import quiet_imports

FILE = "model.tflite"

#: The share of validation images on which a quantised variant must give the class that the float file
#: gives. One that says something else more often is no variant of it.
AGREEMENT = 0.9


def export(
    exported: ExportedModel,
    validation: ValidationSamples,
    directory: Path,
    quantise: Sequence[str] = (),
) -> dict:
    """Write and check ``model.tflite``, and ``model_NAME.tflite`` for each name in `quantise`.

    Input ``images`` (B, h, w, 3) uint8 of any one size; outputs ``predicted_index`` (B,) int32,
    ``probability`` (B,) and ``probabilities`` (B, C), in the signature ``serving_default``; of
    LiteRT's own operations. An interpreter without signatures has to be told the size
    (``resize_tensor_input``) before it allocates. ``labels.txt`` has the class names, as LiteRT's
    ``CompiledModel``, which runs on GPUs and NPUs, refuses files with texts.

    ``float16`` keeps weights in half the bits; ``int8`` the kernels in a quarter, and makes their
    products in integers, with a scale for each image (dynamic range). Their accuracy is measured on
    the labelled images.

    Returns:
        As `formats.Export`; ``variants`` has, for each, what `compare_accuracy` says, and its size.
        Of one that agrees with the float file on less than `AGREEMENT` nothing is left but the words
        in ``refused``.

    Raises:
        UserError: the file does not answer as evaluation does; nothing is left of any.
    """
    function = frozen_function(exported, texts=False)
    with whole_or_absent(directory) as partial:
        _write(function, "float32", partial / FILE, exported)
        write_labels(exported, partial)
        plain = load(partial / FILE)
        difference = check_pixels("a LiteRT file", plain, validation)
        check_answer("a LiteRT file", load_answer(partial / FILE), validation)
        for name in quantise:
            _write(function, name, partial / variant_file(name), exported)
        variants = {name: load(partial / variant_file(name)) for name in quantise}
        compared = compare_accuracy(plain, variants, validation) if variants else {}
        kept, refused = {}, []
        for name, metrics in compared.items():
            path = partial / variant_file(name)
            if metrics["agreement"] >= AGREEMENT:
                place = str(directory / path.name)
                kept[name] = {**metrics, "path": place, "megabytes": _megabytes(path)}
            else:
                refused.append(_refusal(name, metrics))
                path.unlink()
        size = _megabytes(partial / FILE)
    record = {"path": str(directory / FILE), "difference": difference, "megabytes": size}
    return {**record, "variants": kept, "refused": refused}


def variant_file(name: str) -> str:
    """``model_int8.tflite``."""
    return f"{Path(FILE).stem}_{name}{Path(FILE).suffix}"


def load(path: Path) -> Classify:
    """The probabilities of a LiteRT file, on all cores."""
    answer = load_answer(path)
    return lambda images: answer(images)["probabilities"]


def load_answer(path: Path) -> Answer:
    """All outputs of a LiteRT file, on all cores."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet_imports():  # it names its delegate
        interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
        interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    return lambda images: run(images=images)


def _write(
    function: tf.types.experimental.GenericFunction, kind: str, path: Path, exported: ExportedModel
) -> None:
    path.write_bytes(_convert(function, kind))
    add_to_archive(exported.provenance, path, labels=True)


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


def _refusal(name: str, metrics: Mapping[str, Any]) -> str:
    error = bad_value(
        "export.quantise",
        f"{name}, which gives the float file's class on {metrics['agreement']:.1%} of "
        f"{metrics['images']:,} validation images",
        f"at least {AGREEMENT:.0%}",
        f"that variant is removed, the others are kept: leave {name} out",
    )
    return str(error)


def _megabytes(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 2)
