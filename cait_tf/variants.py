"""The CaiT variants, one row each: geometry, training values, accuracies and preprocessing.

Sizes, drop path and LayerScale values are those of the authors' ``cait_models.py``
(facebookresearch/deit). The accuracies are the two published evaluations of the same weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import MappingProxyType

from cait_tf.arguments import image_shape
from cait_tf.errors import CaiTError, near_names

#: The standard deviation of the authors' new kernels.
KERNEL_INIT = 0.02
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of the table.

    ``parameters`` counts the classifier with 1000 classes. ``pretrain_drop_path_rate`` is the
    authors' training value, constant over depth. Fine-tuning usually starts from a lower value.
    ``collection_top1`` and ``timm_top1`` are ImageNet-1k accuracies in percent, measured with crop
    ratio .875 (the SavedModel collection) and 1.0 (timm).
    """

    name: str
    image_size: int
    embed_dim: int
    depth: int
    num_heads: int
    layer_scale_init: float
    pretrain_drop_path_rate: float
    parameters: int
    gmacs: float | None = None
    collection_top1: float | None = None
    collection_top5: float | None = None
    timm_top1: float | None = None
    timm_top5: float | None = None
    patch_size: int = 16
    depth_token_only: int = 2
    mlp_ratio: float = 4.0
    pos_embed_init: float = 0.02
    kernel_init: float = KERNEL_INIT
    crop_pct: float = 1.0
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    published: bool = True
    shipped: bool = False  # the package contains the weights

    def patches(self, image_size: int | Sequence[int] | None = None) -> int:
        """Return the number of patches of an image.

        Args:
            image_size: one side or [height, width], in pixels. `None`: the variant's size.
        """
        size = image_size or self.image_size
        height, width = image_shape(size)
        return (height // self.patch_size) * (width // self.patch_size)

    @property
    def hub_id(self) -> str | None:
        """Hugging Face repository of the weights. `None`: the variant is our own."""
        return f"timm/{self.name}.fb_dist_in1k" if self.published else None

    @property
    def official_url(self) -> str | None:
        """URL of the authors' checkpoint. `None`: the variant is our own."""
        if not self.published:
            return None
        stem = self.name.removeprefix("cait_").upper()
        return f"https://dl.fbaipublicfiles.com/deit/{stem}.pth"


# fmt: off
_ROWS = (
    #       name             size  dim depth heads  LayerScale drop path  parameters  GMACs  collection top-1/5  timm top-1/5
    Variant("cait_xxs24_224", 224, 192, 24,  4, 1e-5, 0.05,  11_956_264,   2.53, 78.524, 94.212, 78.400, 94.326),
    Variant("cait_xxs24_384", 384, 192, 24,  4, 1e-5, 0.05,  12_029_224,   9.63, 80.648, 95.516, 80.954, 95.638),
    Variant("cait_xxs36_224", 224, 192, 36,  4, 1e-5, 0.1,   17_299_720,   3.77, 79.760, 94.876, 79.750, 94.866),
    Variant("cait_xxs36_384", 384, 192, 36,  4, 1e-5, 0.1,   17_372_680,  14.35, 81.976, 96.064, 82.204, 96.148),
    Variant("cait_xs24_384",  384, 288, 24,  6, 1e-5, 0.05,  26_670_088,  19.28, 83.738, 96.756, 84.064, 96.888),
    Variant("cait_s24_224",   224, 384, 24,  8, 1e-5, 0.1,   46_916_200,   9.35, 83.368, 96.576, 83.484, 96.586),
    Variant("cait_s24_384",   384, 384, 24,  8, 1e-5, 0.1,   47_062_120,  32.17, 84.944, 97.212, 85.048, 97.350),
    Variant("cait_s36_384",   384, 384, 36,  8, 1e-6, 0.2,   68_366_632,  47.99, 85.192, 97.372, 85.458, 97.480),
    Variant("cait_m36_384",   384, 768, 36, 16, 1e-6, 0.3,  271_221_352, 173.11, 85.924, 97.598, 86.060, 97.732),
    Variant("cait_m48_448",   448, 768, 48, 16, 1e-6, 0.4,  356_460_520, 329.41, 86.066, 97.590, 86.480, 97.748),
    # Our own variant, for small machines and small data. pretrained/ has its weights. The variant
    # must train fast from random weights, so LayerScale is large and the MLP is narrow. The initial
    # position embedding is large, because patches of a few pixels carry little information without
    # their position. The initial kernels are four times as large as the authors'. With the authors'
    # value the branches of a narrow model are almost constant, and the model hardly learns.
    Variant("cait_nano_32",    32,  96,  2,  2, 0.1,  0.0,     408_064, patch_size=4, mlp_ratio=2.0, pos_embed_init=0.5, kernel_init=0.08, published=False, shipped=True),
)
# fmt: on

VARIANTS: MappingProxyType[str, Variant] = MappingProxyType({row.name: row for row in _ROWS})


def get_variant(name: str) -> Variant:
    """Return the table row of a variant.

    Raises:
        CaiTError: the variant does not exist. The message suggests similar names.
    """
    if name not in VARIANTS:
        raise CaiTError(
            f"model: got {name!r}, expected one of {', '.join(VARIANTS)}{near_names(name, VARIANTS)}"
        )
    return VARIANTS[name]
