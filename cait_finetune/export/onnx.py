"""Export an ONNX file with tf2onnx and check it with onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
from cait_finetune.runs.provenance import NAME

FILE = "model.onnx"

#: tf2onnx 1.17 writes operator set 18, and the runtimes of recent years read it. All needed
#: operators exist in older sets too.
_OPSET = 18


def export(exported: ExportedModel, validation: ValidationSamples, directory: Path) -> dict:
    """Write and check ``model.onnx``, as `formats.Export` specifies.

    The file takes ``images`` of any size: (B, h, w, 3) uint8, or (B, h, w, c) float32 for another
    number c of channels. All images of a batch have the same size. It returns ``predicted_class``
    (B,), a class name, ``probability`` (B,), ``probabilities`` (B, C) and ``class_names`` (C,). The file's metadata (JSON under ``class_names``) and
    ``labels.txt`` hold the class names too.

    Raises:
        UserError: the outputs of the file differ from evaluation.
    """
    import onnx
    import tf2onnx

    function = frozen_function(exported, texts=True)
    with whole_or_absent(directory) as partial:
        proto, _ = tf2onnx.convert.from_function(
            function, input_signature=function.input_signature, opset=_OPSET
        )
        for value in (*proto.graph.input, *proto.graph.output):
            shape = value.type.tensor_type.shape.dim
            # A class and its probability have a second axis if images have several labels.
            for axis, name in zip(shape, (*_AXES[value.name], "")[: len(shape)], strict=True):
                if name:
                    axis.dim_param = name
        names = json.dumps(list(exported.class_names), ensure_ascii=False)
        stated = {"class_names": names, NAME: exported.provenance.to_json()}
        onnx.helper.set_model_props(proto, stated)
        onnx.save(proto, str(partial / FILE))
        write_labels(exported, partial)
        difference = check_pixels("an ONNX file", load(partial / FILE), validation)
        check_answer("an ONNX file", load_answer(partial / FILE), validation)
    return {"path": str(directory / FILE), "difference": difference}


_AXES = {
    "images": ("batch", "height", "width", ""),
    "probabilities": ("batch", ""),
    "probability": ("batch",),
    "predicted_class": ("batch",),
    "class_names": ("",),
    "prediction": ("batch", ""),
    "lower": ("batch", ""),
    "upper": ("batch", ""),
    "target_names": ("",),
    "label_names": ("",),
}


def load(path: Path) -> Classify:
    """Load an ONNX file as a function from images to probabilities. It runs on the CPU."""
    answer = load_answer(path)
    return lambda images: values_of(answer(images))


def load_answer(path: Path, outputs: Sequence[str] | None = None) -> Answer:
    """Load an ONNX file as a function from images to outputs. It runs on the CPU.

    Args:
        outputs: names of the outputs. `None`: all outputs.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = list(outputs or (one.name for one in session.get_outputs()))

    def answer(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return answer
