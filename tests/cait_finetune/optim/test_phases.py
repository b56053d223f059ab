"""Each tuning method trains exactly its own rows in each of its phases."""

import dataclasses
import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import cait_tf
from cait_finetune import model as models
from cait_finetune.config import TuningConfig
from cait_finetune.errors import UserError
from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.phases import Phase, phase_at, phases
from cait_finetune.train.step import TrainStep
from cait_tf.weights.names import timm_name
from tests.cait_finetune.tiny import (
    GOLDEN,
    NO_GRADIENT,
    batch,
    one_device,
    optimizer_config,
    snapshot,
    tiny_model,
)

SCALES = json.loads((GOLDEN / "layer_decay_scales.json").read_text())["cait_xxs24_224"]
TOTAL, EPOCH = 60, 6


def tuning(method: str, **keys) -> TuningConfig:
    """Return the configuration of ``conf/tuning/METHOD.yaml``, with `keys` set."""
    own = {
        "full": {},
        "linear_probe": {"solver": "sgd", "cache_features": True},
        "head_then_full": {"head_epochs": 2},
        "gradual": {"stages": 4, "stage_epochs": 1},
        "lora": {"rank": 2, "alpha": 4.0, "targets": "attn/|mlp/"},
        "pattern": {"pattern": "/(bias|beta)$", "train_head": True},
    }[method]
    return TuningConfig(method, **{**own, **keys})


def planned(model, config: TuningConfig, total: int = TOTAL):
    models.adapt(model, config)
    return phases(model, config, optimizer_config(), total, EPOCH)


def trained(phase) -> set[str]:
    """Return the paths of the trained rows without the model's name."""
    return {row.path.partition("/")[2] for row in phase.table if row.trainable}


HEAD = {"head/kernel", "head/bias"}


def test_full_is_the_golden_table_of_layer_decay():
    with keras.StatelessScope(initialize_variables=False):
        model = cait_tf.create_model("cait_xxs24_224")
    (phase,) = phases(model, tuning("full"), optimizer_config(), TOTAL, EPOCH)
    keras.utils.clear_session()
    got = {timm_name(row.path): [row.multiplier, row.weight_decay] for row in phase.table}
    assert got == SCALES["lr_scale_and_weight_decay"]
    assert all(row.trainable for row in phase.table)
    assert not phase.head_only


def expected_rows(method: str, paths: list[str]) -> list[set[str]]:
    """Return the trained paths of each phase, for two trunk and two class-attention blocks."""
    last, first = "backbone/blocks_token_only_1/", "backbone/blocks_token_only_0/"
    norm = "backbone/norm/"

    def under(*prefixes):
        return {path for path in paths if path.startswith(prefixes)} | HEAD

    return {
        "full": [set(paths)],
        "linear_probe": [HEAD],
        "head_then_full": [HEAD, set(paths)],
        # after the head: 1, 3 and all 4 blocks, the embeddings in the last stage
        "gradual": [
            HEAD,
            under(last, norm),
            under(last, norm, first, "backbone/blocks_1/"),
            set(paths),
        ],
        "lora": [{path for path in paths if "/lora_kernel_" in path} | HEAD],
        "pattern": [{path for path in paths if path.split("/")[-1] in ("bias", "beta")} | HEAD],
    }[method]


METHODS = ("full", "linear_probe", "head_then_full", "gradual", "lora", "pattern")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradual", "lora", "pattern"])
def test_two_steps_of_each_phase_change_its_rows_and_no_other_bit(method):
    strategy = one_device()
    with strategy.scope():
        model = tiny_model()
        run = planned(model, tuning(method))
    paths = [variable.path.partition("/")[2] for variable in model.weights]
    expected = expected_rows(method, paths)
    images, labels = batch()
    for phase, chosen in zip(run, expected, strict=True):
        with strategy.scope():
            optimizer = AdamW(phase.table, optimizer_config())
        step = TrainStep(model, optimizer, strategy)
        before = snapshot(model)
        for _ in range(2):
            step(images, labels, tf.constant(1e-2))
        changed = {
            path.partition("/")[2]
            for path, array in snapshot(model).items()
            if not np.array_equal(array, before[path])
        }
        assert changed <= chosen
        assert all(path.endswith(NO_GRADIENT) for path in chosen - changed), chosen - changed
        assert len(changed) > len(chosen) / 2


@pytest.mark.parametrize("method", METHODS)
def test_every_phase_has_the_whole_table_and_trains_its_rows(method):
    model = tiny_model()
    run = planned(model, tuning(method))
    paths = [variable.path.partition("/")[2] for variable in model.weights]
    assert [trained(phase) for phase in run] == expected_rows(method, paths)
    full = phases(model, tuning("full"), optimizer_config(), TOTAL, EPOCH)[0].table
    for phase in run:
        assert [dataclasses.replace(row, trainable=True) for row in phase.table] == full
        assert [row.variable for row in phase.table] == list(model.weights)


@pytest.mark.parametrize("total", [60, 61, 30, 19])
@pytest.mark.parametrize("method", METHODS)
def test_the_phases_follow_each_other_to_the_last_step(method, total):
    run = planned(tiny_model(), tuning(method), total)
    assert run[0].first_step == 0
    for one, following in itertools.pairwise(run):
        assert following.first_step == one.first_step + one.steps
    assert sum(phase.steps for phase in run) == total
    assert all(phase.steps > 0 for phase in run)
    assert len({phase.name for phase in run}) == len(run)


def test_the_phase_of_a_step():
    planned = [Phase("head", 0, 3, []), Phase("full", 3, 4, [])]
    names = [phase_at(planned, step).name for step in range(1, 8)]
    assert names == ["head"] * 3 + ["full"] * 4


