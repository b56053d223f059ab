"""``key=value`` words of the small commands, checked against a dataclass."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cait_finetune.errors import UserError, bad_value, suggest


def read_keys(arguments: list[str], schema: type, prefix: str = "") -> Any:
    """An object of `schema`, whose fields are the known keys; those without a default are needed.

    Args:
        prefix: what stands before the keys where the user writes them; for messages.

    Raises:
        UserError: an unknown key, a wrong type, or a missing value.
    """
    types = {field.name: field.type for field in dataclasses.fields(schema)}
    known = list(types)
    for argument in arguments:
        key = argument.partition("=")[0]
        if key not in known:
            raise bad_value(
                prefix + key, "an unknown key", f"one of {', '.join(known)}", suggest(key, known)
            )
        if "=" not in argument:
            raise bad_value(key, "nothing", "a value", f"write {key}=…")
    kinds = get_type_hints(schema)
    values = [_value(argument, kinds) for argument in arguments]
    try:
        config = OmegaConf.merge(OmegaConf.structured(schema), *values)
    except OmegaConfBaseException as error:
        if error.full_key not in types:
            raise UserError(str(error).splitlines()[0]) from error
        words = dict(argument.partition("=")[::2] for argument in arguments)
        raise bad_value(
            prefix + error.full_key,
            repr(words[error.full_key]),
            f"a value of type {types[error.full_key]}",
        ) from error
    for key in known:
        if OmegaConf.is_missing(config, key):
            raise bad_value(
                f"{prefix}{key}", "nothing", "a value", f"add {prefix}{key}=… to the command"
            )
    return OmegaConf.to_object(config)


def _value(argument: str, kinds: dict[str, Any]) -> DictConfig:
    """``key=value`` as a configuration of one key.

    Text is taken as it stands: to YAML ``*.jpg`` is an error, and the folder ``2024`` a number. Where
    several are allowed, ``[a,b]`` is two.
    """
    key, _, word = argument.partition("=")
    if kinds[key] in (str, str | None):
        return OmegaConf.create({key: None if word in ("", "null") else word})
    if kinds[key] == list[str]:
        several = word.startswith("[") and word.endswith("]")
        return OmegaConf.create({key: _words(word[1:-1]) if several else [word]})
    return OmegaConf.from_cli([argument])


def _words(listed: str) -> list[str]:
    return [word.strip() for word in listed.split(",") if word.strip()]
