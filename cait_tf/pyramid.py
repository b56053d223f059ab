"""A simple feature pyramid on CaiT's patch tokens, for dense heads such as KerasCV's and KerasHub's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from cait_tf.arguments import check_whole, is_whole
from cait_tf.backbone import CaiTBackbone
from cait_tf.errors import CaiTError
from cait_tf.layers import layer_norm

LEVELS = ("P2", "P3", "P4", "P5")


@keras.saving.register_keras_serializable("cait_tf")
class CaiTPyramid(keras.Model):
    """CaiT as feature maps of several resolutions: images (B, h, w, c) to ``{"P2": (B, h/4, w/4, C)}``.

    The maps are those of ViTDet's simple feature pyramid (Li et al. 2022, "Exploring Plain Vision
    Transformer Backbones for Object Detection", https://arxiv.org/abs/2203.16527). The map of the last
    trunk block, after a LayerNorm, is enlarged by transposed convolutions of stride 2 and reduced by
    max-pooling. Each level then has a 1x1 and a 3x3 convolution, each with a LayerNorm. Level ``Pk``
    is 2**k times smaller than the image.

    The model is functional, so that KerasCV and KerasHub can take its levels apart::

        backbone = cait_tf.create_model("cait_s24_224", num_classes=0, weights="hub")
        pyramid = cait_tf.CaiTPyramid(backbone)
        keras_cv.models.DeepLabV3Plus(pyramid, num_classes=21)

    The class-attention stage has no part in the maps: its variables have no gradient.

    Args:
        backbone: its weights are shared, not copied.
        levels: names of the levels, ``P2`` to ``P5``.
        channels: number of channels C of every level, or of each. KerasCV's SegFormer needs different
            numbers.

    Raises:
        CaiTError: a level is unknown or given twice, the numbers of channels are not as many as the
            levels, the patch size is not a power of 2, or the image's sides are not multiples of the
            coarsest level's 2**k.
    """

    def __init__(
        self,
        backbone: CaiTBackbone,
        levels: Sequence[str] = ("P2", "P5"),
        channels: int | Sequence[int] = 256,
        **kwargs: Any,
    ) -> None:
        levels, channels = _checked(backbone, levels, channels)
        backbone.build()
        policy = backbone.dtype_policy
        images = keras.Input((*backbone.image_size, backbone.in_channels), name="images")
        trunk = TrunkMap(backbone, dtype=policy, name="trunk")(images)  # (B, H, W, D)
        trunk = layer_norm("trunk_norm", policy)(trunk)
        maps = {
            level: _level(trunk, level.lower(), _doublings(backbone, level), width, policy)
            for level, width in zip(levels, channels, strict=True)
        }
        super().__init__(inputs=images, outputs=maps, **{"name": "cait_pyramid", **kwargs})
        self.backbone = backbone
        self.levels = tuple(levels)
        self.channels = tuple(channels)
        #: The symbolic map of each level, as KerasHub's heads read them.
        self.pyramid_outputs = maps

    @property
    def pyramid_level_inputs(self) -> dict[str, str]:
        """The name of the layer that returns each level, as KerasCV's heads read them."""
        return {level: level.lower() for level in self.levels}

    @property
    def embedding_dims(self) -> list[int]:
        """The number of channels of each level, under the name that KerasCV's SegFormer reads."""
        return list(self.channels)

    def get_config(self) -> dict:
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "levels": list(self.levels),
            "channels": list(self.channels),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: Mapping | None = None) -> CaiTPyramid:
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        return cls(**{**config, "backbone": backbone})


@keras.saving.register_keras_serializable("cait_tf")
class TrunkMap(keras.layers.Layer):
    """The feature map of a backbone's last trunk block: images (B, h, w, c) to (B, H, W, D)."""

    def __init__(self, backbone: CaiTBackbone, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.backbone = backbone

    def build(self, input_shape: tuple) -> None:
        self.built = True  # the backbone was built before

    def call(self, images: Any, training: bool = False) -> Any:
        return self.backbone.forward_trunk(images, training=training)

    def compute_output_spec(self, images: Any, training: bool = False) -> keras.KerasTensor:
        shape = (images.shape[0], *self.backbone.grid_size, self.backbone.embed_dim)
        return keras.KerasTensor(shape, self.backbone.norm.dtype)

    def get_config(self) -> dict:
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {**super().get_config(), "backbone": backbone}

    @classmethod
    def from_config(cls, config: dict) -> TrunkMap:
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**{**config, "backbone": backbone})


def _level(x: Any, name: str, doublings: int, channels: int, policy: keras.DTypePolicy) -> Any:
    """Return one level (B, h, w, `channels`) of the trunk's map, 2**`doublings` times as large."""
    width = x.shape[-1]
    for step in range(1, doublings + 1):
        width //= 2
        x = keras.layers.Conv2DTranspose(width, 2, 2, dtype=policy, name=f"{name}_up{step}")(x)
        if step < doublings:
            x = layer_norm(f"{name}_up{step}_norm", policy)(x)
            x = keras.layers.Activation("gelu", dtype=policy, name=f"{name}_up{step}_gelu")(x)
    for step in range(1, 1 - doublings):
        x = keras.layers.MaxPooling2D(2, dtype=policy, name=f"{name}_down{step}")(x)
    for size, norm in ((1, f"{name}_conv1_norm"), (3, name)):
        x = keras.layers.Conv2D(
            channels, size, padding="same", use_bias=False, dtype=policy, name=f"{name}_conv{size}"
        )(x)
        x = layer_norm(norm, policy)(x)
    return x


def _doublings(backbone: CaiTBackbone, level: str) -> int:
    """Return how often the trunk's map is doubled for a level. Negative: how often it is halved."""
    return backbone.patch_size.bit_length() - 1 - int(level[1:])


def _checked(
    backbone: CaiTBackbone, levels: Sequence[str], channels: int | Sequence[int]
) -> tuple[list[str], list[int]]:
    """Return the levels and the channels of each, as the constructor describes them."""
    known = f"some of {', '.join(LEVELS)}"
    if isinstance(levels, str) or not levels or len(set(levels)) < len(levels):
        raise CaiTError(f"levels: got {levels!r}, expected {known}, each once")
    if unknown := [level for level in levels if level not in LEVELS]:
        raise CaiTError(f"levels: got {unknown[0]!r}, expected {known}")
    widths = [channels] * len(levels) if is_whole(channels) else list(channels)
    if len(widths) != len(levels):
        raise CaiTError(f"channels: got {len(widths)} numbers, expected {len(levels)}, one a level")
    for width in widths:
        check_whole(channels=width)
    patch = backbone.patch_size
    if patch & (patch - 1):
        raise CaiTError(f"backbone: got patches of {patch} pixels, expected a power of 2")
    coarsest = max(2 ** int(level[1:]) for level in levels)
    if any(side % coarsest for side in backbone.image_size):
        near = "x".join(
            str(max(1, round(side / coarsest)) * coarsest) for side in backbone.image_size
        )
        height, width = backbone.image_size
        raise CaiTError(
            f"image_size: got {height}x{width}, expected multiples of {coarsest} for level "
            f"{max(levels)}, for instance {near}"
        )
    return list(levels), widths
