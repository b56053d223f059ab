"""The collection: twenty SavedModels with the original collection's signature (sayakpaul/cait/1).

The collection has each of the ten published variants twice: as a classifier, and as a feature
extractor named ``…_fe``. ``serving_default`` takes normalised images ``(None, S, S, 3)``. The
signature returns

- ``output_1``: logits (None, 1000), or features (None, D),
- ``output_2_sa_ffn_block_{i}_att`` (None, H, N, N): the trunk's attention,
- ``output_3_ca_ffn_block_{j}_att`` (None, H, 1, 1+N): the class token's attention.

A call ``model(images, training=False)`` returns a tuple of the output and two dictionaries of
attention tensors. The checkpoint in the SavedModel has the variable names of the original
collection.
"""

from __future__ import annotations

import dataclasses
import shutil
import tarfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from cait_tf import imagenet
from cait_tf.atomic import atomic_path, write_text
from cait_tf.errors import CaiTError
from cait_tf.memory import peak_memory
from cait_tf.quiet import quiet_imports
from cait_tf.variants import VARIANTS, Variant, get_variant
from cait_tf.weights.class_names import match_classes, some

_TOLERANCE = 1e-4
_SUFFIX = "_fe"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One SavedModel of the collection."""

    variant: Variant
    feature_extractor: bool

    @property
    def name(self) -> str:
        """Name in the collection, such as ``cait_s24_224_fe``."""
        return self.variant.name + _SUFFIX * self.feature_extractor


ENTRIES = tuple(
    Entry(variant, feature_extractor)
    for variant in VARIANTS.values()
    if variant.published
    for feature_extractor in (False, True)
)


def entry(name: str, feature_extractor: bool = False) -> Entry:
    """Return the entry for a variant's name or for a name in the collection (``…_fe``).

    Args:
        name: ``cait_s24_224`` or ``cait_s24_224_fe``, for instance.
        feature_extractor: return the feature extractor even if `name` has no ``_fe``.

    Raises:
        CaiTError: the variant does not exist.
    """
    stem = name.removesuffix(_SUFFIX)
    return Entry(get_variant(stem), feature_extractor or stem != name)


def write_saved_model(model: Any, directory: str | Path) -> None:
    """Write a `CaiTClassifier` or `CaiTBackbone` as a SavedModel of the collection.

    The write is atomic. The SavedModel states the model's class names. ``serving_default`` and the
    SavedModel's call share one traced function.

    Raises:
        CaiTError: Keras runs on another backend than TensorFlow, the model does not compute in
            float32, the model has a head that is not linear, takes images of other than 3 channels, is a
            regressor, or has LoRA updates. To merge the updates, save the weights and load them into a
            model without LoRA.
    """
    import keras

    from cait_tf.lora import has_lora

    if keras.backend.backend() != "tensorflow":
        raise CaiTError(
            f"KERAS_BACKEND: got {keras.backend.backend()}, expected tensorflow to write a SavedModel"
        )
    backbone = getattr(model, "backbone", model)
    if backbone.compute_dtype != "float32":
        raise CaiTError(f"dtype: got {backbone.dtype_policy.name}, expected float32")

    if hasattr(model, "target_scale"):
        raise CaiTError(
            "model: got a regressor, expected a classifier or a feature extractor, as in every "
            "SavedModel of the collection\n  Write another format, such as .keras."
        )
    if backbone.in_channels != 3:
        raise CaiTError(
            f"model: got a model of images with {backbone.in_channels} channels, expected 3, as in "
            "every SavedModel of the collection\n  Write another format, such as .keras."
        )
    kind = getattr(model, "head_kind", None)
    if kind not in ("linear", None) or backbone.pooling != "token":
        got = (
            f"head={kind} and pooling={backbone.pooling}" if kind else f"pooling={backbone.pooling}"
        )
        hint = ", or a feature extractor" if backbone.pooling == "token" else ""
        raise CaiTError(
            f"model: got a model with {got}, expected a linear head on the class token, as in every "
            f"SavedModel of the collection\n  Write another format, such as .keras{hint}"
        )
    if has_lora(model):
        raise CaiTError(
            "model: got a model with LoRA, expected one without\n"
            "  Save its weights, and load them into a model without LoRA."
        )

    import tensorflow as tf

    from cait_tf.weights.assign import parameters
    from cait_tf.weights.collection import add_class_names, attach

    spec = tf.TensorSpec((None, *backbone.image_size, 3), tf.float32, name="input_1")

    @tf.function(input_signature=[spec], autograph=False)
    def forward(images: tf.Tensor) -> tuple:
        output, maps = model(images, return_attention=True, training=False)
        trunk = {name: tensor for name, tensor in maps.items() if name.startswith("sa_")}
        return output, trunk, {name: tensor for name, tensor in maps.items() if name not in trunk}

    @tf.function(input_signature=[spec], autograph=False)
    def serving_default(input_1: tf.Tensor) -> dict[str, tf.Tensor]:
        output, trunk, class_attention = forward(input_1)
        return {
            "output_1": output,
            **{f"output_2_{name}": tensor for name, tensor in trunk.items()},
            **{f"output_3_{name}": tensor for name, tensor in class_attention.items()},
        }

    module: Any = tf.Module

    class Published(module):
        # TensorFlow Hub's KerasLayer reads these lists. They replace tf.Module's read-only
        # properties.
        variables = trainable_variables = regularization_losses = ()

        @tf.function(autograph=False)
        def __call__(self, inputs: tf.Tensor, training: bool = False) -> tuple:
            return forward(inputs)

    published: Any = Published()
    variables = {name: variable.value for name, variable in parameters(model).items()}
    attach(published, variables)
    published.variables = list(variables.values())
    published.trainable_variables = list(variables.values())
    published.regularization_losses = []
    for training in (False, True):
        published.__call__.get_concrete_function(spec, training=training)

    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(directory) as partial:
        tf.saved_model.save(published, str(partial), signatures=serving_default)
        if names := getattr(model, "class_names", None):
            add_class_names(partial, names)


def largest_difference(model: Any, directory: str | Path) -> float:
    """Return the largest difference between the outputs of a SavedModel and of `model` on noise."""
    images, outputs = outputs_on_noise(model)
    return compare(images, outputs, directory)


def outputs_on_noise(
    model: Any, attention: bool = True
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a noise image ``(1, h, w, c)`` and the model's outputs by the collection's names.

    Args:
        attention: return the attention tensors as well.
    """
    from cait_tf.keras_ops import ops

    backbone = getattr(model, "backbone", model)
    shape = (1, *backbone.image_size, backbone.in_channels)
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    output, maps = model(images, return_attention=True) if attention else (model(images), {})
    outputs = {"output_1": ops.convert_to_numpy(output)}
    for name, tensor in maps.items():
        number = 2 if name.startswith("sa_") else 3
        outputs[f"output_{number}_{name}"] = ops.convert_to_numpy(tensor)
    return images, outputs


