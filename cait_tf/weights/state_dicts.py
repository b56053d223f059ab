"""Choose a state dict of a PyTorch checkpoint, and remove wrappers' prefixes from names.

The functions work on mappings and do not need torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from cait_tf.errors import WeightsError

#: The keys of timm's and DeiT's training scripts, in timm's order of preference.
_KNOWN = ("state_dict_ema", "model_ema", "state_dict", "model")
_EMA = re.compile(r"(^|_)ema(_|$)")
#: Prefixes of DistributedDataParallel and EMA wrappers, ``torch.compile``, Lightning modules.
_WRAPPERS = ("module.", "_orig_mod.", "model.")
#: The counter of ``torch.optim.swa_utils.AveragedModel``. Its name has no prefix ``module.``.
_COUNTERS = ("n_averaged",)


class Choice(NamedTuple):
    """A state dict, and notes about the choice for the loading report."""

    state: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def choose(
    checkpoint: Any, is_tensor: Callable[[Any], bool], source: str, key: str | None = None
) -> Choice:
    """Choose the state dict of a checkpoint. Prefer a moving average of the weights (EMA).

    Args:
        checkpoint: a state dict, or a mapping that holds state dicts and other values.
        is_tensor: returns whether a value is a tensor.
        source: path of the checkpoint, for messages.
        key: key of the state dict. `None`: an EMA, else ``state_dict``, else ``model``, else the
            only state dict.

    Returns:
        The state dict. Notes name `key`, the other state dicts, and an EMA that is not a state
        dict.

    Raises:
        WeightsError: the checkpoint has no state dict, no state dict under `key`, or several state
            dicts without a preferred key.
    """
    held = checkpoint if isinstance(checkpoint, Mapping) else {}
    found = {name: value for name, value in held.items() if _is_state(value, is_tensor)}
    if key is not None:
        if key not in found:
            known = _listed(found) or "null: the file has no state dict under a key"
            raise WeightsError(f"weights_key: got {key!r} with {source}, expected {known}")
        return Choice(found[key], (f"{key} of the checkpoint",))
    if _is_state(held, is_tensor):
        return Choice(held)
    if not found:
        got = f"with {_listed(held)}" if held else f"with {type(checkpoint).__name__}"
        raise WeightsError(
            f"weights: got {source} {got}, expected a state dict, alone or under 'model' or "
            "'state_dict'"
        )
    taken = _preferred(found, source)
    notes = []
    if others := [name for name in found if name != taken]:
        notes.append(f"{taken} of the checkpoint; weights_key selects {_listed(others)}")
    for name, value in held.items():
        if _is_average(name) and isinstance(value, Mapping) and value and name not in found:
            notes.append(f"{taken} of the checkpoint, because {name} is not a state dict")
    return Choice(found[taken], tuple(notes))


def plain_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the counters of wrappers, and every wrapper prefix that all names share."""
    state = {name: value for name, value in state.items() if name not in _COUNTERS}
    while prefix := next((one for one in _WRAPPERS if state and _have(state, one)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _have(names: Iterable[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def _preferred(names: Collection[str], source: str) -> str:
    averages = [name for name in names if _is_average(name)]
    known = [name for name in _KNOWN if name in (averages or names)]
    left = known[:1] or averages or list(names)
    if len(left) > 1:
        raise WeightsError(
            f"weights_key: got null with {source}, expected one of its state dicts: {_listed(left)}"
        )
    return left[0]


def _is_average(name: Any) -> bool:
    return isinstance(name, str) and bool(_EMA.search(name))


def _is_state(value: Any, is_tensor: Callable[[Any], bool]) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and is_tensor(one) for name, one in value.items())
    )


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, names))[:8])
