"""Set Keras' backend to TensorFlow, which training needs, even if the environment names another."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from cait_finetune.errors import bad_value
from cait_tf.places import home

_VARIABLE, _OURS = "KERAS_BACKEND", "tensorflow"


def use_tensorflow() -> None:
    """Make Keras run on TensorFlow. Print a line if the user asked for another backend.

    Raises:
        UserError: this process has already loaded Keras on another backend.
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
    """Return the setting that asks for another backend, or an empty string.

    The environment variable takes precedence over ``keras.json``, as in Keras.
    """
    if named := os.environ.get(_VARIABLE):
        return f"{_VARIABLE}={named}" if named != _OURS else ""
    folder = os.environ.get("KERAS_HOME") or (home() or Path("/tmp")) / ".keras"
    path = Path(folder) / "keras.json"
    try:
        named = json.loads(path.read_text(encoding="utf-8")).get("backend", _OURS)
    except (OSError, ValueError, AttributeError):  # Keras ignores such a file, too
        return ""
    return f'"backend": "{named}" in {path}' if named != _OURS else ""
