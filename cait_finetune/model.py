"""Build a model from the configuration: backbone, weights, new head."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

import cait_tf
from cait_finetune.config import HeadConfig, ModelConfig, TuningConfig
from cait_finetune.config.advice import advise
from cait_finetune.config.image_size import check_image_size
from cait_finetune.config.meanings import WEIGHTS, choice_for
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import UserError, bad_value, suggest
from cait_tf import attention_maps, models
from cait_tf.weights import load as weights_files
from cait_tf.weights import official
from cait_tf.weights.assign import column_names
from cait_tf.weights.class_names import repeated_names, some
from cait_tf.weights.stated import PREPARATION, state_preparation, stated_facts

_FAR = 3  # standard deviations, or their ratio, between two sets of numbers with one name
_NEED_A_NETWORK = ("hub", "official")  # values of `model.weights`


def check(config: ModelConfig) -> cait_tf.Variant:
    """Check the model's keys before TensorFlow, data or weights are loaded; return the variant.

    Raises:
        UserError: the variant is unknown, its patch size does not divide the image size, the
            weights do not exist, or a key has no effect with the weights.
    """
    try:
        variant = cait_tf.get_variant(config.name)
    except cait_tf.CaiTError as error:
        raise UserError(f"model.name: {str(error).removeprefix('model: ')}") from error
    check_image_size("model.image_size", config.image_size, variant.name, variant.patch_size)
    weights = config.weights
    if weights in _NEED_A_NETWORK:
        if not variant.published:
            raise bad_value(
                "model.weights",
                weights,
                f"pretrained, none or a file: no weights of {config.name} are published",
            )
    elif weights not in WEIGHTS and not _may_exist(weights):
        meant = choice_for(weights, WEIGHTS)
        raise bad_value(
            "model.weights",
            weights or "nothing",
            "none, pretrained, hub, official, an existing .safetensors, .pth, .weights.h5 or .keras "
            "file or SavedModel directory, or a Hugging Face repository such as "
            "timm/cait_s24_224.fb_dist_in1k",
            f"did you mean {advise('model.weights', meant)}?"
            if meant
            else suggest(weights, WEIGHTS),
        )
    if weights not in WEIGHTS:
        _refuse_run(weights)
    if config.weights_key and not weights.endswith(official.ENDINGS) and weights != "official":
        raise bad_value("model.weights_key", config.weights_key,
                        f"null with {advise('model.weights', weights)}: only PyTorch files have keys")  # fmt: skip
    if repeated := repeated_names(config.weights_class_names or ()):
        raise bad_value("model.weights_class_names", f"{repeated[0]} twice", "a list of different names",
                        "Leave the key out for a file that names its classes")  # fmt: skip
    if config.kernel_init is not None and weights != "none":
        raise bad_value("model.kernel_init", config.kernel_init,
                        f"null with {advise('model.weights', weights)}, which bring all kernels of the blocks")  # fmt: skip
    return variant


def _refuse_run(weights: str) -> None:
    """Refuse the directory of a run or of its SavedModel, which is not read as weights.

    Raises:
        UserError: `weights` is such a directory.
    """
    path = expanded_path("model.weights", weights)
    run = next((one for one in (path, *path.parents[1:2]) if (one / "checkpoints").is_dir()), None)
    if run and path.is_dir():
        best = run / "checkpoints" / "best.safetensors"
        raise bad_value("model.weights", weights, "a file of weights, or a SavedModel of the original "
                        "collection", f"Write {advise('model.weights', best)}")  # fmt: skip


def _may_exist(weights: str) -> bool:
    """Return whether the path exists, or has the form of a hub repository, which is not looked up."""
    return bool(weights) and (
        expanded_path("model.weights", weights).exists() or weights.count("/") == 1
    )


def build(
    config: ModelConfig,
    class_names: Sequence[str],
    precision: str,
    head: HeadConfig | None = None,
    *,
    numbers: bool = False,
    load: bool = True,
) -> cait_tf.CaiTClassifier:
    """Build the classifier and load its weights; ``model.loading_report`` lists their sources.

    Args:
        class_names: classes of the head's columns, in order. If a file names its classes, its
            columns are loaded by name. With `numbers`: names of the targets.
        precision: a value of ``train.precision``.
        head: the head. `None`: a linear one.
        numbers: whether the model is a `cait_tf.CaiTRegressor`.
        load: False: the weights stay random, because the caller assigns others.

    Raises:
        UserError: the weights cannot be downloaded, read or matched.
    """
    cait_tf.use_fused(config.fused)
    chosen = {} if config.kernel_init is None else {"kernel_init": config.kernel_init}
    try:
        return models.build_model(
            config.name,
            **{"num_targets" if numbers else "num_classes": len(class_names)},
            image_size=config.image_size,
            in_channels=config.in_channels,
            drop_path_rate=config.drop_path_rate,
            drop_rate=config.drop_rate,
            attn_drop_rate=config.attn_drop_rate,
            remat=config.remat,
            weights=config.weights if load else None,
            class_names=class_names,
            head=head.name if head else "linear",
            head_options=head.options if head else None,
            pooling=head.pooling if head else "token",
            source_names=config.weights_class_names,
            weights_key=config.weights_key,
            dtype=precision,
            **chosen,
        )
    except (cait_tf.CaiTError, ImportError) as error:
        message = str(error).replace("Set in_channels=", "Set model.in_channels=")
        raise UserError(f"model.{message}") from error


def from_checkpoint(
    config: ModelConfig,
    head: HeadConfig,
    class_names: Sequence[str],
    path: Path,
    numbers: bool = False,
) -> cait_tf.CaiTClassifier:
    """Build the classifier in float32 with the weights of one of the run's checkpoints.

    Args:
        numbers: as for `build`.

    Raises:
        UserError: the file does not exist, is damaged, or is for other classes.
    """
    model = build(config, class_names, "float32", head, numbers=numbers, load=False)
    try:
        report = weights_files.read_into(model, path, class_names)
    except cait_tf.CaiTError as error:
        raise UserError(f"checkpoints: {error}") from error
    check_classes("checkpoints", str(path), report, class_names)
    state_preparation(model, stated_facts(path).get(PREPARATION))
    return model


def check_classes(
    key: str, weights: str, report: cait_tf.LoadingReport, class_names: Sequence[str]
) -> None:
    """Check that every column of the head came from the weights. All commands but training need that.

    Args:
        key: the key that set the weights, for the message.

    Raises:
        UserError: the weights have no head, name no classes, or name other classes.
    """
    match = report.classes
    if match is not None and match.complete:
        return
    wanted = f"a head for the classes of the data: {some(class_names)}"
    if match is None:
        hint = "Name its classes with model.weights_class_names=[…], if it has such a head"
        if column_names(report.unused) and column_names(report.initialised):
            hint = "Set the keys of head to those of the weights, or to score a run, write evaluate run=RUN"
        raise bad_value(
            key, f"{weights}: {'; '.join(report.notes)}", wanted, hint * (key[:5] == "model")
        )
    hint = ""
    if weights == "pretrained":
        hint = "To score a run, write evaluate run=RUN"
    elif key == "model.weights" and match.gone and not match.new and not match.repeated:
        hint = "If the data have only some of the classes, list all in dataset.class_names"
    raise bad_value(key, f"{weights} with other classes, {match.differences()}", wanted, hint)


def adapt(model: cait_tf.CaiTClassifier, tuning: TuningConfig) -> None:
    """Add the variables of the tuning method to the model: LoRA's matrices. Other methods add none.

    Checkpoints hold kernels with merged LoRA matrices, so every checkpoint loads into a plain
    model.

    Raises:
        UserError: `tuning.targets` matches the path of no layer.
    """
    if tuning.method != "lora":
        return
    try:
        model.backbone.enable_lora(tuning.rank, tuning.alpha, tuning.targets)
    except cait_tf.CaiTError as error:
        raise UserError(f"tuning.{error}") from error


def standardise(model: cait_tf.CaiTRegressor, labels: np.ndarray) -> list[str]:
    """Set the mean and the standard deviation of the targets that no file of weights has set.

    Args:
        labels: the numbers of the training split, ``(N, T)``.

    Returns:
        A note on each target whose training numbers are far from those of the weights.
    """
    report, scale = model.loading_report, model.target_scale
    loaded = report.classes.kept if report and report.classes else ()
    keep = np.array([name in loaded for name in model.target_names])  # (T,)
    mean, std = np.array(scale.mean), np.array(scale.std)
    model.adapt(labels)
    own_mean, own_std = np.array(scale.mean), np.array(scale.std)
    scale.set(np.where(keep, mean, own_mean), np.where(keep, std, own_std))
    ratio = np.maximum(own_std / std, std / own_std)
    far = keep & ((ratio > _FAR) | (np.abs(own_mean - mean) > _FAR * np.maximum(std, own_std)))
    return [
        f"the weights' {name} is {mean[column]:.4g} ± {std[column]:.4g}, and that of the training images is "
        f"{own_mean[column]:.4g} ± {own_std[column]:.4g}: if it has another unit, give it another name"
        for column, name in enumerate(model.target_names)
        if far[column]
    ]


class Head(keras.Model):
    """The model's head as a model: the outputs of `Features` to the model's outputs."""

    def __init__(self, classifier: cait_tf.CaiTClassifier) -> None:
        super().__init__(name="features_to_logits", autocast=False)
        self.head = classifier.head
        self.target_scale = getattr(classifier, "target_scale", None)
        self._outputs = classifier.outputs  # a method: Keras would track the classifier's backbone

    def call(self, features: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        return self._outputs(features, training)


class Features(keras.Model):
    """The model without its head: images (B, H, W, c) to features (B, F), or to maps (B, h, w, D)."""

    def __init__(self, classifier: cait_tf.CaiTClassifier) -> None:
        super().__init__(name="images_to_features", autocast=False)
        self.backbone = classifier.backbone
        self._features = classifier.features

    def call(self, images: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        return self._features(images, training=training)


def backbone_facts(model: cait_tf.CaiTClassifier, config: ModelConfig) -> dict[str, str]:
    """Return what the backbone's features depend on besides the images."""
    digest, pooling = hashlib.sha256(), model.backbone.pooling
    for variable in model.backbone.weights:
        digest.update(f"{variable.path} {variable.shape}\n".encode())
        digest.update(np.ascontiguousarray(variable))
    return {
        "model": config.name,
        "precision": model.backbone.dtype_policy.name,
        **({} if pooling == "token" else {"pooling": pooling}),
        "weights": digest.hexdigest(),
    }


