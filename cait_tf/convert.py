"""Convert weights from any source to any format.

The destination's ending decides its format: ``.safetensors`` (timm's), ``.pth`` or ``.pt`` (the
authors'), ``.weights.h5`` or ``.keras`` (Keras'). A name without an ending is the directory of a
SavedModel with the signature of the original collection. The conversion keeps the names, the
numbers and the class list. To verify them, it reads the destination again: every tensor must equal
the source's, and the outputs of one forward pass must agree within 1e-4.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cait_tf.atomic import atomic_path
from cait_tf.errors import CaiTError, WeightsError, near_names
from cait_tf.places import expanded
from cait_tf.variants import VARIANTS

if TYPE_CHECKING:  # this import would load Keras
    from cait_tf.weights.load import Weights

Tensors = dict[str, np.ndarray]

_TOLERANCE = 1e-4
_ENDINGS = (".safetensors", ".pth", ".pt", ".weights.h5", ".keras")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    ``format``: name of the source's format. ``model``: the variant, or the geometry of another
    model. ``tensors``: number of tensors. ``difference``: largest difference between the outputs of
    source and destination. ``notes``: which state dict was converted, if the source has several.
    """

    format: str
    model: str
    tensors: int
    difference: float
    notes: tuple[str, ...] = ()


def convert(
    source: str | Path,
    destination: str | Path,
    feature_extractor: bool = False,
    weights_key: str | None = None,
) -> Conversion:
    """Convert weights to another format, and verify the written file or directory.

    Args:
        source: anything that `load_weights` takes.
        destination: where to write; the ending decides the format.
        feature_extractor: leave the head out.
        weights_key: key of a state dict in a PyTorch checkpoint, as in `load_weights`.

    Raises:
        CaiTError: the source cannot be read, or is a feature extractor (or becomes one) whose features
            are not the class token. `destination` exists already or has an unknown ending,
            or the written weights differ from the source's. A failed conversion writes nothing to
            `destination`.
        ImportError: an extra is not installed.
    """
    import keras

    from cait_tf.collection import compare, outputs_on_noise
    from cait_tf.weights import keras_file, official
    from cait_tf.weights.assign import assign_weights, columns_of, head_names, pooling_of
    from cait_tf.weights.load import read_weights
    from cait_tf.weights.stated import stated_facts

    destination = Path(expanded("destination", destination))
    if destination.exists():
        raise CaiTError(f"destination: got {destination}, which exists; expected a new name")
    _check_ending(destination)
    if destination.name.endswith(official.ENDINGS):
        official.check_torch()  # before the weights are read
    tensors, kind, grid, class_names, notes = read_weights(source, weights_key)
    pooling = keras_file.configured_pooling(expanded("source", source)) or pooling_of(tensors)
    if pooling != "token" and (feature_extractor or not columns_of(tensors)):
        raise CaiTError(
            f"source: got {source} with pooling={pooling}, expected pooling=token for a file without a head"
            "\n  Convert the classifier with its head."
        )
    if feature_extractor:
        tensors = {
            name: array for name, array in tensors.items() if name not in head_names(tensors)
        }
    model = _model_for(tensors, grid, source, class_names)
    assign_weights(model, dict(tensors), str(source), kind, grid)
    destination.parent.mkdir(parents=True, exist_ok=True)
    name, count = _name(model), len(tensors)
    with atomic_path(destination) as partial:
        _write(model, partial, stated_facts(source))
        written = read_weights(partial)
        if written.class_names != getattr(model, "class_names", None):
            raise WeightsError("destination: the written class list is not the source's")
        _check_same(tensors, written, getattr(model, "backbone", model).grid_size)
        # From here on keep only one copy of the weights: those of the largest model need much
        # memory.
        del tensors
        images, wanted = outputs_on_noise(model, attention=partial.is_dir())
        del model
        keras.utils.clear_session()
        if partial.is_dir():
            del written
            difference = compare(images, wanted, partial)
        else:
            difference = _difference(images, wanted["output_1"], written, partial)
        if not difference <= _TOLERANCE:
            raise WeightsError(
                f"destination: the written weights' outputs differ by {difference:.1e}, expected "
                f"at most {_TOLERANCE:.0e}"
            )
    return Conversion(kind, name, count, difference, notes)


