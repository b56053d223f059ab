"""Refuse words of a command line that name no key, before Hydra reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from cait_finetune.config.advice import advise
from cait_finetune.config.suggestions import (
    all_groups,
    all_keys,
    nearest,
    option_meant,
    unknown_key,
)
from cait_finetune.config.words import split
from cait_finetune.errors import UserError, bad_value

#: Hydra's options.
_OPTIONS = (
    "-h", "--help", "--hydra-help", "--version", "--resolve", "-r", "--run", "-m", "--multirun", "-c",
    "--cfg", "-p", "--package", "-sc", "--shell-completion", "-cp", "--config-path", "-cn",
    "--config-name", "-cd", "--config-dir", "--experimental-rerun", "-i", "--info",
)  # fmt: skip

#: Groups that take several options at once.
_SEVERAL = ("logger", "export")

#: What to write instead of the options of other programs.
_OPTION_HINTS = {
    "config": "For a recipe write -cd FOLDER -cn NAME",
    "cfg-file": "For a recipe write -cd FOLDER -cn NAME",
    "resume": "Write resume=RUN",
    "multi-run": "Write -m",
}


def refuse_unknown_options(words: Sequence[str]) -> None:
    """Refuse an option that Hydra does not have, such as ``--epochs 5``.

    Raises:
        UserError: the words contain such an option.
    """
    for word, following in pairwise([*words, ""]):
        option, sign, value = word.partition("=")
        same = [one for one in _OPTIONS if one.startswith(option)]
        beginning = option.startswith("--") and len(same) == 1
        if not option.startswith("-") or option in _OPTIONS or beginning or _is_number(word):
            continue
        given = (
            value if sign else ("" if following.startswith("-") or "=" in following else following)
        )
        key = option.lstrip("-")
        if hint := _OPTION_HINTS.get(key):
            raise bad_value(option, "an unknown option", "key=value without dashes", hint)
        near = nearest(key)
        written = near[0] if near else key
        hint = (
            f"did you mean {written}={given}?"
            if near and given
            else "Write KEY=VALUE, as train.epochs=5."
        )
        raise bad_value(option, "an unknown option", "key=value without dashes", hint)


def refuse_misplaced_words(words: Sequence[str]) -> None:
    """Refuse a word that is not one ``key=value``, before Hydra parses it.

    Most such words come from a space at which the shell divided a value.

    Args:
        words: words of a command line. The word after an option, such as ``-cn``, is its value.

    Raises:
        UserError: a word is no ``key=value``, ends with a comma, or holds two words.
    """
    known = (*all_keys(), *all_groups())
    for number, (before, word) in enumerate(pairwise(["", *words])):
        key, sign, value = word.partition("=")
        if before in _OPTIONS or word.startswith(("-", "+", "~")):
            continue
        second = re.search(r"[ ,]([a-z][a-z_.]*)=", value)
        if sign and second and second[1] in known:
            hint = f"Write them as words of their own: {key}={value[: second.start()]} {value[second.start() + 1 :]}"
            raise bad_value(key, repr(word), "one key=value in each word", hint)
        if sign and value.endswith(",") and key in known:
            raise bad_value(
                key, value, "values without a space after the comma", f"Write {key}=A,B"
            )
        if not sign or not key:
            raise _no_key(word, words[number + 1 :])


def _no_key(word: str, after: Sequence[str]) -> UserError:
    """Return the error for a word without ``=``, with the words that follow it."""
    expected = "key=value"
    if word.endswith((".yaml", ".yml")):
        path = Path(word)
        recipe = f"-cd {path.parent} -cn {path.stem}"
        return bad_value(word, "a file without a key", expected, f"For a recipe write {recipe}")
    if _is_number(word):
        hint = "Write several values with a comma and no space, with -m: seed=0,1,2"
        return bad_value(word, "a value without a key", expected, hint)
    if word.startswith("="):
        return bad_value(word, "a space beside =", expected, "Leave out the spaces")
    if (Path(word) / "config.yaml").is_file():
        hint = (
            f"For a run write {advise('run', word)} after the command, or {advise('resume', word)}"
        )
        return bad_value(word, "a directory without a key", expected, hint)
    if Path(word).is_dir():
        hint = f"did you mean dataset=folder {advise('dataset.data_dir', word)}?"
        return bad_value(word, "a directory without a key", expected, hint)
    near = word if word in (*all_keys(), *all_groups()) else next(iter(nearest(word)), "KEY")
    value = next((one for one in after[:2] if one != "="), "")
    value = "VALUE" if not value or "=" in value or value.startswith("-") else value
    return bad_value(word, "a word without =", expected, f"Write {near}={value}")


def refuse_unknown_keys(words: Iterable[str]) -> None:
    """Refuse ``key=value`` whose key the configuration does not have.

    Hydra checks its own keys, and words that remove a key (``~``).

    Raises:
        UserError: a key is unknown, or a group that takes one option gets a list.
    """
    for word in words:
        key, sign, value = word.partition("=")
        key = key.lstrip("+")
        if not sign or not key or key[0] in "~-" or key.startswith("hydra"):
            continue
        bare = key.partition("@")[0]
        if key in all_groups() and key not in _SEVERAL and re.match(r"\[.*,.*\]$", value):
            hint = f"Write {' '.join(option_meant(key, one) for one in split(value[1:-1]))}"
            raise bad_value(key, value, "one option: the last would replace the others", hint)
        if "@" not in key and "/" not in key and bare not in (*all_keys(), *all_groups()):
            raise unknown_key(key, value)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
