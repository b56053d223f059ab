"""The page of a model in the collection, in Markdown."""

from __future__ import annotations

from cait_tf.variants import Variant
from cait_tf.weights.report import LoadingReport

_PAGE = """\
# {name}

{what}

| | |
|---|---|
| input | normalised images, `(batch, {size}, {size}, 3)` float32 |
| `output_1` | {output} |
| `output_2_sa_ffn_block_{{0…{last_trunk}}}_att` | self-attention of the trunk, `(batch, {heads}, {patches}, {patches})` |
| `output_3_ca_ffn_block_{{0…{last_class}}}_att` | class attention, `(batch, {heads}, 1, 1 + {patches})` |
| parameters of the classifier | {parameters:,} |
{accuracies}
Weights: {weights}.

## Use

```python
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
image = image.resize(({size}, {size}), Image.Resampling.BICUBIC)
mean, std = np.array({mean}), np.array({std})
batch = ((np.asarray(image) / 255 - mean) / std)[None].astype("float32")

model = tf.saved_model.load("{name}")
outputs = model.signatures["serving_default"](input_1=tf.constant(batch))
{use}
attention = outputs["output_3_ca_ffn_block_0_att"]  # (1, {heads}, 1, 1 + {patches})
```

In Keras 3: `keras.layers.TFSMLayer("{name}", call_endpoint="serving_default")`. Dropout and drop path
are off, also with `training=True`.

## Source

Touvron et al., [Going deeper with Image Transformers](https://arxiv.org/abs/2103.17239), ICCV 2021{origin}.
"""

_ORIGIN = """;
the published weights are those of [facebookresearch/deit](https://github.com/facebookresearch/deit),
trained on ImageNet-1k with distillation"""

_ACCURACIES = """\
| ImageNet-1k top-1 / top-5 of the published weights, crop .875 | {collection_top1} / {collection_top5} |
| ImageNet-1k top-1 / top-5 of the published weights, crop 1.0 | {timm_top1} / {timm_top5} |
"""


def model_page(
    variant: Variant, feature_extractor: bool, report: LoadingReport | None = None
) -> str:
    """Return the page of a model: architecture, inputs, outputs, usage, and source of the weights.

    The page states accuracies only for published weights. It states none if the position embedding
    was resampled to another image size, because that accuracy has not been measured.

    Args:
        feature_extractor: whether the model has no head.
        report: the loading report of the weights. `None`: the weights are random.
    """
    published = report is not None and variant.published and not report.resampled
    patches = variant.patches()
    kind = "feature extractor" if feature_extractor else "ImageNet-1k classifier"
    return _PAGE.format(
        name=variant.name + ("_fe" if feature_extractor else ""),
        what=f"CaiT (Class-Attention in Image Transformers), {kind}: {variant.depth} trunk blocks "
        f"and {variant.depth_token_only} class-attention blocks of width {variant.embed_dim}.",
        size=variant.image_size,
        output=f"features, `(batch, {variant.embed_dim})`"
        if feature_extractor
        else "logits, `(batch, 1000)`",
        last_trunk=variant.depth - 1,
        last_class=variant.depth_token_only - 1,
        heads=variant.num_heads,
        patches=patches,
        parameters=variant.parameters,
        accuracies=_ACCURACIES.format(**vars(variant)) if published else "",
        weights=f"{report}; SHA-256 `{report.sha256}`"
        if report
        else "random; this model has not been trained",
        origin=_ORIGIN if published else "",
        mean=list(variant.mean),
        std=list(variant.std),
        use=f'features = outputs["output_1"]  # (1, {variant.embed_dim})'
        if feature_extractor
        else 'probabilities = tf.nn.softmax(outputs["output_1"])  # (1, 1000)',
    )
