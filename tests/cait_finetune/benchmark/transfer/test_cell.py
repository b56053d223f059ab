import dataclasses

import pytest

from cait_finetune.benchmark.transfer.cell import LONGER, METHODS
from cait_finetune.cli.hydra_app import configure
from cait_finetune.data.opening import open_source
from tests.cait_finetune.benchmark.transfer.stand_ins import cell


def composed(method, **others):
    return configure(*cell(method, **others).words)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_a_command_line(method):
    config = composed(method, share=0.2, seed=7)
    assert (config.seed, config.dataset.seed, config.dataset.train_share) == (7, 7, 0.2)
    assert (config.train.epochs, config.train.steps_per_epoch) == (2, 3)
    assert config.model.weights == ("none" if "scratch" in method else "pretrained")


def test_the_methods_are_what_they_are_called():
    tuning = {method: composed(method).tuning.method for method in METHODS}
    assert tuning == {
        "from scratch": "full",
        "from scratch 3x": "full",
        "linear probe": "linear_probe",
        "full": "full",
        "full + layer decay": "full",
        "LoRA": "lora",
        "head then full": "head_then_full",
    }
    decay = {method: composed(method).optimizer.layer_decay for method in METHODS}
    assert [name for name, value in decay.items() if value == 1] == [
        "from scratch",
        "from scratch 3x",
        "full",
    ]
    assert LONGER.keys() <= METHODS.keys()


def test_full_with_layer_decay_is_the_default_command():
    """But for the images, the length, and what does not change the result."""
    ours, default = (
        dataclasses.asdict(one) for one in (composed("full + layer decay"), configure())
    )
    assert [name for name in ours if ours[name] != default[name]] == [
        "dataset", "distribution", "export", "train",
    ]  # fmt: skip
    for group, keys in (
        ("dataset", ["train_share", "seed"]),  # the default draws nothing
        ("train", ["epochs", "steps_per_epoch"]),
    ):
        differ = [key for key, value in ours[group].items() if value != default[group][key]]
        assert differ == keys


def test_a_seed_draws_the_images():
    sources = [open_source(composed("full", share=0.05, seed=seed).dataset) for seed in (0, 1)]
    assert [source.sizes["train"] for source in sources] == [60, 60]
    assert sources[0].stamp("train") != sources[1].stamp("train")


def test_a_folder_of_any_name():
    place = "/a place/of, mine"
    assert composed("full", dataset="flowers", data_dir=place).dataset.data_dir == place


def test_a_probe_takes_no_steps():
    assert cell("linear probe").steps == 0
    assert cell("full").steps == 6
