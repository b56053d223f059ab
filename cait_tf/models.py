"""Create models by name."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cait_tf.backbone import CaiTBackbone
from cait_tf.classifier import CaiTClassifier
from cait_tf.errors import WeightsError
from cait_tf.heads import OF_PATCHES
from cait_tf.regressor import CaiTRegressor
from cait_tf.segmenter import CaiTSegmenter
from cait_tf.variants import Variant, get_variant
from cait_tf.weights import official, shipped
from cait_tf.weights.cautions import cautions
from cait_tf.weights.load import read_into
from cait_tf.weights.stated import PREPARATION, state_preparation, stated_facts

logger = logging.getLogger(__name__)


def build_model(
    name: str,
    num_classes: int = 1000,
    image_size: int | Sequence[int] | None = None,
    drop_path_rate: float = 0.0,
    weights: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    source_names: Sequence[str] | None = None,
    weights_key: str | None = None,
    num_targets: int = 0,
    **kwargs: Any,
) -> CaiTClassifier | CaiTBackbone:
    """Create a published variant, or ``cait_nano_32``.

    `create_model` also warns of columns of the head that keep their initial values, and of weights
    whose training images had another size or another preparation than `cait_tf.preprocess`'s.

    Args:
        name: a key of `cait_tf.VARIANTS`.
        num_classes: number of classes. 0: return a `CaiTBackbone`, a feature extractor.
        image_size: one side or [height, width], in pixels; multiples of the variant's patch size.
            The position embedding of the weights is resampled to this size. `None`: the variant's
            size.
        drop_path_rate: stochastic-depth rate, the same for every trunk block.
        weights: `None` or ``"none"``: random weights. ``"pretrained"``: the weights in this
            package, which only `cait_nano_32` has, or else those of the hub. ``"hub"``: timm's
            weights on the Hugging Face Hub. ``"official"``: the authors' ``.pth``. Or any source
            that `load_weights` takes. ``model.loading_report`` has the loading report.
        class_names: names of the head's columns, in order. If given, this call and later calls of
            `load_weights` match the head's columns by name. ``model.class_names`` has the names.
        source_names: names of the source's columns, as in `load_weights`.
        weights_key: key of a state dict in a PyTorch checkpoint, as in `load_weights`.
        num_targets: number of targets. Above 0: return a `CaiTRegressor`, which ignores
            `num_classes`. `class_names` are then the names of the targets.
        **kwargs: further arguments of `CaiTClassifier` and `CaiTBackbone`, such as ``head="mlp"`` or
            ``dtype="mixed_bfloat16"``. ``head="linear_segmentation"``: return a `CaiTSegmenter`.

    Raises:
        CaiTError: the name is unknown, or the model refuses a value.
        WeightsError: the weights cannot be found, downloaded, read or matched.
    """
    variant = get_variant(name)
    config = {
        "image_size": variant.image_size if image_size is None else image_size,
        "patch_size": variant.patch_size,
        "embed_dim": variant.embed_dim,
        "depth": variant.depth,
        "depth_token_only": variant.depth_token_only,
        "num_heads": variant.num_heads,
        "mlp_ratio": variant.mlp_ratio,
        "layer_scale_init": variant.layer_scale_init,
        "pos_embed_init": variant.pos_embed_init,
        "kernel_init": variant.kernel_init,
        "drop_path_rate": drop_path_rate,
        "name": name,
        **kwargs,
    }
    if num_targets:
        model = CaiTRegressor(num_targets, class_names, **config)
    elif num_classes:
        headed = CaiTSegmenter if config.get("head") in OF_PATCHES else CaiTClassifier
        model = headed(num_classes, class_names, **config)
    else:
        model = CaiTBackbone(**config)
    if not model.built:
        model.build()
    model.loading_report = None
    if weights is not None and weights != "none":
        model.loading_report = read_into(
            model, locate_weights(variant, weights), class_names, source_names, weights_key
        )
    return model


@functools.wraps(build_model, assigned=("__doc__",))
def create_model(name: str, *arguments: Any, **keywords: Any) -> CaiTClassifier | CaiTBackbone:
    model = build_model(name, *arguments, **keywords)
    if report := model.loading_report:
        state_preparation(model, stated_facts(report.source).get(PREPARATION))
        for caution in cautions(report):
            logger.warning("%s", caution)
    return model


def locate_weights(variant: Variant, weights: str | Path) -> str | Path:
    """Resolve ``"pretrained"``, ``"hub"`` and ``"official"``; return any other value unchanged.

    ``"official"`` downloads the checkpoint. For the hub the result is the name of the repository.

    Raises:
        WeightsError: the variant has no published weights, or the checkpoint cannot be downloaded.
    """
    if weights == "pretrained" and (file := shipped.weights_of(variant)):
        return file
    if weights not in ("pretrained", "hub", "official"):
        return weights
    hub_id, official_url = variant.hub_id, variant.official_url
    if hub_id is None or official_url is None:
        raise WeightsError(
            f"weights: got {weights!r}, but {variant.name} has no published weights; expected "
            "pretrained, none, or a file"
        )
    return official.download(official_url) if weights == "official" else hub_id
