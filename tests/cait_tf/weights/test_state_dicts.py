import pytest

from cait_tf import WeightsError
from cait_tf.weights.state_dicts import choose, plain_names

RAW, EMA, OTHER = {"norm.weight": 1.0}, {"norm.weight": 2.0}, {"norm.weight": 3.0}
TRAINING = {"epoch": 3, "args": object(), "optimizer": {"state": {0: {"step": 1.0}}}, "scaler": {}}


def is_tensor(value):
    return isinstance(value, float)


def chosen(checkpoint, key=None):
    return choose(checkpoint, is_tensor, "some.pth", key)


@pytest.mark.parametrize(
    ("checkpoint", "state", "others"),
    [
        (RAW, RAW, None),
        ({"state_dict": RAW}, RAW, None),
        ({"state_dict": RAW, "state_dict_ema": EMA}, EMA, "state_dict"),
        ({"model": RAW, "model_ema": EMA}, EMA, "model"),
        ({"model": RAW, "model_ema": None}, RAW, None),
        ({"model": RAW, "model_ema": {}}, RAW, None),
        ({"model": RAW, "ema": EMA}, EMA, "model"),
        ({"model": RAW, "state_dict": OTHER}, OTHER, "model"),
        ({"model": RAW, "state_dict_ema": EMA, "model_ema": OTHER}, EMA, "model, model_ema"),
        ({"net": RAW}, RAW, None),
        ({"schema": OTHER, "model": RAW}, RAW, "schema"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_the_state_dict_is_the_one_that_timm_prefers(checkpoint, state, others):
    choice = chosen(checkpoint if checkpoint is RAW else {**TRAINING, **checkpoint})
    assert choice.state is state
    assert [note.partition(" of the checkpoint; ")[2] for note in choice.notes] == (
        [f"weights_key selects {others}"] if others else []
    )


def test_a_key_chooses_another_one():
    choice = chosen({"model": RAW, "model_ema": EMA}, "model")
    assert choice.state is RAW
    assert choice.notes == ("model of the checkpoint",)


@pytest.mark.parametrize(
    ("checkpoint", "key", "message"),
    [
        ({"model": RAW, "epoch": 3}, "epoch", "got 'epoch' with some.pth, expected model"),
        ({"model": RAW, "ema": EMA}, "emas", "got 'emas' with some.pth, expected ema, model"),
        (RAW, "model", "got 'model' with some.pth, expected null: the file has no state dict"),
        ({"student": RAW, "teacher": EMA}, None, "got null with some.pth, .* student, teacher"),
        ({"ema": RAW, "best_ema": EMA}, None, "got null with some.pth, .* best_ema, ema"),
    ],
    ids=str,
)
def test_a_choice_that_cannot_be_made_lists_the_keys(checkpoint, key, message):
    with pytest.raises(WeightsError, match=f"weights_key: {message}"):
        chosen(checkpoint, key)


def test_an_average_of_another_form_is_noted():
    choice = chosen({"model": RAW, "model_ema": {"decay": 0.99, "module": EMA}})
    assert choice.state is RAW
    assert choice.notes == ("model of the checkpoint, because model_ema is not a state dict",)


@pytest.mark.parametrize(
    "checkpoint",
    [[RAW], None, {}, {"model": {}}, {"model": {1: 1.0}}, {"model": {"a": 1}}, {1: 1.0}],
    ids=str,
)
def test_a_checkpoint_without_a_state_dict_is_refused(checkpoint):
    with pytest.raises(
        WeightsError, match=r"weights: got some\.pth with .*, expected a state dict"
    ):
        chosen(checkpoint)


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.",
     "model.", "model._orig_mod."],
)  # fmt: skip
def test_prefixes_of_all_names_are_removed(prefix):
    state = {f"{prefix}norm.weight": 1.0, f"{prefix}head.module.bias": 2.0}
    assert plain_names(state) == {"norm.weight": 1.0, "head.module.bias": 2.0}


def test_a_prefix_of_some_names_stays():
    state = {"module.norm.weight": 1.0, "head.bias": 2.0}
    assert plain_names(state) == state


def test_the_counter_of_an_averaged_model_is_no_weight():
    assert plain_names({"n_averaged": 5.0, "module.norm.weight": 1.0}) == {"norm.weight": 1.0}


def test_plain_names_accepts_an_empty_dict():
    assert plain_names({}) == {}
