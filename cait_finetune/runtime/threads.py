"""Choose the number of threads of each TensorFlow operation, before TensorFlow starts."""

from __future__ import annotations

from cait_finetune.config import Config
from cait_tf.fused.tensorflow import micro_batch_count, single_threaded_ops
from cait_tf.variants import Variant


def configure_threads(config: Config, variant: Variant, training: bool = True) -> bool:
    """Give each operation one thread if the micro-batches of every batch keep all cores busy.

    Call the function before anything else uses TensorFlow's devices. The choice holds for the life
    of the process: the first run of a process decides for later runs.

    Args:
        training: whether the process trains. If false, it only evaluates, in float32.

    Returns:
        Whether each operation has one thread.
    """
    train, distribution = config.train, config.distribution
    if (training and train.jit_compile) or distribution.strategy not in ("auto", "cpu"):
        return False
    if distribution.strategy == "auto" and (distribution.devices or 1) > 1:
        return False  # the run uses replicas instead of micro-batches
    patches = variant.patches(config.model.image_size)
    half = training and train.precision != "float32"
    parts = [micro_batch_count(train.eval_batch_size, patches, training=False, half=half)]
    if training:
        own = micro_batch_count(train.batch_size, patches, training=True, half=half)
        parts.append(train.accumulation or own)
    return single_threaded_ops(min(parts))
