"""Raise an error with a reason in TensorFlow's graph, and read the reason of an error."""

from __future__ import annotations

import re

import tensorflow as tf

_MARK = "assertion failed: "  # as TensorFlow begins the message in a graph
_REFUSED = re.compile(rf"{_MARK}\[(.*?)\]")
#: The text around the reason in a TensorFlow error: lines about the graph, a line's prefix and its end.
_AROUND = re.compile(
    r"Graph execution error|Detected at node|<stack traces|\d+ root error|\s*$|\s+\D"
)
_BEFORE = re.compile(r"\{\{function_node .*?\}\} |\s+\(\d+\) [A-Z_]+:\s*")
_BEHIND = re.compile(r"\s*\[Op:\w+\].*")


def refused_unless(condition: tf.Tensor, reason: str | tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Return `tensor` if `condition`, () bool, is true.

    Raises:
        tf.errors.InvalidArgumentError: `condition` is false. `refusal` finds the reason in the message.
    """
    if tf.executing_eagerly():
        if not condition:
            text = tf.convert_to_tensor(reason).numpy().decode()
            raise tf.errors.InvalidArgumentError(None, None, f"{_MARK}[{text}]")
        return tensor
    with tf.control_dependencies([tf.debugging.Assert(condition, [reason])]):
        return tf.identity(tensor)


def refusal(error: tf.errors.OpError) -> str:
    """Return the reason in an error of `refused_unless` or of another operation, as one line."""
    message = str(error.message)
    refused = _REFUSED.search(message)
    if refused:
        return refused[1]
    lines = [_BEHIND.sub("", _BEFORE.sub("", line, count=1)) for line in message.splitlines()] or [
        type(error).__name__
    ]
    return next((line for line in lines if not _AROUND.match(line)), lines[0])
