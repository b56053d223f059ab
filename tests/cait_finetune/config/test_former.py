"""Configurations of earlier versions."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from cait_finetune.cli.compose import configure
from cait_finetune.config.former import with_head, with_task
from tests.cait_finetune.stand_ins import composed


@pytest.mark.parametrize(
    ("saved", "name"),
    [
        ({"dataset": {"multi_label": True, "name": "x"}}, "multi_label"),
        ({"dataset": {"multi_label": False, "name": "x"}}, "classification"),
        ({"dataset": {"name": "x"}, "task": {"name": "multi_label"}}, "multi_label"),
        ({"dataset": {"name": "x"}}, None),
    ],
)
def test_runs_of_earlier_versions_have_the_task_of_their_key(saved, name):
    before = OmegaConf.create(saved)
    updated = with_task(before)
    assert OmegaConf.select(updated, "task.name") == name
    assert updated.dataset == {"name": "x"}
    assert before == saved


@pytest.mark.parametrize(("several", "name"), [(True, "multi_label"), (False, "classification")])
def test_the_configuration_of_an_earlier_run_is_a_recipe(several, name, tmp_path):
    saved = OmegaConf.create(OmegaConf.to_container(composed()))
    del saved["task"]
    OmegaConf.update(saved, "dataset.multi_label", several, force_add=True)
    OmegaConf.save(saved, tmp_path / "config.yaml")
    config = configure(recipe="config", folder=tmp_path)
    assert config.task.name == name


@pytest.mark.parametrize(
    ("saved", "name"), [({"seed": 1}, "linear"), ({"head": {"name": "mlp"}}, "mlp")]
)
def test_a_run_that_states_no_head_has_a_linear_one(saved, name):
    before = OmegaConf.create(saved)
    assert with_head(before).head == {"name": name, "pooling": "token"}
    assert before == saved


def test_a_run_that_states_its_head_is_unchanged():
    saved = OmegaConf.create({"head": {"name": "mlp", "pooling": "tokens"}})
    assert with_head(saved) is saved
