"""Check a user's YAML file key by key, so that a message names the file and the line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cait_finetune.config.places import data_folder
from cait_finetune.config.root import Config
from cait_finetune.config.suggestions import all_groups, all_keys, kind_words, unknown_key
from cait_finetune.errors import UserError, bad_value, reason

_HYDRAS = ("defaults", "hydra")
_VALUE = re.compile(r"Value '(.*?)' ", re.DOTALL)


def check_own_file(path: Path, document: str, prefix: str) -> None:
    """Check the keys of a file and the types of their values.

    Interpolations such as ``${seed}`` are checked when Hydra resolves them.

    Args:
        document: text of the file, which is valid YAML.
        prefix: package of the file's keys, such as ``dataset.``. Empty: the whole configuration.

    Raises:
        UserError: a key is unknown, or a value has another type than its key.
    """
    node = yaml.compose(document, yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        return
    known = {*all_keys(), *all_groups()}
    for key, value in _pairs(node, prefix):
        place = f"{path}, line {value.start_mark.line + 1}"
        if key not in known:
            raise UserError(f"{place}: {unknown_key(key)}")
        if key in all_groups() and isinstance(value, yaml.ScalarNode) and value.value:
            option = (data_folder("conf") / key / f"{value.value}.yaml").is_file()
            hint = f"Write - override {key}: {value.value} under defaults:" if option else ""
            wrong = bad_value(
                key, value.value, f"keys of the group, as {key}: {{KEY: VALUE}}", hint
            )
            raise UserError(f"{place}: {wrong}")
        if key in all_keys():
            _check_type(key, value, place)


def _pairs(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the full name and the value of each key, groups before their keys."""
    for name, value in node.value:
        if not isinstance(name, yaml.ScalarNode) or name.tag == "tag:yaml.org,2002:merge":
            continue
        if not prefix and name.value in _HYDRAS:
            continue
        key = prefix + name.value
        yield key, value
        if isinstance(value, yaml.MappingNode) and key in all_groups():
            yield from _pairs(value, f"{key}.")


def _check_type(key: str, value: yaml.Node, place: str) -> None:
    written = OmegaConf.create(yaml.serialize(value)) if _is_container(value) else value.value
    if "${" in str(written):
        return
    try:
        schema, leaf = _owner(key)
        OmegaConf.update(OmegaConf.structured(schema), leaf, _plain(value))
    except OmegaConfBaseException as error:
        found = _VALUE.search(reason(error))
        wrong = bad_value(
            key,
            repr(found[1]) if found else str(written),
            kind_words(key),
            f"cait-finetune --help {key}",
        )
        raise UserError(f"{place}: {wrong}") from error


def _owner(key: str) -> tuple[Any, str]:
    """Return the dataclass that has the key, and the key's last part."""
    *groups, leaf = key.split(".")
    schema: Any = Config
    for group in groups:
        schema = get_type_hints(schema)[group]
    return schema, leaf


def _is_container(node: yaml.Node) -> bool:
    return not isinstance(node, yaml.ScalarNode)


def _plain(node: yaml.Node) -> object:
    """Return the value as YAML reads it, with OmegaConf's own rules for numbers."""
    return OmegaConf.to_container(OmegaConf.create(f"value: {yaml.serialize(node)}"))["value"]  # type: ignore[index,call-overload]