def compare(images: np.ndarray, wanted: dict[str, np.ndarray], directory: str | Path) -> float:
    """Return the largest difference between `wanted` and the outputs of a SavedModel.

    Args:
        images: ``(1, h, w, 3)`` float32.
        wanted: the expected outputs by name.
        directory: a SavedModel of the collection.

    Raises:
        CaiTError: the SavedModel's outputs have other names.
    """
    import tensorflow as tf

    served = tf.saved_model.load(str(directory)).signatures["serving_default"](
        input_1=tf.constant(images)
    )
    if set(served) != set(wanted):
        raise CaiTError(f"{directory}: got outputs {sorted(served)}, expected {sorted(wanted)}")
    return max(
        float(np.abs(np.asarray(served[name]) - output).max()) for name, output in wanted.items()
    )


def create(entry: Entry, weights: str) -> Any:
    """Create the model of an entry. ``{name}`` in `weights` stands for the variant's name.

    Raises:
        CaiTError: the weights cannot be found or read, are for other classes than ImageNet-1k's, or
            have no head for the classifier.
    """
    from cait_tf.models import create_model, locate_weights
    from cait_tf.weights.load import stated_class_names

    name = entry.variant.name
    classes = 0 if entry.feature_extractor else 1000
    weights = weights.replace("{name}", name)
    stated = None
    if weights != "none":
        stated = stated_class_names(locate_weights(entry.variant, weights))
        match = match_classes(stated, imagenet.class_names())
        if match is not None and not match.complete:
            raise CaiTError(
                f"weights: got {weights}, which names {len(match.theirs):,} classes ({some(match.theirs)}), "
                "expected ImageNet-1k's, as the page of the collection says; cait-finetune convert "
                "converts a model of other classes"
            )
    names = imagenet.class_names() if stated and classes else None
    model = create_model(name, classes, weights=weights, class_names=names)
    if model.loading_report and model.loading_report.initialised:
        raise CaiTError(
            f"weights: got {weights}, which has no head for {classes} classes, expected such a "
            "head, or a feature extractor; cait_tf.convert converts a model with another head"
        )
    return model


