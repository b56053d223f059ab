"""Adapt the patch embedding of RGB weights to images with another number of channels."""

from __future__ import annotations

import numpy as np

from cait_tf.errors import WeightsError

#: The kernel of the patch embedding, by timm name: ``(p, p, channels, D)`` in Keras layout.
PATCH_KERNEL = "patch_embed.proj.weight"
_RGB = 3


def adapt_channels(tensors: dict[str, np.ndarray], channels: int, source: str) -> bool:
    """Replace the kernel in `tensors` by one of `channels` channels, and return whether it changed.

    Args:
        tensors: arrays in Keras layout by timm name.
        channels: channels of the model's images.
        source: name of the tensors' source, for messages.

    Raises:
        WeightsError: the kernel has neither 3 nor `channels` channels.
    """
    kernel = tensors.get(PATCH_KERNEL)
    if kernel is None or kernel.ndim != 4 or kernel.shape[2] == channels:
        return False
    if kernel.shape[2] != _RGB:
        wanted = (
            "3 channels"
            if channels == _RGB
            else f"{channels} channel{'s' * (channels != 1)}, or of 3, which are adapted"
        )
        own = f"{kernel.shape[2]} channel{'s' * (kernel.shape[2] != 1)}"
        raise WeightsError(
            f"weights: got {source}, whose patch embedding has {own}, expected "
            f"weights of {wanted}\n"
            f"  Set in_channels={kernel.shape[2]}, or choose other weights."
        )
    tensors[PATCH_KERNEL] = adapted_kernel(kernel, channels)
    return True


def adapted_kernel(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Return an RGB kernel ``(p, p, 3, D)`` for `channels` channels.

    One channel gets the sum of red, green and blue. More channels get red, green and blue in turn,
    times 3 / `channels`. Source: timm's ``adapt_input_conv`` (timm/models/_manipulate.py).
    """
    if channels == _RGB:
        return kernel
    if channels == 1:
        return kernel.astype("float32").sum(axis=2, keepdims=True).astype(kernel.dtype)
    repeats = -(-channels // _RGB)
    repeated = np.tile(kernel.astype("float32"), (1, 1, repeats, 1))[:, :, :channels]
    return (repeated * (_RGB / channels)).astype(kernel.dtype)
