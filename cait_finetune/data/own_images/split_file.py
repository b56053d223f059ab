"""Who trains, validates and tests, written down: a division that stays when images come and go."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import logging
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from cait_finetune.config import SplitsConfig
from cait_finetune.data.division import divided
from cait_finetune.data.own_images import storage
from cait_finetune.errors import UserError, bad_value, suggest

logger = logging.getLogger(__name__)

_HEADER = ["path", "split"]
_KEY = "dataset.splits.file"
_ANEW = "mend it, or remove the file to divide the images anew"


@dataclasses.dataclass(frozen=True)
class Rule:
    """How images are divided; as text it is the first line of the file."""

    seed: int
    shares: Mapping[str, float]

    def __str__(self) -> str:
        shares = " ".join(f"{role}={share:g}" for role, share in self.shares.items())
        return f"seed {self.seed} shares {shares}"

    @classmethod
    def parse(cls, text: str) -> Rule | None:
        """The rule in a line of text, if there is one."""
        found = re.search(r"seed (\d+) shares ((?:\w+=[\d.e-]+ ?)+)", text)
        if not found:
            return None
        pairs = (pair.split("=") for pair in found[2].split())
        return cls(int(found[1]), {role: float(share) for role, share in pairs})


def kept_division(
    ids: Sequence[str],
    labels: np.ndarray,
    shares: Mapping[str, float],
    config: SplitsConfig,
    beside: str,
) -> tuple[list[str], str]:
    """For each image its role, and in words where that is written down.

    What the file says is so; images that it does not know are divided by the same rule, and those
    that are gone are dropped from it. Without a file all are divided, and it is written: as
    `config.file`, or `beside` the images, or where that is forbidden in the user's cache.

    Args:
        ids: different names, which the file has in its first column.
        labels: ``(N,)``, what is divided evenly.

    Raises:
        UserError: the file is damaged or of another division, or there are too few images.
    """
    rule = Rule(config.seed, shares)
    place = _place(config.file, beside)
    text, written, known = "", None, {}
    if storage.exists(place):
        text = _text(place)
        written, known = _parsed(text, place, tuple(shares))
    if written and str(written) != str(rule):
        if tuple(written.shares) != tuple(shares):
            raise bad_value(
                _KEY,
                f"{place}, which divides images into {' and '.join(written.shares)}",
                f"a file that divides them into {' and '.join(shares)}",
                "remove the file to divide the images anew",
            )
        logger.warning(
            "%s was divided with %s and stays as it is; remove it to divide the images with %s",
            place,
            written,
            rule,
        )
        rule = written
    roles = _filled([known.get(name) for name in ids], labels, rule)
    new = sum(name not in known for name in ids)
    gone = len(known) - (len(ids) - new)
    after = _written(rule, ids, roles)
    kept = place if after == text else _write(place, after, config.file is not None)
    changes = [f"{new:,} new"] * bool(known and new) + [f"{gone:,} gone"] * bool(gone)
    where = f"kept in {kept}" if kept else "kept nowhere, drawn anew each time by the same seed"
    return roles, ", ".join([where, *changes])


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
        path = os.path.expanduser(file)
        if storage.is_remote(path):
            storage.check_scheme(_KEY, path)
        return path
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
        raise bad_value(_KEY, place, f"a file that can be read ({reason})", _ANEW) from error


def _parsed(text: str, place: str, roles: tuple[str, ...]) -> tuple[Rule | None, dict[str, str]]:
    """The rule, if the first line still states it, and the role of each path."""
    rows = enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), 1)
    rule, headed, known = None, False, {}

    def damaged(row: int, got: str, expected: str, hint: str = "") -> UserError:
        return bad_value(_KEY, f"{place}, row {row}: {got}", expected, hint or _ANEW)

    row = 0
    try:
        for row, cells in rows:
            if not any(cells):
                continue
            if cells[0].startswith("#"):
                rule = rule or Rule.parse(" ".join(cells))
                continue
            if not headed:
                if cells != _HEADER:
                    raise damaged(row, repr(",".join(cells)), "the header path,split")
                headed = True
                continue
            if len(cells) != 2:
                raise damaged(row, repr(",".join(cells)), "a path and its split")
            path, role = cells[0], cells[1].strip()
            if role not in roles:
                near = suggest(role, roles)
                raise damaged(
                    row,
                    repr(role),
                    f"{', '.join(roles[:-1])} or {roles[-1]}",
                    f"{near} {_ANEW}".strip(),
                )
            if known.setdefault(path, role) != role:
                raise damaged(row, f"{path} in {role}, and in {known[path]} above", "one split")
    except csv.Error as error:
        raise damaged(row + 1, str(error), "a path and its split") from error
    if not headed:
        raise damaged(row + 1, "nothing", "the header path,split")
    return rule, known


def _written(rule: Rule, ids: Sequence[str], roles: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    text.write(f"# {rule}; it stays when images come or go: remove this file to divide anew\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows(sorted(zip(ids, roles, strict=True)))
    return text.getvalue()


def _write(place: str, text: str, demanded: bool) -> str | None:
    """Where it could be written."""
    try:
        storage.write(place, text)
        return place
    except OSError as error:
        if demanded:
            reason = error.strerror or error
            raise bad_value(_KEY, place, f"a file that can be written ({reason})") from error
    cached = _cached(place) if place != _cached(place) else place
    try:
        os.makedirs(os.path.dirname(cached), exist_ok=True)
        storage.write(cached, text)
        return cached
    except OSError:
        return None