def build(entry: Entry, weights: str, out: Path) -> float:
    """Write the SavedModel and its page to ``out/NAME/``, and both into ``out/NAME.tar.gz``.

    The page is ``README.md``.

    Returns:
        The largest difference between the outputs of the written model and of the model in memory.

    Raises:
        CaiTError: the weights cannot be found or read, or that difference is above 1e-4.
    """
    import keras

    from cait_tf.model_page import model_page

    model = create(entry, weights)
    report = model.loading_report
    directory = out / entry.name
    write_saved_model(model, directory)
    images, outputs = outputs_on_noise(model)
    # Free the model first: the attention of a large model needs much memory by itself.
    del model
    keras.utils.clear_session()
    difference = compare(images, outputs, directory)
    if not difference <= _TOLERANCE:
        shutil.rmtree(directory)
        raise CaiTError(
            f"{entry.name}: the written model differs by {difference:.1e}, expected at most "
            f"{_TOLERANCE:.0e}"
        )
    page = model_page(entry.variant, entry.feature_extractor, report)
    write_text(directory / "README.md", page)
    _archive(directory, out / f"{entry.name}.tar.gz")
    return difference


def _build(entry: Entry, weights: str, out: Path) -> tuple[float, int] | None:
    """Build an entry; return the difference and the process's peak memory in bytes.

    Returns:
        `None`: the entry is up to date.
    """
    with quiet_imports():
        import keras  # noqa: F401  loads the backend, which logs to stderr
    if is_built(entry, weights, out):
        return None
    difference = build(entry, weights, out)
    return difference, peak_memory()


def is_built(entry: Entry, weights: str, out: Path) -> bool:
    """Whether the archive of an entry exists and its page states the checksum of `weights`.

    Random weights (``"none"``) have no checksum: the result is `False`.

    Raises:
        CaiTError: the weights cannot be found or read.
    """
    from cait_tf.models import locate_weights
    from cait_tf.weights.checksum import checksum
    from cait_tf.weights.load import read_weights

    page = out / entry.name / "README.md"
    if not (page.is_file() and (out / f"{entry.name}.tar.gz").is_file()) or weights == "none":
        return False
    source = locate_weights(entry.variant, weights.replace("{name}", entry.variant.name))
    tensors = read_weights(source).tensors
    return checksum(tensors) in page.read_text(encoding="utf-8")


def _archive(directory: Path, path: Path) -> None:
    """Pack the SavedModel's files at the top level of a ``.tar.gz``, as model hubs expect."""
    # Weights hardly compress, so use the fastest level.
    with (
        atomic_path(path) as partial,
        tarfile.open(partial, "w:gz", compresslevel=1) as archive,
    ):
        for file in sorted(directory.iterdir()):
            archive.add(file, arcname=file.name)


def build_many(entries: Iterable[Entry], weights: str, out: str | Path) -> None:
    """Build the entries that are missing in `out` or have other weights there. Show a progress bar.

    Args:
        weights: as for `create`.

    Raises:
        CaiTError: an entry cannot be built. Earlier entries are kept, and the next call skips them.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    out = Path(out)
    entries = list(entries)
    console = Console(soft_wrap=True, highlight=False)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(entries))
        for entry in entries:
            progress.update(task, description=entry.name)
            started = time.perf_counter()
            # TensorFlow keeps freed memory in fragments too small for the next model. The end of a
            # process returns the memory to the system.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                built = process.submit(_build, entry, weights, out).result()
            if built is None:
                console.print(f"{entry.name}: exists, skipped")
            else:
                difference, memory = built
                console.print(
                    f"{entry.name}: written, largest difference {difference:.1e}; "
                    f"{time.perf_counter() - started:.0f} s, at most {memory / 1e9:.1f} GB of memory"
                )
            progress.advance(task)


if __name__ == "__main__":  # earlier versions had a command here
    raise SystemExit(
        "cait_tf: -m: got cait_tf.collection, expected a command\n  Write cait-finetune collection names=[NAME,NAME]"
    )