def weights_checksum(model: keras.Model) -> str:
    """Return the SHA-256 of the model's weights. Our checkpoints state the same checksum."""
    return weights_files.weights_checksum(model)


def source_checksum(config: ModelConfig) -> str | None:
    """Return the SHA-256 of the values in `model.weights`. `None`: random weights.

    Raises:
        UserError: the weights cannot be downloaded, read or matched.
    """
    report = build(config, ("class",), "float32").loading_report
    return report and report.sha256


def start_checksum(name: str, weights: str) -> str:
    """Return the SHA-256 of a run's start: the variant, and the values of its pretrained weights.

    Args:
        weights: ``none`` or ``pretrained``.

    Raises:
        UserError: the weights cannot be downloaded.
    """
    variant = cait_tf.get_variant(name)
    digest = hashlib.sha256(repr(variant).encode())
    if weights != "none":
        try:
            backbone = models.build_model(name, num_classes=0, weights=weights)
        except (cait_tf.CaiTError, ImportError) as error:
            raise UserError(f"model.{error}") from error
        digest.update(backbone.loading_report.sha256.encode())
    return digest.hexdigest()


def published_accuracy(
    variant: cait_tf.Variant, image_size: tuple[int, int], crop_pct: float
) -> tuple[float | None, float | None]:
    """Return the published ImageNet-1k top-1 and top-5 in percent.

    Values exist for the variant's image size with crop ratio 1.0 or 0.875; otherwise both are
    `None`.
    """
    own = image_size == (variant.image_size, variant.image_size)
    if own and crop_pct == 1.0:
        return variant.timm_top1, variant.timm_top5
    if own and crop_pct == 0.875:
        return variant.collection_top1, variant.collection_top5
    return None, None


def saliency(model: cait_tf.CaiTClassifier, images: np.ndarray) -> np.ndarray:
    """Return the class saliency map of each image: ``(B, H, W)``, from 0 to 1."""
    _, attention = model(images, return_attention=True)
    backbone = model.backbone
    maps = attention_maps.class_saliency_map(attention, backbone.grid_size)
    return attention_maps.upsample(maps, backbone.image_size).clip(0, 1)
