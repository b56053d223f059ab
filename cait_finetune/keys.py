"""``key=value`` words of the small commands, checked against a dataclass."""

from __future__ import annotations

import dataclasses
from typing import Any

from omegaconf import OmegaConf
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
    try:
        config = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.from_cli(arguments))
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
