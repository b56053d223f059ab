"""How a run shares out the cores of a CPU: settled before TensorFlow starts."""

from __future__ import annotations

from cait_finetune.config import Config
from cait_tf.tensorflow_kernels import equal_parts, one_thread_each
from cait_tf.variants import Variant


def share_cores(config: Config, variant: Variant) -> bool:
    """Give each operation one thread where parts of the batch keep every core busy, side by side.

    Before anything else touches TensorFlow's devices.

    Returns:
        Whether they have one.
    """
    train, distribution = config.train, config.distribution
    if train.jit_compile or distribution.strategy not in ("auto", "cpu"):
        return False
    if distribution.strategy == "auto" and (distribution.devices or 1) > 1:
        return False  # replicas instead
    size = config.model.image_size or variant.image_size
    patches = (size // variant.patch_size) ** 2
    return one_thread_each(
        train.accumulation or equal_parts(train.batch_size, patches, training=True)
    )
