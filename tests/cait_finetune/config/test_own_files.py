"""The error for a mistake in a user's recipe names file, line and key."""

from __future__ import annotations

import pytest

from cait_finetune.cli.compose import configure_run
from cait_finetune.config.own_files import check_own_file
from cait_finetune.errors import UserError

OWN = "defaults:\n  - config\n  - _self_\n"


@pytest.mark.parametrize(
    ("text", "prefix", "message"),
    [
        ("train:\n  epoch: 3\n", "", r"line 2: train\.epoch: got an unknown key, .*\n  did you mean train\.epochs\?"),
        ("seed: 1\nresme: x\n", "", r"line 2: resme: got an unknown key, .*\n  did you mean resume\?"),
        ("train:\n\n  epochs: many\n", "", r"line 3: train\.epochs: got 'many', expected a whole number, or null\n"),
        ("augment:\n  crop_scale: 3\n", "", r"line 2: augment\.crop_scale: got 3, expected a list of numbers"),
        ("seed: 1\nschedule: linear\n", "", r"line 2: schedule: got linear, expected keys of the group, .*\n"
         r"  Write - override schedule: linear under defaults:$"),
        ("lr: 3\n", "optimizer.", r"line 1: optimizer\.lr: got an unknown key, .*\n  did you mean optimizer\.base_lr"),
        ("columns:\n  lable: x\n", "dataset.", r"line 2: dataset\.columns\.lable: got an unknown key"),
    ],
)  # fmt: skip
def test_an_error_in_a_recipe_names_line_and_key(text, prefix, message, tmp_path):
    with pytest.raises(UserError, match=message):
        check_own_file(tmp_path / "own.yaml", text, prefix)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("", ""), ("- a\n", ""), ("train: {epochs: 3, steps: null}\n", ""), ("seed: ${oc.env:SEED}\n", ""),
        ("defaults: [config]\nhydra:\n  sweeper:\n    params: {seed: '1,2'}\n", ""),
        ("base_lr: 1e-4\nnesterov: yes\n", "optimizer."), ("augment: {crop_scale: [0.5, 1]}\n", ""),
        ("dataset: {class_names: [no, 012], data_dir: 2024_01}\n", ""), ("export: {quantise: []}\n", ""),
    ],
)  # fmt: skip
def test_a_correct_file_passes(text, prefix, tmp_path):
    check_own_file(tmp_path / "own.yaml", text, prefix)


def test_a_command_reports_the_file_line_and_key_of_a_wrong_recipe(tmp_path):
    (tmp_path / "birds.yaml").write_text(OWN + "model:\n  img_size: 64\n")
    message = rf"^{tmp_path}/birds\.yaml, line 5: model\.img_size: got an unknown key"
    with pytest.raises(UserError, match=message):
        configure_run(recipe="birds", folder=tmp_path)


def test_a_misspelt_name_lists_ones_own(tmp_path):
    (tmp_path / "birds.yaml").write_text(OWN)
    with pytest.raises(
        UserError, match=r"-cn: got brids, expected one of birds, config, .*\n.*birds"
    ):
        configure_run(recipe="brids", folder=tmp_path)
