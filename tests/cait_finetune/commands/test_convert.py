"""The command that converts weights."""

from __future__ import annotations

import sys

import pytest

from cait_finetune.commands import convert
from tests.cait_tf import golden


@pytest.mark.slow
def test_the_command_prints_the_tensor_count_and_the_difference(tmp_path, monkeypatch, capsys):
    words = [f"source={golden.SAFETENSORS}", f"destination={tmp_path}/a.keras"]
    monkeypatch.setattr(sys, "argv", ["convert", *words])
    convert.main()
    out = capsys.readouterr().out
    assert "98 tensors from" in out
    assert "every tensor bit-equal, largest difference of the outputs 0.0e+00" in out
    with pytest.raises(SystemExit) as stopped:
        convert.main()
    assert stopped.value.code.startswith("cait_finetune convert: destination: got ")


def test_help_lists_the_keys(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["convert", "--help"])
    convert.main()
    out = capsys.readouterr().out
    assert "  source=…   (text)\n      A weights file" in out
    assert "  weights_key=null   (text, or null)\n" in out
