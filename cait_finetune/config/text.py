"""Find the keys that hold text, and read their values from a YAML file character for character."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml
from hydra.conf import HydraConf

from cait_finetune.config.root import Config

_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
#: A recipe lists the values of a sweep under this prefix. The keys after it are configuration keys.
SWEEPER_PARAMS = "hydra.sweeper.params."


class Kind(NamedTuple):
    """The values of a text key: one text, or a list if `several`. An `optional` key can also be null."""

    several: bool
    optional: bool


def kind_of(key: str) -> Kind | None:
    """Return the kind of a key such as ``dataset.data_dir``. `None`: the key does not hold text."""
    parent, _, last = key.rpartition(".")
    if last.isdecimal() and (whole := _kinds().get(parent)) and whole.several:
        return Kind(several=False, optional=False)
    return _kinds().get(key)


def holds_text(group: str) -> bool:
    """Return whether any key below ``group`` holds text."""
    return any(key.startswith(f"{group}.") for key in _kinds())


@cache
def _kinds() -> dict[str, Kind]:
    return dict([*_below(Config, ""), *_below(HydraConf, "hydra.")])


def _below(schema: Any, prefix: str) -> Iterator[tuple[str, Kind]]:
    for name, hint in get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from _below(hint, f"{prefix}{name}.")
        elif kind := kind_of_type(hint):
            yield prefix + name, kind


def kind_of_type(hint: Any) -> Kind | None:
    """Return the kind of a field with this type hint. `None`: the field does not hold text."""
    optional = get_origin(hint) in (Union, UnionType) and type(None) in get_args(hint)
    if optional:
        (hint,) = [one for one in get_args(hint) if one is not type(None)]
    several = get_origin(hint) is list and get_args(hint) == (str,)
    return Kind(several, optional) if several or hint is str else None


def texts(document: str, prefix: str = "") -> Iterator[tuple[list[str | int], str]]:
    """Yield the text that a YAML document sets, as written.

    YAML may read ``2024_01``, ``1e3`` and ``no`` as numbers and a boolean. Under a text key these values
    are text. ``null``, ``~`` and an empty value stay null, except inside a list of text.

    Args:
        document: text of the YAML file.
        prefix: package of the document, such as ``"dataset."``.

    Yields:
        The path of each text value in the document, and the characters of the value.
    """
    node = yaml.compose(document, yaml.SafeLoader)
    if node is not None:
        yield from _texts_below(node, prefix, [])


def _texts_below(
    node: yaml.Node, prefix: str, path: list[str | int]
) -> Iterator[tuple[list[str | int], str]]:
    varied = prefix.startswith(SWEEPER_PARAMS)
    kind = kind_of(prefix.removeprefix(SWEEPER_PARAMS).removesuffix("."))
    if isinstance(node, yaml.MappingNode):
        # Merged mappings (<<) come first: the mapping's own keys override merged keys.
        for key, value in sorted(node.value, key=lambda item: item[0].tag != _MERGE):
            if key.tag == _MERGE:
                merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for one in reversed(merged):
                    yield from _texts_below(one, prefix, path)
            elif isinstance(key, yaml.ScalarNode):
                yield from _texts_below(value, f"{prefix}{key.value}.", [*path, key.value])
    elif kind and kind.several and isinstance(node, yaml.SequenceNode):
        for number, one in enumerate(node.value):
            if isinstance(one, yaml.ScalarNode):
                yield [*path, number], one.value
    elif kind and (varied or not kind.several) and _is_text(node):
        yield path, node.value


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag != _NULL
