"""Hydra's sweep syntax, translated to W&B parameters."""

from __future__ import annotations

import pytest

from cait_finetune.cli.compose import configure
from cait_finetune.errors import UserError
from cait_finetune.sweep.space import read_space


def read(*words):
    return read_space(list(words), lambda fixed: configure(*fixed))[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "parameter"),
    [
        ("optimizer.base_lr=tag(log, interval(1e-5, 1e-3))",
         {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3}),
        ("optimizer.layer_decay=choice(0.65,0.75)", {"values": [0.65, 0.75]}),
        ("optimizer.layer_decay=0.65,0.75", {"values": [0.65, 0.75]}),
        ("train.label_smoothing=interval(0, 0.3)",
         {"distribution": "uniform", "min": 0.0, "max": 0.3}),
        # A float key keeps a continuous interval, even between whole numbers.
        ("train.clip_norm=interval(0, 0.9)", {"distribution": "uniform", "min": 0.0, "max": 0.9}),
        ("optimizer.weight_decay=interval(0, 1)",
         {"distribution": "uniform", "min": 0.0, "max": 1.0}),
        ("train.batch_size=interval(8, 64)", {"distribution": "int_uniform", "min": 8, "max": 64}),
        ("train.batch_size=tag(log, interval(8, 64))",
         {"distribution": "q_log_uniform_values", "min": 8, "max": 64, "q": 1}),
        # A range excludes its stop.
        ("train.epochs=range(5, 20, 5)", {"values": [5, 10, 15]}),
        ("seed=range(3)", {"distribution": "int_uniform", "min": 0, "max": 2}),
        ("deterministic=true,false", {"values": [True, False]}),
        # The agent would write null as None, which Hydra reads as a string.
        ("model.image_size=null,64", {"values": ["null", 64]}),
        ("augment=light,three", {"values": ["light", "three"]}),
        ("augment.crop_scale=[0.5,1],[0.08,1]", {"values": ["[0.5,1]", "[0.08,1]"]}),
        ("dataset.license='|',';'", {"values": ["'|'", "';'"]}),
    ],
)  # fmt: skip
def test_a_typed_distribution(word, parameter):
    (varied,) = read(word, "train.log_every=3")
    assert varied.parameter == parameter
    assert {type(one) for one in varied.parameter.get("values", [])} == {
        type(one) for one in parameter.get("values", [])
    }


@pytest.mark.slow
def test_read_space_checks_every_value_with_the_first_value_of_other_keys():
    tried = []

    def check(words):
        tried.append(words)
        return configure(*words)

    read_space(["seed=7", "optimizer.base_lr=interval(0.1,0.2)", "train.epochs=1,2,3"], check)
    others = ["train.epochs=1", "train.epochs=2", "train.epochs=3"]
    assert tried == [
        ["seed=7", "optimizer.base_lr=0.1", "train.epochs=1"],
        ["seed=7", "train.epochs=1", "optimizer.base_lr=0.2"],
        *(["seed=7", "optimizer.base_lr=0.1", word] for word in others[1:]),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=3", "sweep: got no key that varies, expected at least one"),
        ("optimizer.baselr=0.1,0.2", "optimizer.baselr: got an unknown key, expected one of"),
        ("train.epochs=range(20,5,5)", "train.epochs: got range(20,5,5), expected range(low, high"),
        ("train.epochs=interval(20,5)", "train.epochs: got interval(20,5), expected interval(low"),
        ("train.epochs=tag(log,interval(0,5))", "expected an interval above 0"),
        ("train.epochs=3,0", "train.epochs: got 0, expected a number in [1, inf)"),
        ("train.label_smoothing=interval(0,1)", "train.label_smoothing: got 1.0, expected"),
        ("train.batch_size=interval(8.5,9)", "train.batch_size: got '8.5', expected"),
        ("model=cait_s24_224,cait", "model: got cait, expected one of"),
        ("model=glob(*)", "model: got glob(*), expected the options themselves"),
        ("+lr=1,2", "+lr: got a sweep over it, expected a key or group"),
        ("seed=choice(1", "command line: got 'seed=choice(1', expected key=value"),
    ],
)
def test_a_mistake_is_one_message(word, message):
    with pytest.raises(UserError) as caught:
        read(word)
    assert message in str(caught.value)
