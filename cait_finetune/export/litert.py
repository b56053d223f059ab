"""Export a LiteRT (formerly TensorFlow Lite) file and quantised variants of it."""

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
    values_of,
    whole_or_absent,
)
from cait_finetune.export.pixels import frozen_function, write_labels
from cait_finetune.runs.provenance import add_to_archive
from cait_tf.quiet import quiet_imports

FILE = "model.tflite"

#: Minimum fraction of validation images with the same top-1 class in a quantised variant and in the
#: float file. `export` removes a variant with less agreement.
AGREEMENT = 0.9


def export(
    exported: ExportedModel,
    validation: ValidationSamples,
    directory: Path,
    quantise: Sequence[str] = (),
) -> dict:
    """Write and check ``model.tflite``, and ``model_NAME.tflite`` for each name in `quantise`.

    The signature ``serving_default`` takes ``images`` of any size: (B, h, w, 3) uint8, or (B, h, w, c)
    float32 for another number c of channels. All images of a batch have the same size. It returns
    ``predicted_index`` (B,) int32, ``probability`` (B,) and ``probabilities`` (B, C). The files use only LiteRT's built-in operations. If the interpreter
    has no signatures, call ``resize_tensor_input`` first. ``labels.txt`` holds the class names,
    because LiteRT's ``CompiledModel``, which runs on GPUs and NPUs, refuses files with strings.

    ``float16`` stores the weights in 16 bits. ``int8`` stores the kernels in 8 bits and multiplies in
    integers with one scale per image (dynamic-range quantisation). `compare_accuracy` measures both on
    the labelled images.

    Returns:
        The record of `formats.Export`, with the file's size in ``megabytes``. ``variants`` holds
        for each kept variant the result of `compare_accuracy`, ``path`` and ``megabytes``.
        ``refused`` holds the reason for each variant that `export` removed: its agreement is below
        `AGREEMENT`.

    Raises:
        UserError: the outputs of the float file differ from evaluation. No new file is kept.
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
                refused.append(_refusal(name, metrics, validation.exported.postprocessing.agreeing))
                path.unlink()
        size = _megabytes(partial / FILE)
    record = {"path": str(directory / FILE), "difference": difference, "megabytes": size}
    return {**record, "variants": kept, "refused": refused}


def variant_file(name: str) -> str:
    """Return the file name of a variant, such as ``model_int8.tflite``."""
    return f"{Path(FILE).stem}_{name}{Path(FILE).suffix}"


def load(path: Path) -> Classify:
    """Load a LiteRT file as a function from images to probabilities. It runs on all cores."""
    answer = load_answer(path)
    return lambda images: values_of(answer(images))


def load_answer(path: Path) -> Answer:
    """Load a LiteRT file as a function from images to all outputs. It runs on all cores."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet_imports():  # LiteRT logs the name of its delegate
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
    owner = tf.Module()  # without an owner the converter writes no signature
    owner.classify = function
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], owner
    )
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # int8 by default
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def _refusal(name: str, metrics: Mapping[str, Any], agreeing: str) -> str:
    error = bad_value(
        "export.quantise",
        f"{name}, which agrees with the float file ({agreeing}) on {metrics['agreement']:.1%} of "
        f"{metrics['images']:,} validation images",
        f"at least {AGREEMENT:.0%}",
        f"that variant is removed, the others are kept: leave {name} out",
    )
    return str(error)


def _megabytes(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 2)
