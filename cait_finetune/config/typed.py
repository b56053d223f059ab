"""Check that the command reads each word of its command line.

The checks of `cait_finetune.config.effect` compare a value with its default. They cannot see that a
user typed the default, or a value if the key's default comes from a file in ``conf/``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cache

import yaml

from cait_finetune.config.effect import Condition, no_cached_features, takes_steps, unread
from cait_finetune.config.places import data_folder
from cait_finetune.config.root import Config
from cait_finetune.errors import bad_value

_log = logging.getLogger(__name__)

#: Groups and keys that have no effect with some choices of a run.
CONDITIONS = (
    Condition(
        ("optimizer", "schedule", "train.epochs", "train.steps", "train.examples",
         "train.steps_per_epoch", "train.label_smoothing", "train.clip_norm", "train.log_every",
         "train.steps_per_execution", "train.max_skipped_steps"),
        takes_steps,
        "tuning.solver other than lbfgs",
        "Add tuning.solver=sgd.",
    ),
    Condition(
        ("augment", "dataset.cache", "model.drop_path_rate", "model.drop_rate", "model.attn_drop_rate"),
        no_cached_features,
        "tuning.cache_features other than true",
        "Add tuning.cache_features=false.",
    ),
    Condition(
        ("train.label_smoothing",),
        lambda config: config.task.name != "regression" or not config.train.label_smoothing,
        "classes",
        "Leave the key out: task=regression has numbers.",
    ),
    Condition(
        ("dataset.num_classes",),
        lambda config: config.task.name != "several",
        "a task other than several",
        "Leave the key out: each label has its own number of classes.",
    ),
    Condition(
        ("augment.flip",),
        lambda config: config.dataset.allow_flip or not config.augment.flip,
        "dataset.allow_flip=true",
        "Leave the key out: mirroring changes the class of these images.",
    ),
    Condition(
        ("schedule.warmup_lr",),
        lambda config: bool(
            config.schedule.warmup_epochs
            or config.schedule.warmup_steps
            or config.schedule.warmup_examples
        ),
        "a warm-up",
        "Set schedule.warmup_epochs=1.",
    ),
    Condition(
        ("optimizer.layer_decay",),
        lambda config: config.tuning.method != "linear_probe",
        "a tuning method that trains blocks",
        "Leave the key out: a linear probe trains the head alone.",
    ),
)  # fmt: skip
#: Values that switch something off. They are accepted where the key has no effect.
_NOTHING = ("none", "null", "false", "[]")
_NO_TRAINING = (
    "tuning", "augment", "loss", "optimizer", "schedule", "distribution", "logger", "export", "average",
    "checkpoint", "debug", "lr_find", "train", "dataset.metric", "dataset.sampling",
    "dataset.allow_flip", "dataset.cache", "dataset.cache_dir", "dataset.shuffle_buffer",
    "dataset.check",
)  # fmt: skip
#: Keys that choose images of the train split alone.
_OF_TRAIN = ("dataset.examples_per_class", "dataset.train_share")
#: Groups and keys that a command does not read, by the command's name.
NOT_READ = {
    "train": ("evaluation", "lr_find"),
    "lr_find": ("evaluation",),
    "show_batch": ("evaluation", "lr_find"),
    "evaluate": _NO_TRAINING,
}
#: Keys of the groups above that the command does read.
READ = {"evaluate": ("dataset.check", "train.eval_batch_size", "train.compile_cache_dir")}


def check_typed(words: Iterable[str], config: Config, command: str) -> None:
    """Refuse words that have no effect with the other choices; warn of words that are not read.

    Users often give the same words to several commands, so a word that this command does not read is
    no error.

    Args:
        words: overrides as ``key=value`` or ``group=option``.
        config: the composed configuration.
        command: a key of `NOT_READ`.

    Raises:
        UserError: a word has no effect with the other choices.
    """
    typed = {_key(word): word for word in words}
    not_read = NOT_READ[command]
    if command == "evaluate" and config.evaluation.split != "train":
        not_read = (*not_read, *_OF_TRAIN)
    aside = [
        key for key in typed if _is_in(key, not_read) and not _is_in(key, READ.get(command, ()))
    ]
    if aside:
        reader = "training" if command == "train" else command
        _log.warning("%s does not read %s", reader, ", ".join(aside))
    without_effect = [
        *((one, one.keys) for one in CONDITIONS if not one.read(config)),
        *((one, (key,)) for one, key in unread(config)),
    ]
    for condition, keys in without_effect:
        for key, word in typed.items():
            value = word.partition("=")[2]
            if value in _NOTHING or key in aside or value == _usual_options().get(key):
                continue
            if _is_in(key, keys):
                raise bad_value(
                    key,
                    value,
                    f"no value: {key} has an effect only with {condition.where}",
                    condition.hint,
                )


@cache
def _usual_options() -> dict[str, str]:
    """Return the option of each group in ``conf/config.yaml``. Typing it again changes nothing."""
    text = (data_folder("conf") / "config.yaml").read_text(encoding="utf-8")
    listed = [one for one in yaml.safe_load(text)["defaults"] if isinstance(one, dict)]
    return {group: option for one in listed for group, option in one.items()}


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~").partition("@")[0]


def _is_in(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)
