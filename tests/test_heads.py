"""Whole runs with each head: training, resume, exports and reading back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cait_finetune import load_run
from tests.quick_runs import start


@pytest.mark.slow
@pytest.mark.parametrize("words", [["head=mlp", "head.hidden=16", "head.drop_rate=0.2"], ["head=cosine"]])
def test_a_run_with_a_head_is_exported_and_read_again(words, tmp_path):
    run = tmp_path / "run"
    start(run, *words, "export=[saved_model,keras]")
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert np.isfinite(result["test_loss"])
    assert (run / "export" / "saved_model").is_dir()
    assert (run / "export" / "keras" / "model.keras").is_file()
    assert load_run(run).model.head_kind == words[0].removeprefix("head=")
