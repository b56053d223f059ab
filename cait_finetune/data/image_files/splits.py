"""Map the parts of a data set, such as the folder ``val``, to train, validation and test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from cait_finetune.config import DatasetConfig
from cait_finetune.data.source import SPLITS
from cait_finetune.errors import bad_value, suggest

#: Usual names of folders or table values for each split, in lower case.
USUAL_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """The part or the share of each split.

    Attributes:
        parts: the name of the part of each split that has one. Empty: the data set has no parts.
        shares: the share of each split in train's part, or in all images if there are no parts.
            Empty: nothing is divided.
        words: a phrase for the user if a split has the part of another split. Else empty.
    """

    parts: Mapping[str, str]
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    words: str = ""


def usual_split(name: str) -> str | None:
    """Return the split that a part with this name usually stands for. `None`: not a usual name."""
    return next((split for split, names in USUAL_NAMES.items() if name.lower() in names), None)


def planned(config: DatasetConfig, names: Iterable[str], what: str) -> Plan:
    """Plan the splits from the parts `names`: as configured, otherwise by their usual names.

    As with TFDS sets, the plan never validates on test images. If validation or test is the only part
    beside train, that part is test, and validation gets its share of train. But a part that
    ``dataset.splits.validation`` names stays validation, and test gets its share of train. If train is
    the only part, the shares divide it.

    With `evaluation_only` no part is divided. A split without a part gets the part of test, validation
    or train, in this order, or else the first part.

    Args:
        config: ``dataset.splits`` has the configured parts and shares.
        names: names of the parts. Empty: the shares divide all images, or with `evaluation_only` each
            split has all images.
        what: the folder or table that has the parts, for messages.

    Raises:
        UserError: a configured part does not exist, or is configured for two splits; two parts have
            usual names of the same split; no part is train; or ``dataset.splits`` sets shares, a
            seed or a file, but no part is divided.
    """
    names = sorted(names)
    chosen = _chosen(config, names, what)
    shares = dict(zip(SPLITS, config.splits.split_shares, strict=True))
    if not names:
        return Plan({}, {} if config.evaluation_only else shares)
    parts = chosen | _usual(names, chosen, what)
    parts = {split: parts[split] for split in SPLITS if split in parts}
    if config.evaluation_only or len(parts) == 3:
        _refuse_division(config, what)
    if config.evaluation_only:
        any_of_them = next((parts[split] for split in reversed(SPLITS) if split in parts), names[0])
        without = [split for split in SPLITS if split not in parts]
        words = f"{any_of_them} is read as {' and '.join(without)}" if without else ""
        return Plan({split: parts.get(split, any_of_them) for split in SPLITS}, words=words)
    if "train" not in parts:
        raise bad_value(
            "dataset.splits.train",
            "nothing",
            f"the part to train on: {what} has {', '.join(names)} and no train",
        )
    train = parts["train"]
    if len(parts) == 3:
        return Plan(parts)
    if len(parts) == 1:
        return Plan(parts, shares)
    words = ""
    if "test" not in parts and "validation" not in chosen:
        parts = {"train": train, "test": parts["validation"]}
        words = f"{parts['test']} is tested on"
    aside = "validation" if "test" in parts else "test"
    return Plan(parts, {"train": 1 - shares[aside], aside: shares[aside]}, words)


def _refuse_division(config: DatasetConfig, what: str) -> None:
    for name in ("shares", "seed", "file"):
        value = getattr(config.splits, name)
        if value is not None:
            raise bad_value(
                f"dataset.splits.{name}",
                value,
                f"null: {what} has the splits already, so no image is divided",
                "Leave the key out.",
            )


def _chosen(config: DatasetConfig, names: list[str], what: str) -> dict[str, str]:
    splits = config.splits
    chosen = {split: getattr(splits, split) for split in SPLITS if getattr(splits, split)}
    for split, name in chosen.items():
        key = f"dataset.splits.{split}"
        if name not in names:
            has = f"one of {', '.join(names)}" if names else "null, as there are no splits"
            raise bad_value(key, repr(name), f"{has}, in {what}", suggest(name, names))
        if list(chosen.values()).count(name) > 1 and not config.evaluation_only:
            raise bad_value(key, f"{name!r}, which is also another split's", "a different part")
    return chosen


def _usual(names: list[str], chosen: Mapping[str, str], what: str) -> dict[str, str]:
    usual: dict[str, str] = {}
    for name in names:
        split = usual_split(name)
        if split is None or split in chosen or name in chosen.values():
            continue
        if split in usual:
            raise bad_value(
                f"dataset.splits.{split}",
                f"nothing, and both {usual[split]} and {name} in {what}",
                "one of them",
                f"choose with dataset.splits.{split}={name}",
            )
        usual[split] = name
    return usual
