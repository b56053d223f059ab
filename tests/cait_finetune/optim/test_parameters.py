import csv
import json
import math

import keras
import pytest

import cait_tf
from cait_finetune.optim.parameters import (
    Parameter,
    group_rates,
    only,
    parameter_table,
    summary,
    write_csv,
)
from cait_tf.weights.names import timm_name
from tests.cait_finetune.tiny import CLASSES, GOLDEN, tiny_model

SCALES = json.loads((GOLDEN / "layer_decay_scales.json").read_text())


@pytest.fixture(scope="session")
def published_tables() -> dict[str, list[Parameter]]:
    """Return the parameter table of each published variant. The weights take no memory."""
    tables = {}
    for name in SCALES:
        with keras.StatelessScope(initialize_variables=False):
            model = cait_tf.create_model(name)
        tables[name] = parameter_table(model, "full", 0.75, 0.05)
    keras.utils.clear_session()  # else the next scope initialises all these weights
    return tables


@pytest.fixture(scope="module")
def model() -> cait_tf.CaiTClassifier:
    return tiny_model()


def test_the_golden_file_is_of_every_published_variant():
    published = {name for name, row in cait_tf.VARIANTS.items() if row.published}
    assert set(SCALES) == published
    assert len(published) == 10


@pytest.mark.slow
@pytest.mark.parametrize("name", SCALES)
def test_multipliers_and_decays_are_timms(published_tables, name):
    table = published_tables[name]
    got = {timm_name(row.path): [row.multiplier, row.weight_decay] for row in table}
    assert len(got) == len(table)
    assert got == SCALES[name]["lr_scale_and_weight_decay"]
    assert sum(math.prod(row.shape) for row in table) == SCALES[name]["parameters"]
    assert all(row.trainable for row in table)


@pytest.mark.parametrize("name", SCALES)
def test_a_group_for_each_block_one_for_the_embeddings_one_for_the_head(published_tables, name):
    groups = {row.group for row in published_tables[name]}
    depth = cait_tf.VARIANTS[name].depth
    assert groups == set(range(depth + 2))
    if depth == 24:
        assert len(groups) == 26


@pytest.mark.parametrize("name", SCALES)
def test_class_attention_shares_the_groups_of_the_last_blocks_not_the_first(published_tables, name):
    depth = cait_tf.VARIANTS[name].depth
    for row in published_tables[name]:
        parameter = timm_name(row.path)
        if parameter.startswith("blocks_token_only.0."):
            assert row.group == depth - 1
        elif parameter.startswith(("blocks_token_only.1.", "norm.", f"blocks.{depth - 1}.")):
            assert row.group == depth
        elif parameter.startswith("blocks.0."):
            assert row.group == 1
        elif parameter in ("cls_token", "pos_embed"):
            assert row.group == 0


def test_only_kernels_decay(model):
    for row in parameter_table(model, "full", 0.75, 0.05):
        kernel = row.path.endswith("/kernel")
        assert row.weight_decay == (0.05 if kernel else 0.0), row.path
        assert kernel or len(row.shape) == 1 or row.path.endswith(("cls_token", "pos_embed"))


def test_no_layer_decay_gives_every_parameter_the_base_rate(model):
    assert {row.multiplier for row in parameter_table(model, "full", 1.0, 0.0)} == {1.0}


def test_linear_probe_trains_the_head_only(model):
    table = parameter_table(model, "linear_probe", 0.75, 0.05)
    trained = [timm_name(row.path) for row in table if row.trainable]
    assert sorted(trained) == ["head.bias", "head.weight"]
    assert {row.multiplier for row in table if row.trainable} == {1.0}
    assert len(table) == len(model.weights)


def test_only_freezes_the_others_and_unfreezes_none(model):
    table = parameter_table(model, "linear_probe", 0.75, 0.05)
    fewer = only(table, lambda row: row.path.endswith(("bias", "cls_token")))
    assert [row.path for row in fewer if row.trainable] == ["cait_classifier/head/bias"]
    assert [row.path for row in fewer] == [row.path for row in table]
    assert sum(row.trainable for row in table) == 2


def test_parameters_csv_has_every_phase(model, tmp_path):
    tables = {name: parameter_table(model, name, 0.75, 0.05) for name in ("linear_probe", "full")}
    write_csv(tables, tmp_path / "parameters.csv")
    with open(tmp_path / "parameters.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["phase", "path", "shape", "group", "multiplier", "weight_decay", "trainable"]
    paths = [variable.path for variable in model.weights]
    assert [row[:2] for row in rows] == [[name, path] for name in tables for path in paths]
    by_path = {(row[0], row[1]): row[2:] for row in rows}
    assert by_path["full", "cait_classifier/head/kernel"] == ["48x7", "3", "1.0", "0.05", "True"]
    embedding = ["1x1x48", "0", str(0.75**3), "0.0"]
    path = "cait_classifier/backbone/cls_token"
    assert by_path["linear_probe", path] == [*embedding, "False"]
    assert by_path["full", path] == [*embedding, "True"]


def test_summary_counts_every_number_once(model):
    rows = summary(parameter_table(model, "full", 0.75, 0.05), base_lr=4e-3)
    assert [row[0] for row in rows] == ["0", "1", "2", "3"]
    assert sum(int(row[1]) for row in rows) == len(model.weights)
    totals = [int(row[3].replace(",", "")) for row in rows]
    assert sum(totals) == model.count_params()
    assert [row[2] for row in rows] == [row[3] for row in rows]
    assert totals[-1] == 48 * CLASSES + CLASSES
    assert [row[4] for row in rows] == ["0.4219", "0.5625", "0.75", "1"]
    assert [row[5] for row in rows] == ["1.69e-03", "2.25e-03", "3.00e-03", "4.00e-03"]


def test_summary_marks_frozen_groups(model):
    rows = summary(parameter_table(model, "linear_probe", 0.75, 0.05), base_lr=1e-3)
    assert [row[5] for row in rows] == ["frozen", "frozen", "frozen", "1.00e-03"]
    assert [row[2] for row in rows[:3]] == ["0", "0", "0"]


def test_each_trained_group_has_its_rate(model):
    table = parameter_table(model, "full", 0.5, 0.05)
    assert group_rates(table, 0.1) == {
        "lr/group_00": 0.0125, "lr/group_01": 0.025, "lr/group_02": 0.05, "lr/group_03": 0.1
    }  # fmt: skip
    head = only(table, lambda row: row.group == 3)
    assert group_rates(head, 0.1) == {"lr/group_03": 0.1}


@pytest.mark.parametrize("method", ["full", "linear_probe"])
def test_statistics_of_targets_are_frozen(method):
    model = cait_tf.CaiTRegressor(
        2, image_size=32, embed_dim=48, depth=1, depth_token_only=1, num_heads=2
    )
    rows = {row.path: row for row in parameter_table(model, method, 0.5, 0.05)}
    for name in ("mean", "std"):
        row = rows[f"cait_regressor/target_scale/{name}"]
        assert (row.trainable, row.weight_decay, row.multiplier) == (False, 0.0, 1.0)
    assert rows["cait_regressor/head/kernel"].trainable
