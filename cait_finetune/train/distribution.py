"""From the configuration to a `tf.distribute` strategy."""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.config import DistributionConfig
from cait_finetune.errors import bad_value


def build_strategy(config: DistributionConfig) -> tf.distribute.Strategy:
    """One device: the first GPU if there is one and it is allowed, else the CPU.

    Raises:
        UserError: a GPU was asked for and TensorFlow sees none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if config.device == "gpu" and not gpus:
        raise bad_value(
            "distribution",
            "gpu",
            "a GPU that TensorFlow can use, and it sees none",
            "install the CUDA libraries with pip install 'cait-finetune[gpu]', or use "
            "distribution=cpu",
        )
    if gpus and config.device != "cpu":
        return tf.distribute.OneDeviceStrategy("/gpu:0")
    return tf.distribute.OneDeviceStrategy("/cpu:0")
