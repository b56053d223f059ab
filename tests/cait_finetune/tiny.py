"""Shared test inputs: a tiny real model, a batch, and an optimizer configuration."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import cait_tf
from cait_finetune.config import OptimizerConfig

GOLDEN = Path(__file__).parents[1] / "golden"
CLASSES = 7

#: Parameters with a true gradient of zero, because the softmax cancels them. Adam turns their
#: rounding noise into full steps, so no two implementations agree on them.
NO_GRADIENT = ("proj_l/bias", "k/bias", "qkv/bias")


def golden_model() -> cait_tf.CaiTClassifier:
    """Return the model of the golden files, with their weights."""
    model = cait_tf.CaiTClassifier(
        CLASSES,
        image_size=64,
        patch_size=16,
        embed_dim=96,
        depth=3,
        depth_token_only=2,
        num_heads=2,
    )
    model.build()
    cait_tf.load_weights(model, GOLDEN / "weights_timm.safetensors")
    return model


def tiny_model(num_classes: int = CLASSES, seed: int = 0, **kwargs) -> cait_tf.CaiTClassifier:
    """Return a 32-pixel model of two trunk and two class-attention blocks, with seeded weights."""
    keras.utils.set_random_seed(seed)
    config = {
        "image_size": 32,
        "patch_size": 16,
        "embed_dim": 48,
        "depth": 2,
        "depth_token_only": 2,
        "num_heads": 2,
        "layer_scale_init": 0.5,
    }
    model = cait_tf.CaiTClassifier(num_classes, **{**config, **kwargs})
    model.build()
    return model


def batch(size: int = 8, seed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Return seeded noise images (B, 32, 32, 3) float32 and labels (B,) int64."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(size, 32, 32, 3)).astype("float32")
    return tf.constant(images), tf.constant(rng.integers(0, CLASSES, size), tf.int64)


def optimizer_config(**changes: Any) -> OptimizerConfig:
    """Return an AdamW configuration with a base learning rate of 1e-3, and the given `changes`."""
    values = {
        "name": "adamw",
        "base_lr": 1e-3,
        "weight_decay": 0.05,
        "layer_decay": 0.75,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-8,
        "momentum": 0.9,
        "nesterov": False,
    }
    return OptimizerConfig(**{**values, **changes})


def one_device() -> tf.distribute.Strategy:
    """Return the strategy of ``distribution=cpu``."""
    return tf.distribute.OneDeviceStrategy("/cpu:0")


def snapshot(model: keras.Model) -> dict[str, np.ndarray]:
    """Return a copy of every variable, by path."""
    return {variable.path: np.array(variable) for variable in model.weights}
