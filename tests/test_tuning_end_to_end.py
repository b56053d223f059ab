"""Every tuning method as a user runs it: the checkpoint differs only in the trained weights."""

import csv
import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

import cait_tf
from cait_tf.weights.names import timm_name
from tests.test_end_to_end import finetune

pytestmark = pytest.mark.slow

QUICK = ["model.image_size=16", "train.batch_size=128",
         "train.epochs=2", "export.check_images=8", "augment=none"]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with start weights, in which tests write runs and their caches."""
    directory = tmp_path_factory.mktemp("tuning")
    model = cait_tf.create_model("cait_nano_32", num_classes=10, image_size=16)
    for variable in model.weights:
        if "/gamma_" in variable.path:  # small LayerScale weights would hide the blocks
            variable.assign(np.full(variable.shape, 0.5))
    cait_tf.save_weights(model, directory / "start.safetensors")
    return directory


def run(place, name, *overrides):
    done = finetune(place / name, *QUICK, f"model.weights={place / 'start.safetensors'}", *overrides,
                    data_dir=place / "data")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, json.loads((place / name / "result.json").read_text())


def changed(place, name, checkpoint="last"):
    """Return the names of tensors that differ between a checkpoint and the start weights."""
    old = load_file(place / "start.safetensors")
    new = load_file(place / name / f"checkpoints/{checkpoint}.safetensors")
    assert set(old) == set(new)
    return {key for key in old if not np.array_equal(old[key], new[key])}


def rows(place, name):
    """Return the trained paths of each phase in ``parameters.csv``."""
    phases = {}
    for row in csv.DictReader((place / name / "parameters.csv").read_text().splitlines()):
        phases.setdefault(row["phase"], set())
        if row["trainable"] == "True":
            phases[row["phase"]].add(row["path"])
    return phases


HEAD = {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("name", "overrides", "phases", "chosen"),
    [
        ("head_then_full", ["tuning=head_then_full", "tuning.head_epochs=1"], ["head", "full"], "."),
        ("gradual", ["tuning=gradual", "tuning.stages=2"], ["head", "full"], "."),
        ("bitfit", ["tuning=bitfit"], ["pattern"], r"bias$"),
        ("lora", ["tuning=lora", "tuning.targets=qkv"], ["lora"], r"qkv\.weight$"),
        ("lora_in_bfloat16", ["tuning=lora", "train.precision=mixed_bfloat16"], ["lora"],
         r"(attn\.(qkv|q|k|v|proj)|fc1|fc2)\.weight$"),
    ],
)  # fmt: skip
def test_what_a_method_trains(place, name, overrides, phases, chosen):
    _, result = run(place, name, *overrides)
    assert list(rows(place, name)) == phases
    assert result["test_examples"] == 360
    assert result["export_max_difference"] < 1e-4
    names = load_file(place / "start.safetensors")
    allowed = {key for key in names if re.search(chosen, key)} | HEAD
    got = changed(place, name)
    assert got <= allowed
    # some biases have no gradient: the softmax cancels them
    assert {key for key in allowed - got if not key.endswith("bias")} == set()
    trained = set().union(*rows(place, name).values())
    assert {timm_name(path) for path in trained if "lora_kernel" not in path} <= allowed


def test_a_linear_probe_keeps_its_features_for_the_next_run(place):
    cache = [f"tuning.cache_dir={place / 'cache'}", "tuning=linear_probe"]
    said, first = run(place, "probe", *cache)
    assert said.count("kept in") == 2
    files = {path: path.stat().st_mtime_ns for path in (place / "cache").iterdir()}
    assert len(files) == 2
    said, second = run(place, "again", *cache)
    assert said.count("used again from") == 2
    assert "computed in" not in said
    assert files == {path: path.stat().st_mtime_ns for path in (place / "cache").iterdir()}
    for key in ("test_loss", "validation_top1", "best_epoch"):
        assert first[key] == second[key]
    assert changed(place, "probe") == HEAD
    assert list(rows(place, "probe")) == ["linear_probe"]
    one, other = (
        load_file(place / name / "checkpoints/best.safetensors") for name in ("probe", "again")
    )
    np.testing.assert_array_equal(one["head.weight"], other["head.weight"])


def test_features_or_images_without_augmentation_are_the_same_run(place):
    keys = ["tuning=linear_probe", "tuning.cache_dir=null"]
    _, cached = run(place, "features_only", *keys)
    _, plain = run(place, "images_only", *keys, "tuning.cache_features=false")
    assert changed(place, "images_only") == changed(place, "features_only") == HEAD
    assert cached["test_loss"] == pytest.approx(plain["test_loss"], abs=1e-5)
    one, other = (
        load_file(place / name / "checkpoints/last.safetensors")
        for name in ("features_only", "images_only")
    )
    np.testing.assert_allclose(one["head.weight"], other["head.weight"], atol=1e-5)


def test_a_solved_head(place):
    said, result = run(place, "solved", "tuning=linear_probe", "tuning.solver=lbfgs",
                       "tuning.cache_dir=null")  # fmt: skip
    assert changed(place, "solved", "best") == HEAD
    records = (place / "solved/metrics.jsonl").read_text().splitlines()
    tops = [json.loads(line)["validation_top1"] for line in records]
    assert result["validation_top1"] == max(tops)
    assert said.count("iterations)") == len(tops) == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tuning=head_then_full"], "tuning.head_epochs: got 2, expected fewer epochs"),
        (["tuning=gradual", "tuning.stages=6"], "tuning.stages: got 6, expected at most 5"),
        (
            ["tuning=pattern", "tuning.pattern=blokcs"],
            "near paths: cait_nano_32/backbone/blocks_0/",
        ),
    ],
)
def test_a_mistake_is_one_sentence_before_the_first_step(place, overrides, message):
    done = finetune(place / "wrong", *QUICK, *overrides, data_dir=place / "data")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "what is trained" not in done.stdout
    assert not (place / "wrong/metrics.jsonl").exists()
