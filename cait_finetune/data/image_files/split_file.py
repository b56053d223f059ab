"""Who trains, validates and tests, written down: a division that stays when images come and go."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence

import numpy as np

from cait_finetune.config import SplitsConfig
from cait_finetune.config.places import expanded
from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.split_lookup import look_up, warn_of_doubts
from cait_finetune.data.image_files.split_rows import (
    ANEW,
    KEY,
    Kept,
    Rule,
    format_shares,
    parsed,
    written,
)
from cait_finetune.data.splitting import divided
from cait_finetune.errors import UserError, bad_value
from cait_tf.places import caches


@dataclasses.dataclass(frozen=True)
class SavedSplit:
    """The split of each image, in which shares, and in words where that is written down."""

    splits: list[str]
    shares: Mapping[str, float]
    words: str


def saved_split(
    ids: Sequence[str],
    labels: np.ndarray,
    shares: Mapping[str, float],
    config: SplitsConfig,
    beside: str,
    hashes: Sequence[int] | None = None,
) -> SavedSplit:
    """Divide the images as it is written down, and write down what is new.

    What the file says is so. Images under another path keep their split, told by content or name;
    others that the file does not know are divided by the same rule. Those that are gone stay in the
    file. Without a file all are divided, and it is written: as `config.file`, or `beside` the images,
    or where that is forbidden in the user's cache.

    Args:
        ids: different names, which the file has in its first column.
        labels: ``(N,)``, what is divided evenly.
        hashes: ``(N,)`` content hashes, which tell renamed files; below 0 or None: unknown.

    Raises:
        UserError: the file is damaged or of another division, or there are too few images.
    """
    place = beside if config.file is None else expanded(KEY, config.file)
    places = [one for one in (place, _cached(beside)) if one]
    with storage.locked(*places):  # two first runs divide alike
        return _saved_split(ids, labels, shares, config, beside, hashes)


def _saved_split(
    ids: Sequence[str],
    labels: np.ndarray,
    shares: Mapping[str, float],
    config: SplitsConfig,
    beside: str,
    hashes: Sequence[int] | None,
) -> SavedSplit:
    hashed = () if hashes is None else zip(ids, hashes, strict=True)
    now = {path: int(content) for path, content in hashed if content >= 0}
    rule = Rule(config.split_seed, shares)
    place, text, kept = _read(config.file, beside, tuple(shares))
    if kept.rule:
        _check_rule(config, rule, kept.rule, place)
        rule = kept.rule
    train = next(iter(shares))
    found = look_up(ids, kept, now, train)
    splits = dict(zip(ids, _filled(found.splits, labels, rule), strict=True))
    warn_of_doubts(place, found, train)
    known, away = splits, found.away
    if found.unclear:  # both sides stay as they are, so that the user can say which is which
        unclear = set(found.unclear)
        known = {path: split for path, split in splits.items() if path not in unclear} | found.gone
        away = {path: split for path, split in away.items() if path not in found.gone}
    after, at = Kept(rule, known, away, found.contents | now), place
    new = written(rule, after)
    if (after.known, after.away) != (kept.known, kept.away):
        at = _write(config.file, beside, new, config.file is not None)
    elif new != text:  # content hashes that it lacks
        at = _write(config.file, beside, new, demanded=False) or place
    nowhere = "kept nowhere, drawn anew each time by the same seed"
    where = f"kept in {at}" if at else nowhere
    return SavedSplit([splits[name] for name in ids], rule.shares, ", ".join([where, *found.words]))


def _check_rule(config: SplitsConfig, rule: Rule, had: Rule, place: str) -> None:
    """Raises UserError if the file was divided otherwise than a key says."""
    if tuple(had.shares) != tuple(rule.shares):
        raise bad_value(
            KEY,
            f"{place}, which divides images into {' and '.join(had.shares)}",
            f"a file that divides them into {' and '.join(rule.shares)}",
            "remove the file to divide the images anew",
        )
    other_shares = str(Rule(0, had.shares)) != str(Rule(0, rule.shares))
    for key, value, is_other, was in (
        ("shares", config.shares, other_shares, format_shares(had.shares)),
        ("seed", config.seed, had.seed != rule.seed, had.seed),
    ):
        if value is not None and is_other:
            raise bad_value(
                f"dataset.splits.{key}",
                value,
                f"{was}, with which {place} was divided",
                "Remove that file to divide the images anew, leave the key out to keep the division, or "
                "set dataset.splits.file=OTHER.csv for a further one",
            )


def _filled(known: list[str | None], labels: np.ndarray, rule: Rule) -> list[str]:
    names = list(rule.shares)
    if None not in known:
        return known
    parts = np.array([-1 if split is None else names.index(split) for split in known])
    try:
        parts = divided(labels, list(rule.shares.values()), rule.seed, parts)
    except ValueError as error:
        raise bad_value(
            "dataset.data_dir",
            f"{len(known)} images of {len(np.unique(labels))} classes to divide",
            f"at least one of each class to train on, and further ones for "
            f"{' and '.join(names[1:])}",
        ) from error
    return [names[part] for part in parts]


def _read(file: str | None, beside: str, splits: tuple[str, ...]) -> tuple[str, str, Kept]:
    """Where the division was written last, the text that is there, and what is known.

    What could not be written beside the images is in the user's cache, and a file that was delivered since
    is beside them: both count, and that first.
    """
    if file is not None:
        storage.check_readable(KEY, file)
        place = expanded(KEY, file)
        if not storage.exists(place):
            return place, "", Kept()
        text = _text(place)
        return place, text, parsed(text, place, splits)
    cached = _cached(beside)
    place, text, kept = beside, "", Kept()
    if storage.exists(beside):
        text = _text(beside)
        kept = parsed(text, beside, splits)
    if cached and os.path.exists(cached):
        with contextlib.suppress(UserError) if text else contextlib.nullcontext():
            later = _text(cached)
            kept = kept.with_others(parsed(later, cached, splits))
            place, text = cached, later
    return place, text, kept


def _cached(beside: str) -> str | None:
    """The file in the user's caches; `None` where there is no place for them."""
    cache = caches()
    if cache is None:
        return None
    name = hashlib.sha256(beside.encode()).hexdigest()[:16]
    return os.path.join(cache, "cait_finetune", "splits", f"{name}.csv")


def _text(place: str) -> str:
    try:
        with storage.opened(place) as file:
            return file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise bad_value(KEY, place, f"a file that can be read ({reason})", ANEW) from error


def _write(file: str | None, beside: str, text: str, demanded: bool) -> str | None:
    """Where it could be written: as configured, or beside the images or in the user's cache."""
    place = beside if file is None else expanded(KEY, file)
    cached = _cached(beside)
    try:
        storage.write(place, text)
        if file is None and cached:
            with contextlib.suppress(OSError):
                os.unlink(cached)
        return place
    except OSError as error:
        if demanded:
            reason = error.strerror or error
            raise bad_value(KEY, place, f"a file that can be written ({reason})") from error
        if file is not None or cached is None:
            return None
    try:
        os.makedirs(os.path.dirname(cached), exist_ok=True)
        storage.write(cached, text)
        return cached
    except OSError:
        return None
