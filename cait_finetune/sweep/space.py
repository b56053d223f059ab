"""Read the varied keys of a sweep in Hydra's syntax, and translate them to W&B parameters."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
    ValueType,
)
from hydra.errors import HydraException

from cait_finetune.cli.explain import explain
from cait_finetune.config import Config
from cait_finetune.errors import UserError, bad_value

#: Valid names of W&B sweep parameters.
_NAME = re.compile(r"[A-Za-z_][\w.-]*")


@dataclass(frozen=True)
class Varied:
    """A key that a sweep varies, and its entry in W&B's ``parameters``."""

    key: str
    parameter: dict[str, Any]


def read_space(
    words: list[str], check: Callable[[list[str]], Config]
) -> tuple[list[Varied], Config]:
    """Return the keys that vary among `words`, after a check of their values.

    The function checks both ends of every interval and range, and every choice. An interval is over
    integers if the key's value is an integer, and continuous otherwise. ``8`` and ``8.0`` mean the
    same end. As in Hydra, a range does not contain its stop.

    Args:
        words: command-line words in Hydra's sweep syntax.
        check: composes and checks a configuration from words that do not vary.

    Returns:
        The varied keys, and the configuration with the first value of each.

    Raises:
        UserError: no key varies, an interval or range is reversed or empty, a choice is a glob or
            occurs twice, W&B cannot vary a key, or the configuration refuses a key or a value.
    """
    overrides = parse(words)
    fixed = [one.input_line for one in overrides if not one.is_sweep_override()]
    varied = [one for one in overrides if one.is_sweep_override()]
    if not varied:
        raise bad_value(
            "sweep", "no key that varies", "at least one",
            "such as 'optimizer.base_lr=tag(log, interval(1e-5, 1e-3))' or train.epochs=5,10",
        )  # fmt: skip
    tried = {one.key_or_group: _tried(one) for one in varied}
    firsts = {key: words[0] for key, words in tried.items()}
    config = check([*fixed, *firsts.values()])
    for key, alternatives in tried.items():
        others = [word for other, word in firsts.items() if other != key]
        for word in alternatives[1:]:
            check([*fixed, *others, word])
    return [Varied(one.key_or_group, _parameter(one, config)) for one in varied], config


def parse(words: list[str]) -> list[Override]:
    """Parse overrides with Hydra's own parser.

    Raises:
        UserError: Hydra cannot parse a word.
    """
    try:
        return OverridesParser.create().parse_overrides(words)
    except HydraException as error:
        raise UserError(explain(error)) from error


def _tried(override: Override) -> list[str]:
    """Return the words to check: every choice, or both ends of an interval or range.

    Raises:
        UserError: W&B cannot vary the key, or its values are reversed, empty, repeated or a glob.
    """
    key, value = override.key_or_group, override.value()
    written = override.input_line.partition("=")[2]
    if not _NAME.fullmatch(override.get_key_element()):
        raise bad_value(
            override.get_key_element(), "a sweep over it", "a key or group of the configuration",
            "W&B takes only names without +, @ and /",
        )  # fmt: skip
    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        raise bad_value(key, written, "the options themselves, as in choice(a, b)")
    if isinstance(value, IntervalSweep):
        if not value.start < value.end:
            raise bad_value(key, written, "interval(low, high), low < high")
        if "log" in value.tags and value.start <= 0:
            raise bad_value(key, written, "an interval above 0, as it is logarithmic")
        # Hydra turns both ends into floats, but a key with integer values refuses 8.0.
        ends = [int(end) if float(end).is_integer() else end for end in (value.start, value.end)]
        return [f"{key}={end}" for end in ends]
    words = [f"{key}={text}" for text in override.sweep_string_iterator()]
    if not words:
        raise bad_value(key, written, "range(low, high, step), low < high")
    if len(set(words)) < len(words):
        raise bad_value(key, written, "each choice once")
    return [words[0], words[-1]] if isinstance(value, RangeSweep) else words


def _parameter(override: Override, config: Config) -> dict[str, Any]:
    value = override.value()
    if not isinstance(value, IntervalSweep):
        values = list(override.sweep_iterator(transformer=_as_yaml))
        step_of_one = isinstance(value, RangeSweep) and value.step == 1
        if step_of_one and all(isinstance(one, int) for one in values) and len(values) > 1:
            return {"distribution": "int_uniform", "min": values[0], "max": values[-1]}
        return {"values": values}
    whole = isinstance(attrgetter(override.key_or_group)(config), int)
    logarithmic = "log" in value.tags
    if whole:
        ends = {"min": int(value.start), "max": int(value.end)}
        if logarithmic:
            return {"distribution": "q_log_uniform_values", **ends, "q": 1}
        return {"distribution": "int_uniform", **ends}
    ends = {"min": float(value.start), "max": float(value.end)}
    return {"distribution": "log_uniform_values" if logarithmic else "uniform", **ends}


def _as_yaml(value: Any) -> Any:
    """Return numbers and booleans unchanged, and other values as text that Hydra can parse."""
    return value if isinstance(value, bool | int | float) else Transformer.str(value)
