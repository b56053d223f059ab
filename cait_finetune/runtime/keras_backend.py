"""Keras on TensorFlow, whatever the environment asks for: the training step is TensorFlow's."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from cait_finetune.errors import bad_value
from cait_tf.places import home

_VARIABLE, _OURS = "KERAS_BACKEND", "tensorflow"


def use_tensorflow() -> None:
    """Have Keras run on TensorFlow. A line says so where the user asked for another backend.

    Raises:
        UserError: this process has loaded Keras on another backend already.
    """
    if "keras" in sys.modules:
        import keras

        loaded = keras.config.backend()
        if loaded != _OURS:
            raise bad_value(
                _VARIABLE,
                f"{loaded}, on which this process has loaded Keras",
                _OURS,
                f"Set {_VARIABLE}={_OURS} before the program imports keras.",
            )
        return
    asked = _asked()
    os.environ[_VARIABLE] = _OURS
    if asked:
        print(f"Keras  runs on {_OURS}: {asked} has no effect here", file=sys.stderr)


def _asked() -> str:
    """Where the user asks for another backend, as Keras looks for it; empty where nothing does."""
    if named := os.environ.get(_VARIABLE):
        return f"{_VARIABLE}={named}" if named != _OURS else ""
    folder = os.environ.get("KERAS_HOME") or (home() or Path("/tmp")) / ".keras"
    path = Path(folder) / "keras.json"
    try:
        named = json.loads(path.read_text(encoding="utf-8")).get("backend", _OURS)
    except (OSError, ValueError, AttributeError):  # as Keras takes it
        return ""
    return f'"backend": "{named}" in {path}' if named != _OURS else ""
