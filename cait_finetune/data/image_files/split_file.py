"""Keep the split of each image in a CSV file: the split stays when images are added or removed."""

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
    """The split of each image.

    Attributes:
        splits: N names of splits, in the order of the images.
        shares: the shares by which the images were divided.
        words: a phrase on where the splits are kept and what has changed.
    """

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
    """Return the split of each image from the split file. Divide new images and add them to the file.

    An image in the file keeps its split, also under another path if its content or name identifies
    the image. All other images are divided by the seed and shares in the file. Rows of images that
    no longer exist stay in the file.

    Without a file all images are divided. The function writes `config.file`, by default `beside`. If
    `beside` cannot be written, the file goes to the user's cache. Without a cache nothing is kept.

    Args:
        ids: N different names, the first column of the file.
        labels: ``(N,)``. The images of each label are divided by the shares.
        shares: the share of each split; the first split is the one to train on.
        config: the configured file, seed and shares.
        beside: default path of the file, beside the images.
        hashes: ``(N,)`` content hashes, which identify renamed files. Below 0 or `None`: unknown.

    Raises:
        UserError: the file cannot be read or is damaged; it has other splits, or another seed or
            other shares than configured; `config.file` cannot be written; or there are too few images.
    """
    place = beside if config.file is None else expanded(KEY, config.file)
    places = [one for one in (place, _cached(beside)) if one]
    with storage.locked(*places):  # two runs that start together get equal splits
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
    if found.unclear:  # keep gone rows and omit these images: the user can edit the paths
        unclear = set(found.unclear)
        known = {path: split for path, split in splits.items() if path not in unclear} | found.gone
        away = {path: split for path, split in away.items() if path not in found.gone}
    after, at = Kept(rule, known, away, found.contents | now), place
    new = written(rule, after)
    if (after.known, after.away) != (kept.known, kept.away):
        at = _write(config.file, beside, new, config.file is not None)
    elif new != text:  # the file lacks content hashes
        at = _write(config.file, beside, new, demanded=False) or place
    nowhere = "kept nowhere, drawn anew each time by the same seed"
    where = f"kept in {at}" if at else nowhere
    return SavedSplit([splits[name] for name in ids], rule.shares, ", ".join([where, *found.words]))


def _check_rule(config: SplitsConfig, rule: Rule, had: Rule, place: str) -> None:
    """Raise UserError if a configured key differs from the rule in the file."""
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
    """Return the path of the latest split file, its text, and the rows of all split files.

    A file that could not be written beside the images is in the user's cache. If a file beside the
    images exists too, both are read, and the rows of the file beside the images take precedence.
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
    """Return the path of the split file in the user's cache. `None`: there is no cache directory."""
    cache = caches()
    if cache is None:
        return None
    name = hashlib.sha256(beside.encode()).hexdigest()[:16]
    return os.path.join(cache, "cait_finetune", "splits", f"{name}.csv")


def check_split_file(config: SplitsConfig) -> None:
    """Check that the configured split file of an earlier run exists: a new file would divide anew.

    Raises:
        UserError: the file does not exist.
    """
    if config.file is not None and not storage.exists(place := expanded(KEY, config.file)):
        raise bad_value(
            KEY, place, "the split file of the run, which exists", f"Add {KEY}=FILE if you moved it"
        )


def _text(place: str) -> str:
    try:
        with storage.opened(place) as file:
            return file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise bad_value(KEY, place, f"a file that can be read ({reason})", ANEW) from error


def _write(file: str | None, beside: str, text: str, demanded: bool) -> str | None:
    """Write the split file and return its path. `None`: it could not be written.

    Without a configured `file` the function tries `beside`, then the user's cache.

    Args:
        demanded: raise UserError if the first path cannot be written.
    """
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
