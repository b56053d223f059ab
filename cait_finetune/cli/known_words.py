"""Refuse words of a command line that name no key, before Hydra reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from cait_finetune.config.suggestions import all_groups, all_keys, nearest, unknown_key
from cait_finetune.errors import bad_value

#: Hydra's options.
_OPTIONS = (
    "-h", "--help", "--hydra-help", "--version", "--resolve", "-r", "--run", "-m", "--multirun", "-c",
    "--cfg", "-p", "--package", "-sc", "--shell-completion", "-cp", "--config-path", "-cn",
    "--config-name", "-cd", "--config-dir", "--experimental-rerun", "-i", "--info",
)  # fmt: skip


def refuse_unknown_options(words: Sequence[str]) -> None:
    """Refuse an option that Hydra does not have, such as ``--epochs 5``.

    Raises:
        UserError: the words contain such an option.
    """
    for word, following in pairwise([*words, ""]):
        option, sign, value = word.partition("=")
        beginning = option.startswith("--") and any(one.startswith(option) for one in _OPTIONS)
        if not option.startswith("-") or option in _OPTIONS or beginning or _is_number(word):
            continue
        given = (
            value if sign else ("" if following.startswith("-") or "=" in following else following)
        )
        key = option.lstrip("-")
        near = nearest(key)
        written = near[0] if near else key
        hint = (
            f"did you mean {written}={given}?"
            if near and given
            else "Write KEY=VALUE, as train.epochs=5."
        )
        raise bad_value(option, "an unknown option", "key=value without dashes", hint)


def refuse_unknown_keys(words: Iterable[str]) -> None:
    """Refuse ``key=value`` whose key the configuration does not have.

    Hydra checks its own keys, and words that add or remove a key (``+``, ``~``).

    Raises:
        UserError: a key is unknown.
    """
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key or key[0] in "+~-" or key.startswith("hydra"):
            continue
        bare = key.partition("@")[0]
        if "@" not in key and "/" not in key and bare not in (*all_keys(), *all_groups()):
            raise unknown_key(key, value)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
