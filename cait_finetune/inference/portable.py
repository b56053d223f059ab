"""Classify image files with ONNX and LiteRT models, which map uint8 pixels to probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.errors import UserError, bad_value, reason
from cait_finetune.runs.provenance import NAME, Provenance, read_provenance
from cait_tf.quiet import quiet_imports

_ANY = 32  # pixels: side of the test image for an input of any size
#: Maps images (B, h, w, 3) uint8 to probabilities (B, C), or to numbers as `stacked` returns them.
Call = Callable[[np.ndarray], np.ndarray]
#: Returns the preprocessing for the model's image size (`None`: any size) and its provenance.
HowPrepared = Callable[[tuple[int, int] | None, Provenance | None], Preprocessing]


class PixelModel:
    """A `backends.Backend` of a model that takes pixels.

    If the model's input has a fixed image size, the preprocessing fits images to that size.
    Otherwise the model gets each image in its own size. The model gets several images per call only
    if its input has a fixed image size and any batch size.

    Attributes:
        input_size: height and width of the input. `None`: the model takes any size.

    Args:
        path: the model file. Class names may lie beside it in ``labels.txt``.
        call: the model.
        shape: shape of the model's input. A size of `None` means any size.
        preprocessing: returns the preprocessing for the input's size and the model's provenance.
        class_names: the class names that the model holds. `None`: the model holds none.
        provenance: the provenance that the model states. `None`: the model states none.
        several: whether the model answers several labels.
        dtype: type of the input's numbers.

    Raises:
        UserError: the input does not have the shape or type of images, neither the model nor ``labels.txt``
            holds class names, or their class names differ. A call raises UserError if the model has
            more or fewer classes than names.
    """

    def __init__(
        self,
        path: Path,
        call: Call,
        shape: Sequence[int | None],
        preprocessing: HowPrepared,
        class_names: Sequence[str] | None = None,
        provenance: Provenance | None = None,
        several: bool = False,
        dtype: type = np.uint8,
    ) -> None:
        if len(shape) != 4 or shape[3] is None or shape[0] not in (None, 1):
            raise _unlike(path, f"has the shape {tuple(shape)}")
        _, height, width, _ = shape
        if (height is None) != (width is None):
            raise _unlike(path, f"has the shape {tuple(shape)}")
        size = (height, width) if height and width else None
        self.input_size = size
        self._call = call
        self._together = shape[0] is None and size is not None
        way = preprocessing(size, provenance)
        if shape[3] != way.channels:
            raise _unlike(path, f"has the shape {tuple(shape)}")
        if dtype != way.dtype.as_numpy_dtype:
            raise _unlike(path, f"is {np.dtype(dtype).name}")
        fit = way.fit if size else tf.identity
        self._see = tf.function(
            lambda data: tf.cast(fit(way.decode(data)), way.dtype),
            input_signature=[tf.TensorSpec((), tf.string)],
            autograph=False,
        )
        self.class_names = _class_names(path, class_names)
        self.several = several
        self._path = path
        self.provenance = provenance

    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        """Classify files, as `backends.Backend` does."""
        images = [self._see(data).numpy()[None] for data in files]  # (1, h, w, 3) each
        batches = [np.concatenate(images)] if self._together else images
        probabilities = np.concatenate([self._call(batch) for batch in batches])  # (B, C)
        if probabilities.shape[1] != len(self.class_names):
            raise bad_value(
                "model",
                f"{self._path} of {probabilities.shape[1]} columns, with {len(self.class_names)} "
                "names",
                "as many names as columns",
            )
        return probabilities


def _class_names(path: Path, inside: Sequence[str] | None) -> list[str]:
    labels = path.with_name("labels.txt")
    if not labels.is_file():
        if inside is not None:
            return list(inside)
        raise bad_value(
            "model",
            f"{path} without labels.txt",
            "that file beside it, with a class name on each line",
        )
    beside = labels.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if inside is not None and beside != [" ".join(name.splitlines()) for name in inside]:
        raise bad_value(
            "model",
            f"{path} with other class names inside than in labels.txt",
            "the labels.txt that was written with it",
            "remove labels.txt to take the names inside",
        )
    return beside if inside is None else list(inside)


#: The output that names the labels of a file that answers several.
LABELS = "label_names"
_COLUMNS = "predicted_index"
#: Types of pixels and of bands.
_INPUT_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
#: The outputs of a file that answers with numbers. Files without intervals have the first only.
_OF_NUMBERS = ("prediction", "lower", "upper")


def stacked(outputs: Mapping[str, np.ndarray], ours: bool = True) -> np.ndarray:
    """Return the values among a file's outputs.

    Args:
        ours: whether this project wrote the file. In other files `prediction` can mean anything.

    Returns:
        Probabilities ``(B, C)``; or numbers ``(B, T, 3)`` with the ends of their intervals, ``(B, T, 1)``
        without.
    """
    if ours and "prediction" in outputs:
        return np.stack([outputs[name] for name in _OF_NUMBERS if name in outputs], axis=-1)
    return outputs[_chosen(list(outputs))]


def onnx_provenance(path: Path) -> Provenance | None:
    """Return the provenance of an ONNX file. `None`: the file states none.

    Raises:
        UserError: as `open_onnx`.
    """
    session = _onnx_session(path, optimised=False)
    return Provenance.from_json(session.get_modelmeta().custom_metadata_map.get(NAME))


def _onnx_session(path: Path, optimised: bool = True) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing(path, "onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options)
    except Exception as error:  # onnxruntime has no public base class for its errors
        raise damaged(path, "an ONNX file", error) from error


def open_onnx(path: Path, preprocessing: HowPrepared) -> PixelModel:
    """Open an ONNX file with onnxruntime.

    Raises:
        UserError: onnxruntime is not installed, the file is damaged, or in the cases of
            `PixelModel`.
    """
    session = _onnx_session(path)
    image, *others = session.get_inputs()
    kind = _INPUT_TYPES.get(image.type)
    if others or kind is None:
        raise _unlike(path, f"is {', '.join(one.type for one in (image, *others))}")
    outputs = [one.name for one in session.get_outputs()]
    ours = "target_names" in outputs
    wanted = _wanted(outputs, ours)
    shape = [size if isinstance(size, int) else None for size in image.shape]
    stated = session.get_modelmeta().custom_metadata_map
    names = json.loads(stated["class_names"]) if "class_names" in stated else None
    if (
        names is None and "class_names" in outputs and len(shape) == 4
    ):  # a tool dropped the metadata
        sides = [size or _ANY for size in shape[1:3]]
        black = np.zeros((shape[0] or 1, *sides, shape[3] or 3), kind)
        names = session.run(["class_names"], {image.name: black})[0].tolist()
    return PixelModel(
        path,
        lambda images: stacked(
            dict(zip(wanted, session.run(wanted, {image.name: images}), strict=True)), ours
        ),
        shape,
        preprocessing,
        names,
        Provenance.from_json(stated.get(NAME)),
        LABELS in outputs,
        kind,
    )


def open_litert(path: Path, preprocessing: HowPrepared) -> PixelModel:
    """Open a LiteRT (TensorFlow Lite) file with its interpreter.

    Raises:
        UserError: ai-edge-litert is not installed, the file is damaged, or in the cases of
            `PixelModel`.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise _missing(path, "ai-edge-litert", "litert") from error
    try:
        with quiet_imports():  # the interpreter prints the name of its delegate
            interpreter = Interpreter(model_path=str(path))
            interpreter.allocate_tensors()
        runner = interpreter.get_signature_runner()
    except (ValueError, RuntimeError) as error:
        raise damaged(path, "a LiteRT file with a signature", error) from error
    (name, image), *others = runner.get_input_details().items()
    if others or image["dtype"] not in _INPUT_TYPES.values():
        raise _unlike(path, f"is {image['dtype'].__name__}{' and others' * bool(others)}")
    shape = [None if size < 0 else int(size) for size in image["shape_signature"]]
    stated = read_provenance(path)
    return PixelModel(
        path,
        lambda images: stacked(runner(**{name: images}), stated is not None),
        shape,
        preprocessing,
        stated and stated.class_names,
        stated,
        # A file without strings has the column of each label, (B, L).
        stated is not None
        and len(runner.get_output_details().get(_COLUMNS, {}).get("shape", ())) > 1,
        image["dtype"],
    )


def _wanted(outputs: list[str], ours: bool) -> list[str]:
    """Return the outputs that `stacked` needs."""
    if ours and "prediction" in outputs:
        return [name for name in _OF_NUMBERS if name in outputs]
    return [_chosen(outputs)]


def _chosen(outputs: list[str]) -> str:
    return "probabilities" if "probabilities" in outputs else outputs[0]


def _missing(path: Path, package: str, extra: str) -> UserError:
    return bad_value(
        "model",
        f"{path}, which needs {package}",
        "it installed",
        f"pip install 'cait-finetune[{extra}]'",
    )


def damaged(path: Path, what: str, error: Exception) -> UserError:
    """Return the error for a model file that is damaged or has another format.

    Args:
        what: the expected format, for the message.
        error: the library's error. The message quotes its first line.
    """
    return bad_value("model", f"{path} ({reason(error)})", what)


def _unlike(path: Path, got: str) -> UserError:
    return bad_value(
        "model",
        f"{path}, whose input {got}",
        "one input: uint8 images (1 or any number, height, width, 3), or float32 bands, or of any size",
    )