def test_how_long_the_phases_are():
    run = planned(tiny_model(), tuning("head_then_full", head_epochs=3))
    assert [(phase.name, phase.steps) for phase in run] == [("head", 18), ("full", 42)]
    run = planned(tiny_model(), tuning("gradual", stages=3, stage_epochs=2))
    assert [(phase.name, phase.steps) for phase in run] == [
        ("head", 12), ("stage_2", 12), ("full", 36)]  # fmt: skip


@pytest.mark.slow
def test_which_phases_leave_the_backbone_alone():
    assert [phase.head_only for phase in planned(tiny_model(), tuning("gradual"))] == [
        True, False, False, False]  # fmt: skip
    assert planned(tiny_model(), tuning("linear_probe"))[0].head_only
    assert not planned(tiny_model(), tuning("lora"))[0].head_only
    assert planned(tiny_model(), tuning("pattern", pattern="head/kernel"))[0].head_only


def test_as_many_stages_as_blocks_unfreeze_one_at_a_time():
    run = planned(tiny_model(), tuning("gradual", stages=5))
    counts = [len(trained(phase)) for phase in run]
    assert len(run) == 5
    assert counts == sorted(set(counts))
    assert "backbone/blocks_0/attn/qkv/kernel" not in trained(run[3])
    assert "backbone/cls_token" not in trained(run[3])
    assert "backbone/cls_token" in trained(run[4])


def test_too_many_stages():
    with pytest.raises(UserError, match=r"tuning\.stages: got 6, expected at most 5"):
        planned(tiny_model(), tuning("gradual", stages=6))


@pytest.mark.parametrize(
    ("method", "keys", "message"),
    [
        ("head_then_full", {"head_epochs": 10}, r"tuning\.head_epochs: got 10, .* run's 10,"),
        ("head_then_full", {"head_epochs": 11}, r"tuning\.head_epochs: got 11, .* run's 10,"),
        ("gradual", {"stage_epochs": 4}, r"tuning\.stage_epochs: got 4 for each of 3 stages"),
    ],
)
def test_phases_longer_than_the_run(method, keys, message):
    with pytest.raises(UserError, match=message):
        planned(tiny_model(), tuning(method, **keys))
    (name,) = keys
    assert len(planned(tiny_model(), tuning(method, **{name: keys[name] - 2}))) > 1


def test_low_rank_updates_have_the_row_of_their_kernel_and_decay():
    rows = {
        row.path.partition("/")[2]: row for row in planned(tiny_model(), tuning("lora"))[0].table
    }
    for layer in ("blocks_0/attn/qkv", "blocks_token_only_0/mlp/fc1"):
        kernel = rows[f"backbone/{layer}/kernel"]
        for part in ("a", "b"):
            update = rows[f"backbone/{layer}/lora_kernel_{part}"]
            assert (update.group, update.multiplier) == (kernel.group, kernel.multiplier)
            assert update.weight_decay == kernel.weight_decay == 0.05


def test_lora_wants_a_model_with_updates():
    with pytest.raises(ValueError, match="no low-rank updates"):
        phases(tiny_model(), tuning("lora"), optimizer_config(), TOTAL, EPOCH)


def test_targets_choose_the_layers():
    (phase,) = planned(tiny_model(), tuning("lora", targets="attn/(qkv|q|v)$"))
    assert trained(phase) - HEAD == {
        f"backbone/{layer}/lora_kernel_{part}"
        for layer in (
            "blocks_0/attn/qkv", "blocks_1/attn/qkv", "blocks_token_only_0/attn/q",
            "blocks_token_only_0/attn/v", "blocks_token_only_1/attn/q", "blocks_token_only_1/attn/v",
        )
        for part in ("a", "b")
    }  # fmt: skip


def test_a_pattern_without_the_head():
    (phase,) = planned(tiny_model(), tuning("pattern", pattern="norm1/", train_head=False))
    assert trained(phase) == {
        f"backbone/{block}/norm1/{name}"
        for block in ("blocks_0", "blocks_1", "blocks_token_only_0", "blocks_token_only_1")
        for name in ("gamma", "beta")
    }
    (phase,) = planned(tiny_model(), tuning("pattern", pattern="^cait_classifier/backbone/cls"))
    assert trained(phase) == {"backbone/cls_token"} | HEAD


@pytest.mark.parametrize("train_head", [True, False])
def test_a_pattern_that_matches_nothing_names_near_paths(train_head):
    with pytest.raises(UserError) as caught:
        planned(tiny_model(), tuning("pattern", pattern="atn/qvk", train_head=train_head))
    message = str(caught.value)
    assert message.startswith("tuning.pattern: got 'atn/qvk', expected a regular expression")
    assert "near paths: cait_classifier/backbone/blocks_0/attn/qkv/kernel" in message


@pytest.mark.slow
def test_saved_weights_of_low_rank_updates_are_a_plain_model(tmp_path):
    strategy = one_device()
    with strategy.scope():
        model = tiny_model()
        (phase,) = planned(model, tuning("lora"))
        step = TrainStep(model, AdamW(phase.table, optimizer_config()), strategy)
    images, labels = batch()
    untrained = np.asarray(model(images))
    for _ in range(3):
        step(images, labels, tf.constant(1e-2))
    cait_tf.save_weights(model, tmp_path / "best.safetensors")
    plain = tiny_model(seed=1)
    cait_tf.load_weights(plain, tmp_path / "best.safetensors")
    np.testing.assert_allclose(plain(images), model(images), atol=1e-5)
    assert np.abs(np.asarray(plain(images)) - untrained).max() > 1e-2
