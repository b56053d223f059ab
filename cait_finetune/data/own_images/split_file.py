"""Who trains, validates and tests, written down: a division that stays when images come and go."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence

import numpy as np

from cait_finetune.config import SplitsConfig
from cait_finetune.data.division import divided
from cait_finetune.data.own_images import storage
from cait_finetune.data.own_images.renamed import find_renamed, renamed_folders
from cait_finetune.data.own_images.split_rows import (
    ANEW,
    KEY,
    Kept,
    Rule,
    in_words,
    parsed,
    written,
)
from cait_finetune.errors import bad_value

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Division:
    """The split of each image, in which shares, and in words where that is written down."""

    roles: list[str]
    shares: Mapping[str, float]
    words: str


def kept_division(
    ids: Sequence[str],
    labels: np.ndarray,
    shares: Mapping[str, float],
    config: SplitsConfig,
    beside: str,
) -> Division:
    """Divide the images as it is written down, and write down what is new.

    What the file says is so. Images under another path keep their split, as `find_renamed` finds them;
    others that the file does not know are divided by the same rule. Those that are gone stay in the
    file. Without a file all are divided, and it is written: as `config.file`, or `beside` the images,
    or where that is forbidden in the user's cache.

    Args:
        ids: different names, which the file has in its first column.
        labels: ``(N,)``, what is divided evenly.

    Raises:
        UserError: the file is damaged or of another division, or there are too few images.
    """
    rule = Rule(config.division_seed, shares)
    place = _place(config.file, beside)
    text, kept = "", Kept()
    if storage.exists(place):
        text = _text(place)
        kept = parsed(text, place, tuple(shares))
    if kept.rule:
        _check_rule(config, rule, kept.rule, place)
        rule = kept.rule
    found = _found(ids, kept)
    roles = _filled(found.roles, labels, rule)
    if found.unclear:  # kept as it is, so that the user can say which is which
        _warn_of_unclear(place, found.unclear, found.gone)
        where = f"as in {place}, which is left as it is"
    else:
        _warn_of_other_names(place, len(found.new), found.gone, next(iter(shares)))
        after = written(rule, ids, roles, found.away)
        at = place if after == text else _write(place, after, config.file is not None)
        nowhere = "kept nowhere, drawn anew each time by the same seed"
        where = f"kept in {at}" if at else nowhere
    return Division(roles, rule.shares, ", ".join([where, *found.words]))


@dataclasses.dataclass(frozen=True)
class _Found:
    """What a file knows of the images that are there.

    ``roles`` are None for images that it does not know: those that are ``new``, and those that are
    ``unclear``. ``old`` has the former paths of renamed ones. ``gone`` were there when it was written,
    ``away`` are all that are not there.
    """

    roles: list[str | None]
    new: list[str]
    unclear: list[str]
    old: Mapping[str, str]
    gone: Mapping[str, str]
    away: Mapping[str, str]

    @property
    def words(self) -> list[str]:
        """What has changed since it was written."""
        new = len(self.new) + len(self.unclear)
        words = [f"{new:,} new"] if 0 < new < len(self.roles) else []
        words += [f"{len(self.gone):,} gone"] * bool(self.gone)
        if self.old:
            folders = renamed_folders(self.old)
            words.append(f"{len(self.old):,} under another path keep their split ({folders})")
        return words


def _found(ids: Sequence[str], kept: Kept) -> _Found:
    known = {**kept.away, **kept.known}
    here = dict.fromkeys(ids)
    gone = {path: role for path, role in kept.known.items() if path not in here}
    away = {path: role for path, role in kept.away.items() if path not in here}
    old, unclear, new = {}, [], [name for name in ids if name not in known]
    if gone and new:
        old, unclear = find_renamed(gone, new)
        settled = {*old, *unclear}
        new = [name for name in new if name not in settled]
    if away and new:  # taken away, and back later under another path
        old |= find_renamed(away, new)[0]
        new = [name for name in new if name not in old]
    taken = set(old.values())
    return _Found(
        roles=[known.get(old.get(name, name)) for name in ids],
        new=new,
        unclear=unclear,
        old=old,
        gone={path: role for path, role in gone.items() if path not in taken},
        away={path: role for path, role in (away | gone).items() if path not in taken},
    )


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
        ("shares", config.shares, other_shares, in_words(had.shares)),
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


def _warn_of_unclear(place: str, unclear: Sequence[str], gone: Mapping[str, str]) -> None:
    names = {os.path.basename(path) for path in unclear}
    maybe = {path: role for path, role in gone.items() if os.path.basename(path) in names}
    logger.warning(
        "%s: %s have the names of %s (%s), and which is which cannot be told. They are divided anew, so "
        "that images of test may be in train now. Write their new paths into that file, or remove its "
        "rows of images that are gone",
        place,
        _count(len(unclear), "new image"),
        _count(len(maybe), "image") + " that are gone",
        _by_role(maybe),
    )


def _warn_of_other_names(place: str, new: int, gone: Mapping[str, str], train: str) -> None:
    held_out = {path: role for path, role in gone.items() if role != train}
    if new and held_out:
        logger.warning(
            "%s: %s gone (%s) while %s new; if one is the other under another name, it may be in train "
            "now: write its new path into that file",
            place,
            _are(len(held_out)),
            _by_role(held_out),
            _are(new),
        )


def _are(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _by_role(images: Mapping[str, str]) -> str:
    counts = collections.Counter(images.values())
    return ", ".join(f"{count:,} of {role}" for role, count in sorted(counts.items()))


def _filled(known: list[str | None], labels: np.ndarray, rule: Rule) -> list[str]:
    names = list(rule.shares)
    if None not in known:
        return known
    parts = np.array([-1 if role is None else names.index(role) for role in known])
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


def _place(file: str | None, beside: str) -> str:
    if file is not None:
        storage.check_readable(KEY, file)
        return os.path.expanduser(file)
    if not storage.exists(beside) and os.path.exists(_cached(beside)):
        return _cached(beside)
    return beside


def _cached(beside: str) -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = hashlib.sha256(beside.encode()).hexdigest()[:16]
    return os.path.join(cache, "cait_finetune", "splits", f"{name}.csv")


def _text(place: str) -> str:
    try:
        with storage.opened(place) as file:
            return file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise bad_value(KEY, place, f"a file that can be read ({reason})", ANEW) from error


def _write(place: str, text: str, demanded: bool) -> str | None:
    """Where it could be written."""
    try:
        storage.write(place, text)
        return place
    except OSError as error:
        if demanded:
            reason = error.strerror or error
            raise bad_value(KEY, place, f"a file that can be written ({reason})") from error
    cached = _cached(place) if place != _cached(place) else place
    try:
        os.makedirs(os.path.dirname(cached), exist_ok=True)
        storage.write(cached, text)
        return cached
    except OSError:
        return None
