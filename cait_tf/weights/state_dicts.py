"""Choose a state dict among those of a PyTorch checkpoint, and remove wrappers' prefixes from names.

Plain functions on mappings: they need no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from cait_tf.errors import WeightsError

#: The keys of timm's and DeiT's training scripts, in the order in which timm prefers them.
_KNOWN = ("state_dict_ema", "model_ema", "state_dict", "model")
_EMA = re.compile(r"(^|_)ema(_|$)")
#: DistributedDataParallel and EMA wrappers, ``torch.compile``, Lightning modules.
_WRAPPERS = ("module.", "_orig_mod.", "model.")
#: The counter of ``torch.optim.swa_utils.AveragedModel``, which stands outside its ``module.``.
_COUNTERS = ("n_averaged",)


class Choice(NamedTuple):
    """A state dict, and what the loading report says about the choice."""

    state: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def choose(
    checkpoint: Any, is_tensor: Callable[[Any], bool], source: str, key: str | None = None
) -> Choice:
    """Find the state dict of a checkpoint; of several, the moving average of the weights (EMA).

    Args:
        checkpoint: a state dict, or a mapping that holds state dicts beside anything else.
        is_tensor: whether a value is a tensor.
        source: the checkpoint's path, for messages.
        key: the key of the state dict to take. `None`: an EMA, else ``state_dict``, else ``model``,
            else the only state dict.

    Returns:
        The state dict, with a note if the checkpoint has another one.

    Raises:
        WeightsError: the checkpoint holds no state dict, none under `key`, or several unknown ones.
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
        notes.append(f"{taken} of the checkpoint (weights_key chooses {_listed(others)})")
    for name, value in held.items():
        if _is_average(name) and isinstance(value, Mapping) and value and name not in found:
            notes.append(f"{taken} of the checkpoint, as {name} is no state dict")
    return Choice(found[taken], tuple(notes))


def plain_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the prefixes that all names have, in whatever order the wrappers were nested."""
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
