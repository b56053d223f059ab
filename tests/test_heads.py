"""Whole runs with each head: training, exports and reading back."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

import cait_tf
from cait_finetune import load_run
from cait_finetune.commands.export import export
from cait_finetune.config import ExportConfig
from cait_finetune.errors import UserError
from cait_tf.heads import OPTIONS
from tests.quick_runs import run
from tests.small_model import SMALL, WORDS, small_model  # noqa: F401  registers the model

OF_HEAD = {
    "mlp": ["head.hidden=16", "head.drop_rate=0.2"],
    "cosine": [],
    "batchnorm_linear": [],
}


def test_each_head_but_the_default_is_tried():
    assert list(OF_HEAD) == [name for name in OPTIONS if name != "linear"]


@pytest.mark.slow
def test_runs_with_a_pooling_are_exported_and_read_again(tmp_path, monkeypatch):
    """All runs share the folder of cached features, but not the features of another pooling."""
    two_blocks = dataclasses.replace(SMALL, depth_token_only=2)
    monkeypatch.setitem(cait_tf.variants.VARIANTS, SMALL.name, two_blocks)
    features = []
    for pooling, formats in (
        ("token", "none"),
        ("token_and_mean", "[saved_model,keras,onnx,litert]"),
        ("tokens", "[saved_model,keras,onnx,litert]"),
    ):
        run(
            tmp_path / pooling, *WORDS, f"head.pooling={pooling}", "tuning=linear_probe",
            f"tuning.cache_dir={tmp_path / 'cache'}", "train.epochs=1", "dataset.examples_per_class=10",
            f"export={formats}",
        )  # fmt: skip
        model = load_run(tmp_path / pooling).model
        assert model.backbone.pooling == pooling
        features.append(model.backbone.num_features)
    assert features == [SMALL.embed_dim, 2 * SMALL.embed_dim, 2 * SMALL.embed_dim]
    for pooling in ("token_and_mean", "tokens"):
        with pytest.raises(UserError, match=rf"head\.pooling={pooling}, expected false: timm's"):
            export(tmp_path / pooling, ExportConfig(timm=True, check_images=1, quantise=[]))


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_HEAD)
def test_a_run_with_a_head_is_exported_and_read_again(name, tmp_path):
    _, result = run(
        tmp_path / "run", *WORDS, f"head={name}", *OF_HEAD[name], "train.epochs=1", "dataset.examples_per_class=10",
        "export=[saved_model,keras,onnx,litert]", "export.quantise=[int8]",
    )  # fmt: skip
    assert np.isfinite(result["test_loss"])
    with pytest.raises(UserError, match=f"export.timm: got true with head.name={name} "):
        export(tmp_path / "run", ExportConfig(timm=True, check_images=1, quantise=[]))
    finished = load_run(tmp_path / "run")
    assert finished.model.head_kind == name
    with open(tmp_path / "run" / "parameters.csv", encoding="utf-8", newline="") as file:
        rows = {row["path"].partition("head/")[2]: row for row in csv.DictReader(file)}
    assert {leaf for leaf in rows if leaf} == {
        variable.path.partition("head/")[2] for variable in finished.model.head.weights
    }
