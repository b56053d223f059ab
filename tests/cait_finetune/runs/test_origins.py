"""Which differences between runs a command, a group or nothing explains."""

from __future__ import annotations

import pytest

from cait_finetune.runs.leaderboard import differing, read_entry
from cait_finetune.runs.origins import chosen, unset, why_unset
from tests.cait_finetune.runs.test_leaderboard import write_run


def entries_of(tmp_path, *commands):
    settings = [
        {
            "model__name": "a",
            "model__weights": "hub",
            "optimizer__base_lr": 0.1,
            "augment__flip": 0,
        },
        {
            "model__name": "b",
            "model__weights": "none",
            "optimizer__base_lr": 0.2,
            "augment__flip": 1,
        },
    ]
    return [
        read_entry(write_run(tmp_path / str(number), 0.5, command, **one))
        for number, (command, one) in enumerate(zip(commands, settings, strict=True))
    ]


EVERY = ["model.name", "model.weights", "optimizer.base_lr", "augment.flip"]


@pytest.mark.parametrize(
    ("commands", "keys"),
    [
        # The chosen model sets its weights and learning rate, so only its name was chosen.
        (("model=a", "model=b"), ["model.name"]),
        (("model=a optimizer.base_lr=0.1", "model=b"), ["model.name", "optimizer.base_lr"]),
        # A group without a key such as `name` counts as all its keys.
        (("augment=light", "augment=flip"), ["augment.flip"]),
        (("-cn some model=a", "model=b"), EVERY),
        ((None, "model=b"), EVERY),
        (("seed=1", "seed=1"), EVERY),
    ],
)
def test_chosen_lists_the_keys_that_commands_set(tmp_path, commands, keys):
    entries = entries_of(tmp_path, *commands)
    assert differing(entries) == EVERY
    assert chosen(entries, EVERY) == keys


def runs_of(tmp_path, *runs):
    """Return runs, each given as its command and its settings."""
    return [
        read_entry(write_run(tmp_path / str(number), 0.5, command, **settings))
        for number, (command, settings) in enumerate(runs)
    ]


def unset_of(entries):
    return unset(entries, differing(entries))


def test_a_key_changed_in_a_recipe_is_found_beside_a_typed_key(tmp_path):
    entries = runs_of(
        tmp_path,
        ("-cn mine optimizer.base_lr=0.1", {"optimizer__base_lr": 0.1, "train__epochs": 1}),
        ("-cn mine optimizer.base_lr=0.2", {"optimizer__base_lr": 0.2, "train__epochs": 3}),
    )
    assert unset_of(entries) == ["train.epochs"]
    assert unset_of(entries[:1]) == []


def test_keys_set_by_a_chosen_option_are_explained(tmp_path):
    small = {"model__name": "a", "model__weights": "pretrained", "optimizer__base_lr": 1e-3}
    large = {"model__name": "b", "model__weights": "hub", "optimizer__base_lr": 1e-4}
    # conf/model sets the optimizer and the batch size too, but not the epochs.
    entries = runs_of(
        tmp_path,
        ("model=cait_nano_32", {**small, "train__batch_size": 32, "train__epochs": 1}),
        ("model=cait_xxs24_224", {**large, "train__batch_size": 64, "train__epochs": 3}),
        ("model=cait_xxs24_224", {**large, "train__batch_size": 64, "train__epochs": 3}),
    )
    assert unset_of(entries) == ["train.epochs"]


def test_one_option_that_changed_between_runs_explains_nothing(tmp_path):
    entries = runs_of(
        tmp_path,
        ("augment=light", {"augment__flip": 0}), ("augment=light", {"augment__flip": 1}),
    )  # fmt: skip
    assert unset_of(entries) == ["augment.flip"]


def test_a_group_of_the_user_may_set_every_key(tmp_path):
    entries = runs_of(
        tmp_path,
        ("-cd nowhere experiment=a", {"train__epochs": 0}),
        ("-cd nowhere experiment=b", {"train__epochs": 1}),
    )
    assert unset_of(entries) == []


def test_different_recipes_and_the_seed_explain_differences(tmp_path):
    entries = runs_of(
        tmp_path,
        ("-cn one", {"train__epochs": 0}), ("-cn two", {"train__epochs": 1}),
    )  # fmt: skip
    assert unset_of(entries) == []
    entries = runs_of(
        tmp_path / "seeds", *((f"seed={n}", {"seed": n, "dataset__seed": n}) for n in (0, 1))
    )
    assert unset_of(entries) == []


def test_other_runs_do_not_hide_an_edited_recipe(tmp_path):
    entries = runs_of(
        tmp_path,
        ("-cn mine", {"train__epochs": 1}), ("-cn mine", {"train__epochs": 3}),
        ("seed=1", {"train__epochs": 1}), (None, {"train__epochs": 1}),
    )  # fmt: skip
    assert unset_of(entries) == ["train.epochs"]
    assert unset_of([entries[0], *entries[2:]]) == []


def test_a_resumed_command_may_have_set_a_free_key():
    assert why_unset(["train.epochs"]) == "the recipe or the defaults"
    assert why_unset(["train.patience"]) == "the recipe, the defaults or a resumed command"
    assert "the working directory" in why_unset(["dataset.splits.file"])
