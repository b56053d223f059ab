"""How the cores of a CPU are shared out: settled before TensorFlow starts."""

from __future__ import annotations

from cait_finetune.config import Config
from cait_tf.tensorflow_kernels import equal_parts, one_thread_each
from cait_tf.variants import Variant


def share_cores(config: Config, variant: Variant, training: bool = True) -> bool:
    """Give each operation one thread where parts of every batch keep all cores busy, side by side.

    Before anything else touches TensorFlow's devices, and for the life of the process: of several runs
    in one the first decides.

    Args:
        training: whether there are batches to train on, too; what is only evaluated is so in float32.

    Returns:
        Whether they have one.
    """
    train, distribution = config.train, config.distribution
    if (training and train.jit_compile) or distribution.strategy not in ("auto", "cpu"):
        return False
    if distribution.strategy == "auto" and (distribution.devices or 1) > 1:
        return False  # replicas instead
    patches = variant.patches(config.model.image_size)
    half = training and train.precision != "float32"
    parts = [equal_parts(train.eval_batch_size, patches, training=False, half=half)]
    if training:
        own = equal_parts(train.batch_size, patches, training=True, half=half)
        parts.append(train.accumulation or own)
    return one_thread_each(min(parts))
