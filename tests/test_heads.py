"""Whole runs with each head: training, exports and reading back."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from cait_finetune import load_run
from cait_finetune.commands.export import export
from cait_finetune.config import ExportConfig
from cait_finetune.errors import UserError
from cait_tf.heads import OPTIONS
from tests.quick_runs import run

WORDS = {
    "mlp": ["head.hidden=16", "head.drop_rate=0.2"],
    "cosine": [],
    "batchnorm_linear": [],
}


def test_each_head_but_the_default_is_tried():
    assert list(WORDS) == [name for name in OPTIONS if name != "linear"]


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["token_and_mean", "tokens"])
def test_a_run_with_a_pooling_is_exported_and_read_again(pooling, tmp_path):
    """The second run reads the features that the first run cached for another pooling."""
    features = []
    for chosen in ("token", pooling):
        run(
            tmp_path / chosen, f"head.pooling={chosen}", "tuning=linear_probe",
            f"tuning.cache_dir={tmp_path / 'cache'}", "train.epochs=1", "dataset.examples_per_class=10",
            "export=[saved_model,keras,onnx,litert]",
        )  # fmt: skip
        model = load_run(tmp_path / chosen).model
        assert model.backbone.pooling == chosen
        features.append(model.backbone.num_features)
    assert features[1] == 2 * features[0]
    with pytest.raises(UserError, match=f"head.pooling={pooling}, expected false: timm's"):
        export(tmp_path / pooling, ExportConfig(timm=True, check_images=1, quantise=[]))


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDS)
def test_a_run_with_a_head_is_exported_and_read_again(name, tmp_path):
    _, result = run(
        tmp_path / "run", f"head={name}", *WORDS[name], "train.epochs=1", "dataset.examples_per_class=10",
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
