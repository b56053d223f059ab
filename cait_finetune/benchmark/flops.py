"""The arithmetic of a model, counted from its sizes."""

from __future__ import annotations

from cait_tf.variants import Variant


def flops(variant: Variant, image_size: int | None = None, num_classes: int = 1000) -> int:
    """Floating-point operations of all matrix products of one image's forward pass.

    A multiplication and an addition count as two; norms, softmax and GELU do not count, as in the
    GMACs that are published; ours has a hundredth less, as class attention forms no keys and values.
    A training step is three times that: the backward pass has two products for each.

    Args:
        image_size: None is the variant's own.
    """
    d, p, n = variant.embed_dim, variant.patch_size, variant.patches(image_size)
    embedding = n * 3 * p * p * d
    # The class token alone asks, is projected and goes through the MLP.
    class_attention = 2 * (n + 1) * d * d + 2 * (n + 1) * d + 2 * d * d + _mlp(variant)
    macs = embedding + variant.depth_token_only * class_attention + d * num_classes
    return 2 * macs + trunk_flops(variant, image_size)


def trunk_flops(variant: Variant, image_size: int | None = None) -> int:
    """Those of the trunk's blocks alone."""
    d, heads, n = variant.embed_dim, variant.num_heads, variant.patches(image_size)
    attention = 2 * n * n * d + 2 * n * n * heads * heads  # QKᵀ and PV, two mixings of heads
    return 2 * variant.depth * (n * (4 * d * d + _mlp(variant)) + attention)


def _mlp(variant: Variant) -> int:
    """Multiplications and additions of one token."""
    return 2 * variant.embed_dim * int(variant.embed_dim * variant.mlp_ratio)
