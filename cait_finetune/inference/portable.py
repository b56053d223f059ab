"""ONNX and LiteRT files: uint8 pixels in, probabilities out, class names inside or beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.errors import UserError, bad_value
from cait_finetune.runs.provenance import NAME, Provenance, read_provenance
from cait_tf.quiet import quiet_imports

#: Images (B, h, w, 3) uint8 to probabilities (B, C).
Call = Callable[[np.ndarray], np.ndarray]
#: The preprocessing for an image size, or for `None`, of a model that states that about itself.
HowPrepared = Callable[[int | None, Provenance | None], Preprocessing]


class PixelModel:
    """A model of pixels as a `backends.Backend`.

    Where its input has a size, images are brought to it; else they are given to it as they are, one
    at a time.

    Args:
        call: the model.
        shape: of its input, None where it takes any.
        preprocessing: how images are brought to a size, given the size or `None`, and what the model
            states about itself.
        class_names: those inside the model; `None`: it has none.
        provenance: what the model states about itself; `None`: nothing.

    Raises:
        UserError: the input is not of images, or class names are neither in the model nor beside it,
            or others are beside it than in it.
    """

    def __init__(
        self,
        path: Path,
        call: Call,
        shape: Sequence[int | None],
        preprocessing: HowPrepared,
        class_names: Sequence[str] | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2] or shape[0] not in (None, 1):
            raise _unlike(path, f"has the shape {tuple(shape)}")
        self._call = call
        self._together = shape[0] is None and shape[1] is not None
        way = preprocessing(shape[1], provenance)
        fit = way.fit if shape[1] else tf.identity
        self._see = tf.function(
            lambda data: tf.cast(fit(way.decode(data)), tf.uint8),
            input_signature=[tf.TensorSpec((), tf.string)],
            autograph=False,
        )
        self.class_names = _class_names(path, class_names)
        self._path = path
        self.provenance = provenance

    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        """As `backends.Backend`."""
        images = [self._see(data).numpy()[None] for data in files]  # (1, h, w, 3) each
        batches = [np.concatenate(images)] if self._together else images
        probabilities = np.concatenate([self._call(batch) for batch in batches])  # (B, C)
        if probabilities.shape[1] != len(self.class_names):
            raise bad_value(
                "model",
                f"{self._path} of {probabilities.shape[1]} classes, with {len(self.class_names)} in "
                "labels.txt",
                "as many names as classes",
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


def open_onnx(path: Path, preprocessing: HowPrepared) -> PixelModel:
    """An ONNX file under onnxruntime.

    Raises:
        UserError: onnxruntime is not there, or the file is not a model of images.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing(path, "onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(str(path), options)
    except Exception as error:  # its own kinds have no common name that is public
        raise damaged(path, "an ONNX file", error) from error
    image, *others = session.get_inputs()
    if others or image.type != "tensor(uint8)":
        raise _unlike(path, f"is {', '.join(one.type for one in (image, *others))}")
    output = _chosen([one.name for one in session.get_outputs()])
    shape = [size if isinstance(size, int) else None for size in image.shape]
    stated = session.get_modelmeta().custom_metadata_map
    names = stated.get("class_names")
    return PixelModel(
        path,
        lambda images: session.run([output], {image.name: images})[0],
        shape,
        preprocessing,
        None if names is None else json.loads(names),
        Provenance.from_json(stated.get(NAME)),
    )


def open_litert(path: Path, preprocessing: HowPrepared) -> PixelModel:
    """A LiteRT (TensorFlow Lite) file under its interpreter.

    Raises:
        UserError: ai-edge-litert is not there, or the file is not a model of images.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise _missing(path, "ai-edge-litert", "litert") from error
    try:
        with quiet_imports():  # it names its delegate
            interpreter = Interpreter(model_path=str(path))
            interpreter.allocate_tensors()
        runner = interpreter.get_signature_runner()
    except (ValueError, RuntimeError) as error:
        raise damaged(path, "a LiteRT file with a signature", error) from error
    (name, image), *others = runner.get_input_details().items()
    if others or image["dtype"] != np.uint8:
        raise _unlike(path, f"is {image['dtype'].__name__}{' and others' * bool(others)}")
    output = _chosen(list(runner.get_output_details()))
    shape = [None if size < 0 else int(size) for size in image["shape_signature"]]
    stated = read_provenance(path)
    return PixelModel(
        path,
        lambda images: runner(**{name: images})[output],
        shape,
        preprocessing,
        stated and stated.class_names,
        stated,
    )


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
    """That `path` is not, or not wholly, what its name says."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return bad_value("model", f"{path} ({reason})", what)


def _unlike(path: Path, got: str) -> UserError:
    return bad_value(
        "model",
        f"{path}, whose input {got}",
        "one input: uint8 images (1 or any number, S, S, 3), or of any size",
    )
