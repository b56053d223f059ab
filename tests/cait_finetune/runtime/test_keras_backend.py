"""Keras runs on TensorFlow, whatever backend the environment names."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from cait_finetune.errors import UserError
from cait_finetune.runtime import keras_backend
from cait_finetune.runtime.keras_backend import use_tensorflow


@pytest.fixture
def asked(monkeypatch, tmp_path, capsys):
    """Return a function that calls `use_tensorflow` as if Keras were not loaded yet.

    Its arguments are KERAS_BACKEND and the text of ``keras.json``. `None`: not set, or no file. It
    returns the new KERAS_BACKEND and the text on standard error.
    """

    def ask(named=None, written=None):
        monkeypatch.delitem(sys.modules, "keras", raising=False)
        monkeypatch.delenv("KERAS_BACKEND", raising=False)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        if named is not None:
            monkeypatch.setenv("KERAS_BACKEND", named)
        if written is not None:
            (tmp_path / "keras.json").write_text(written, encoding="utf-8")
        use_tensorflow()
        return os.environ["KERAS_BACKEND"], capsys.readouterr().err

    return ask


@pytest.mark.parametrize(
    ("named", "written"),
    [
        (None, None),
        ("", None),
        ("tensorflow", '{"backend": "jax"}'),
        (None, '{"backend": "tensorflow"}'),
        (None, "{}"),
        (None, "no JSON"),
        (None, "[]"),
    ],
)
def test_no_message_appears_if_the_backend_does_not_change(asked, named, written):
    assert asked(named, written) == ("tensorflow", "")


def test_the_message_names_the_environment_variable(asked):
    assert asked("torch", '{"backend": "jax"}') == (
        "tensorflow",
        "Keras  runs on tensorflow: KERAS_BACKEND=torch has no effect here\n",
    )


def test_the_message_names_keras_json(asked, tmp_path):
    assert asked(None, json.dumps({"backend": "jax"})) == (
        "tensorflow",
        f'Keras  runs on tensorflow: "backend": "jax" in {tmp_path}/keras.json has no effect here\n',
    )


def test_keras_json_in_the_home_directory_is_found(asked, monkeypatch, tmp_path):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text('{"backend": "torch"}', encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert keras_backend._asked() == f'"backend": "torch" in {tmp_path}/.keras/keras.json'


_PROGRAM = """
import keras, cait_finetune
from cait_finetune.errors import UserError
for call in (lambda: cait_finetune.finetune("dataset=digits"), lambda: cait_finetune.predict("a", "b")):
    try:
        call()
    except UserError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_program_that_has_loaded_another_backend():
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=120,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == 2 * (
        "KERAS_BACKEND: got jax, on which this process has loaded Keras, expected tensorflow\n"
        "  Set KERAS_BACKEND=tensorflow before the program imports keras.\n"
    ), done.stderr


def test_a_loaded_tensorflow_is_left_alone(monkeypatch):
    import keras

    assert keras.config.backend() == "tensorflow"
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # too late: Keras is already loaded
    use_tensorflow()
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(UserError, match="got torch, on which"):
        use_tensorflow()
