"""CaiT with a head for semantic segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from cait_tf.classifier import CaiTClassifier
from cait_tf.errors import CaiTError
from cait_tf.heads import OF_PATCHES
from cait_tf.keras_ops import ops


@keras.saving.register_keras_serializable("cait_tf")
class CaiTSegmenter(CaiTClassifier):
    """CaiT with a head for patches: normalised images (B, h, w, c) to logits (B, h, w, C), float32.

    The head reads the feature map of the last trunk block. Bilinear interpolation enlarges its logits
    from the patch grid to the image, as in DINOv2's protocol::

        model = CaiTSegmenter(3, ["sky", "road", "car"], image_size=64, embed_dim=96, depth=3, num_heads=2)

    The class-attention stage does not run. Its variables stay in the model, so that weights of a
    classifier load by name, and back (`unused`).

    Args:
        num_classes: number of classes C.
        class_names: names of the classes, in order, as for `CaiTClassifier`.
        head: a key of `cait_tf.heads.OF_PATCHES`: ``linear_segmentation``.
        head_options: options of the head. `None`: the defaults.

    Raises:
        CaiTError: an argument has a wrong type or range, as for `CaiTClassifier`.
    """

    HEADS = OF_PATCHES

    def __init__(
        self,
        num_classes: int = 21,
        class_names: Sequence[str] | None = None,
        head: str = "linear_segmentation",
        head_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "cait_segmenter")
        if kwargs.get("pooling", "token") != "token":
            raise CaiTError(
                f"pooling: got {kwargs['pooling']!r}, expected 'token': a segmenter has no pooled features"
            )
        super().__init__(num_classes, class_names, head, head_options, **kwargs)

    @property
    def feature_shape(self) -> tuple[int | None, ...]:
        """The shape of the head's input, as for `CaiTClassifier`: ``(None, h, w, D)``."""
        return (None, *self.backbone.grid_size, self.backbone.embed_dim)

    def features(self, images: Any, return_attention: bool = False, training: bool = False) -> Any:
        """Return the feature maps ``(B, h, w, D)`` of the last trunk block.

        With `return_attention`: the feature maps, and the attention maps of the trunk's blocks.
        """
        return self.backbone.forward_trunk(images, return_attention, training)

    def outputs(self, features: Any, training: bool = False) -> Any:
        """Return logits ``(B, H, W, C)`` of the image's pixels for feature maps ``(B, h, w, D)``."""
        logits = super().outputs(features, training)  # (B, h, w, C)
        return ops.image.resize(
            logits, self.backbone.image_size, "bilinear", data_format="channels_last"
        )

    def unused(self, path: str) -> bool:
        """Return whether the variable at `path` has no effect: it belongs to the class-attention stage."""
        own = self.backbone.pos_embed.path.removesuffix("pos_embed")
        rest = path.removeprefix(own)
        return rest != path and rest.startswith(("cls_token", "blocks_token_only_", "norm/"))
