"""Faster forms of the plain formulas in the model's files.

The model's files use only `implementation`. The submodule `tensorflow` uses XLA and oneDNN,
and `jax` mixes few heads as a sum, which XLA fuses. `portable` makes fewer passes over memory, on
both backends. Tests compare every form with the plain formulas. This module imports no backend.
"""

from __future__ import annotations

import importlib
from types import ModuleType, TracebackType
from typing import Any

_BACKENDS = ("tensorflow", "jax")
_enabled = [True]


class use_fused:
    """Turn the fused operations on or off for everything that is traced later.

    As a context manager it restores the setting at the end of the block::

        with cait_tf.use_fused(False):
            logits = model(images)  # the plain formulas
    """

    def __init__(self, enabled: bool = True) -> None:
        self._before = _enabled[0]
        _enabled[0] = enabled

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _enabled[0] = self._before


def fused_enabled() -> bool:
    """Whether `use_fused` left the fused operations on."""
    return _enabled[0]


def implementation() -> ModuleType | None:
    """The blocks' fused implementation on Keras' backend; `None`: the plain formulas.

    The module has ``self_attention_block(block, x, factors, training)`` and
    ``class_attention_block(block, cls, patches, training)``.
    """
    import keras

    backend = keras.backend.backend()
    if not _enabled[0] or backend not in _BACKENDS:
        return None
    return importlib.import_module(f"cait_tf.fused.{backend}")


def infer(model: Any, images: Any) -> Any:
    """Return ``model(images, training=False)`` by TensorFlow's fastest path: `micro_batches`."""
    from cait_tf.fused.micro_batches import infer as run

    return run(model, images)
