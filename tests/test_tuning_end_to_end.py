"""Every tuning method on a small model: the checkpoint differs only in the trained weights.

``test_transfer.py`` runs the methods on the pretrained model.
"""

import csv
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

import cait_tf
from cait_finetune import finetune
from cait_finetune.errors import UserError
from cait_tf.weights.names import timm_name
from tests import quick_runs
from tests.small_model import SMALL, small_variant

pytestmark = pytest.mark.slow

QUICK = [f"model.name={SMALL.name}", "model.image_size=16", "train.batch_size=128",
         "train.epochs=2", "export.check_images=8", "augment=none"]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with start weights, in which tests write runs and their caches."""
    directory = tmp_path_factory.mktemp("tuning")
    with small_variant() as name:
        model = cait_tf.create_model(name, num_classes=10)
        for variable in model.weights:
            if "/gamma_" in variable.path:  # small LayerScale weights would hide the blocks
                variable.assign(np.full(variable.shape, 0.5))
        cait_tf.save_weights(model, directory / "start.safetensors")
        yield directory


def run(place, name, *overrides):
    weights = f"model.weights={place / 'start.safetensors'}"
    return quick_runs.run(place / name, *QUICK, weights, *overrides)


def changed(place, name):
    """Return the names of tensors that differ between the last checkpoint and the start weights."""
    old = load_file(place / "start.safetensors")
    new = load_file(place / name / "checkpoints/last.safetensors")
    assert set(old) == set(new)
    return {key for key in old if not np.array_equal(old[key], new[key])}


def rows(directory):
    """Return the trained paths of each phase in ``parameters.csv``."""
    phases = {}
    for row in csv.DictReader((directory / "parameters.csv").read_text().splitlines()):
        phases.setdefault(row["phase"], set())
        if row["trainable"] == "True":
            phases[row["phase"]].add(row["path"])
    return phases


HEAD = {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("name", "overrides", "phases", "chosen"),
    [
        ("gradual", ["tuning=gradual", "tuning.stages=2"], ["head", "full"], "."),
        ("bitfit", ["tuning=bitfit", "train.epochs=1"], ["pattern"], r"bias$"),
        ("lora", ["tuning=lora", "tuning.targets=qkv", "train.epochs=1",
                  "train.precision=mixed_bfloat16"], ["lora"], r"qkv\.weight$"),
    ],
)  # fmt: skip
def test_a_method_changes_its_own_weights_only(place, name, overrides, phases, chosen):
    export = [] if name == "lora" else ["export=none"]
    _, result = run(place, name, *overrides, *export)
    table = rows(place / name)
    assert list(table) == phases
    assert result["test_examples"] == 360
    if name == "lora":  # its policy must not reach the export
        assert result["export_max_difference"] < 1e-4
    names = load_file(place / "start.safetensors")
    allowed = {key for key in names if re.search(chosen, key)} | HEAD
    got = changed(place, name)
    assert got <= allowed
    # some biases have no gradient: the softmax cancels them
    assert {key for key in allowed - got if not key.endswith("bias")} == set()
    trained = set().union(*table.values())
    assert {timm_name(path) for path in trained if "lora_kernel" not in path} <= allowed


@pytest.fixture(scope="module")
def probe(place):
    """A linear probe that writes its features to a cache: what it prints, and its result."""
    return run(place, "probe", "tuning=linear_probe", f"tuning.cache_dir={place / 'cache'}",
               "export=none")  # fmt: skip


def test_a_linear_probe_keeps_its_features_for_the_next_run(place, probe):
    said, first = probe
    assert said.count("kept in") == 2
    files = {path: path.stat().st_mtime_ns for path in (place / "cache").iterdir()}
    assert len(files) == 2
    said, second = run(place, "again", "tuning=linear_probe",
                       f"tuning.cache_dir={place / 'cache'}", "export=none")  # fmt: skip
    assert said.count("used again from") == 2
    assert "computed in" not in said
    assert files == {path: path.stat().st_mtime_ns for path in (place / "cache").iterdir()}
    for key in ("test_loss", "validation_top1", "best_epoch"):
        assert first[key] == second[key]
    assert changed(place, "probe") == HEAD
    assert list(rows(place / "probe")) == ["linear_probe"]
    one, other = (
        load_file(place / name / "checkpoints/best.safetensors") for name in ("probe", "again")
    )
    np.testing.assert_array_equal(one["head.weight"], other["head.weight"])


def test_features_or_images_without_augmentation_are_the_same_run(place, probe):
    _, cached = probe
    _, plain = run(place, "images_only", "tuning=linear_probe", "tuning.cache_dir=null",
                   "tuning.cache_features=false", "export=none")  # fmt: skip
    assert changed(place, "images_only") == changed(place, "probe") == HEAD
    assert cached["test_loss"] == pytest.approx(plain["test_loss"], abs=1e-5)
    one, other = (
        load_file(place / name / "checkpoints/last.safetensors")
        for name in ("probe", "images_only")
    )
    np.testing.assert_allclose(one["head.weight"], other["head.weight"], atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tuning=head_then_full"], r"tuning\.head_epochs: got 2, expected fewer epochs"),
        (["tuning=gradual", "tuning.stages=4"], r"tuning\.stages: got 4, expected at most 3"),
        (
            ["tuning=pattern", "tuning.pattern=blokcs"],
            "near paths: cait_small_16/backbone/blocks_0/",
        ),
    ],
)
def test_a_wrong_tuning_key_raises_before_the_first_step(
    place, tmp_path, capsys, overrides, message
):
    with pytest.raises(UserError, match=message):
        finetune(*QUICK, "model.weights=none", *overrides, directory=tmp_path / "wrong")
    assert "what is trained" not in capsys.readouterr().out
    assert not (tmp_path / "wrong/metrics.jsonl").exists()