def _check_ending(destination: Path) -> None:
    name = destination.name
    # An ending that starts with a letter is a file format; "cait_v1.2" is a directory.
    if not name.endswith(_ENDINGS) and re.search(r"\.[a-zA-Z]\w*$", name):
        raise CaiTError(
            f"destination: got {destination}, expected an ending .safetensors, .pth, .weights.h5 or "
            ".keras, or the name of a directory for a SavedModel"
            f"{near_names(destination.suffix, _ENDINGS)}"
        )


def _model_for(
    tensors: Tensors,
    grid: tuple[int, int] | None,
    source: str | Path,
    class_names: tuple[str, ...] | None = None,
) -> Any:
    from cait_tf.backbone import CaiTBackbone
    from cait_tf.classifier import CaiTClassifier
    from cait_tf.heads import OF_PATCHES
    from cait_tf.regressor import CaiTRegressor
    from cait_tf.segmenter import CaiTSegmenter
    from cait_tf.weights.geometry import geometry

    shape = geometry(tensors, grid, source)
    if "num_targets" in shape:
        model = CaiTRegressor(target_names=class_names, **shape)
    elif "num_classes" in shape:
        headed = CaiTSegmenter if shape.get("head") in OF_PATCHES else CaiTClassifier
        model = headed(class_names=class_names, **shape)
    else:
        model = CaiTBackbone(**shape)
    if not model.built:
        model.build()
    return model


def _write(model: Any, destination: Path, stated: dict[str, str]) -> None:
    from cait_tf.collection import write_saved_model
    from cait_tf.weights import collection, keras_file, official
    from cait_tf.weights.load import save_weights, values
    from cait_tf.weights.stated import PREPARATION, state_preparation

    name = destination.name
    class_names = getattr(model, "class_names", None)
    if name.endswith(".safetensors"):
        save_weights(model, destination, stated)
    elif name.endswith((".pth", ".pt")):
        grid = getattr(model, "backbone", model).grid_size
        official.write(destination, values(model), grid, class_names, stated)
    elif name.endswith((".weights.h5", ".keras")):
        state_preparation(model, stated.get(PREPARATION))
        model.save_weights(destination) if name.endswith(".h5") else model.save(destination)
        if stated:
            keras_file.add_stated(destination, stated)
    else:
        write_saved_model(model, destination)
        if class_names or stated:
            collection.add_stated(destination, stated)


def _check_same(tensors: Tensors, read: Weights, grid_size: tuple[int, int]) -> None:
    written, grid = read.tensors, read.grid
    changed = [
        name
        for name in sorted(tensors.keys() | written.keys())
        if name not in written
        or name not in tensors
        or not np.array_equal(tensors[name].astype("float32", copy=False), written[name])
    ]
    if changed:
        raise WeightsError(
            f"destination: {len(changed)} written tensors differ from the source's: "
            f"{', '.join(changed[:8])}"
        )
    if grid != grid_size:
        raise WeightsError(f"destination: the written patch grid is {grid}, not the source's")


def _difference(images: np.ndarray, wanted: np.ndarray, read: Weights, path: Path) -> float:
    """Return the largest difference between `wanted` and the outputs of the read weights."""
    import keras

    from cait_tf.weights.assign import assign_weights

    other = _model_for(read.tensors, read.grid, path)
    assign_weights(other, read.tensors, str(path), read.kind, read.grid)
    return float(np.abs(keras.ops.convert_to_numpy(other(images)) - wanted).max())


def _name(model: Any) -> str:
    """Return the variant with the model's geometry, or else a description of the geometry."""
    backbone = getattr(model, "backbone", model)
    keys = ("patch_size", "embed_dim", "depth", "depth_token_only", "num_heads")
    for variant in VARIANTS.values():
        same = all(getattr(variant, key) == getattr(backbone, key) for key in keys)
        if same and backbone.image_size == (variant.image_size, variant.image_size):
            return variant.name
    size = "x".join(map(str, backbone.image_size))
    return f"a CaiT of depth {backbone.depth}, width {backbone.embed_dim}, image {size}"


if __name__ == "__main__":  # earlier versions had a command here
    raise SystemExit(
        "cait_tf: -m: got cait_tf.convert, expected a command\n  Write cait-finetune convert source=SOURCE destination=DESTINATION"
    )
