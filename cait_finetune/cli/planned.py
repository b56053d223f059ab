"""Announce each run of a sweep: its number, the number of all runs, and the values that vary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from cait_finetune.config.words import unquoted
from cait_finetune.runs.command_line import ADDED


def announce(
    number: int, task: Sequence[str], words: Iterable[str], params: Mapping[str, Any]
) -> str:
    """Return a line such as ``run 2 of 4: optimizer.base_lr=0.0003 seed=1``.

    The line leaves out the number of all runs if it is unknown, as with ``interval`` or ``glob``.

    Args:
        number: number of the run, from 0.
        task: the words of the run, as Hydra gives them.
        words: the words of the command.
        params: ``hydra.sweeper.params`` of a recipe. A word of the command with the same key replaces
            that key's values.
    """
    parse = OverridesParser.create().parse_overrides
    try:
        typed = parse([word for word in words if "=" in word and not word.startswith("-")])
        keys = {one.key_or_group for one in typed}
        of_recipe = parse([f"{key}={value}" for key, value in params.items() if key not in keys])
    except HydraException:
        typed = of_recipe = []
    swept = [one for one in (*typed, *of_recipe) if one.is_sweep_override()]
    counts = [_count(one) for one in swept]
    known = [one for one in counts if one is not None]
    of = f" of {math.prod(known)}" if swept and len(known) == len(counts) else ""
    names = {one.key_or_group for one in swept}
    varied = [word for word in task if word.partition("=")[0].lstrip("+") in names]
    shown = [unquoted(word).removeprefix(ADDED) for word in varied or task]
    return f"run {number + 1}{of}: {' '.join(shown)}"


def _count(override: Override) -> int | None:
    countable = override.is_choice_sweep() or override.is_range_sweep()
    if countable and not isinstance(override.value(), Glob):
        return sum(1 for _ in override.sweep_iterator())
    return None
