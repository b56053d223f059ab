"""The arithmetic of a model, counted from its sizes."""

from __future__ import annotations

from cait_tf.variants import Variant


def flops(variant: Variant, image_size: int | None = None, num_classes: int = 1000) -> int:
    """Floating-point operations of all matrix products of one image's forward pass.

    A multiplication and an addition count as two; norms, softmax and GELU do not count, as in the
    GMACs that are published. A training step is three times that: the backward pass has two products
    for each.

    Args:
        image_size: None is the variant's own.
    """
    d, heads, p = variant.embed_dim, variant.num_heads, variant.patch_size
    n = ((image_size or variant.image_size) // p) ** 2
    mlp = 2 * d * int(d * variant.mlp_ratio)  # of a token
    embedding = n * 3 * p * p * d
    attention = 2 * n * n * d + 2 * n * n * heads * heads  # QKᵀ and PV, two mixings of heads
    trunk = n * (4 * d * d + mlp) + attention
    # The class token alone asks, is projected and goes through the MLP.
    class_attention = 2 * (n + 1) * d * d + 2 * (n + 1) * d + 2 * d * d + mlp
    macs = embedding + variant.depth * trunk + variant.depth_token_only * class_attention
    return 2 * (macs + d * num_classes)
