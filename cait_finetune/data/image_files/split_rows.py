"""Read and write the text of a split file.

The file is a CSV table of path, split and content hash, with comments. The first comment has the
seed and the shares.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Mapping

from cait_finetune.errors import UserError, bad_value, suggest

KEY = "dataset.splits.file"
ANEW = "correct it, or remove the file to divide the images anew"
_HEADER = ["path", "split"]
_HASHED = [*_HEADER, "content"]
_SIZED = [*_HEADER, "bytes"]  # an older version wrote the file size of each image
_GONE = "# no longer there; they keep their split for when they come back"
_END = "# end"


@dataclasses.dataclass(frozen=True)
class Rule:
    """The seed and the shares of the splits. As text it is part of the first line of the file."""

    seed: int
    shares: Mapping[str, float]

    def __str__(self) -> str:
        return f"seed {self.seed} shares {format_shares(self.shares)}"

    @classmethod
    def parse(cls, text: str) -> Rule | None:
        """Return the rule in a line of text. `None`: the line has none."""
        found = re.search(r"seed (\d+) shares ((?:\w+=[\d.e-]+ ?)+)", text)
        if not found:
            return None
        pairs = (pair.split("=") for pair in found[2].split())
        return cls(int(found[1]), {split: float(share) for split, share in pairs})


@dataclasses.dataclass(frozen=True)
class Kept:
    """The content of a split file.

    Attributes:
        rule: seed and shares. `None`: the user has removed the comment.
        known: the split of each image that existed when the file was written, by path.
        away: the split of each image that no longer existed when the file was written, by path.
        contents: known content hashes, by path.
    """

    rule: Rule | None = None
    known: Mapping[str, str] = dataclasses.field(default_factory=dict)
    away: Mapping[str, str] = dataclasses.field(default_factory=dict)
    contents: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def with_others(self, other: Kept) -> Kept:
        """Add the rows of another file. For paths in both files, the rows of this file count."""
        known = {**other.known, **self.known}
        away = {**other.away, **self.away}
        return Kept(
            self.rule or other.rule,
            known,
            {path: split for path, split in away.items() if path not in known},
            {**other.contents, **self.contents},
        )


def parsed(text: str, place: str, splits: tuple[str, ...]) -> Kept:
    """Parse the text of a split file.

    Lines that begin with ``#`` are comments. Below the header, a line with a path and a split is a
    row even if the path begins with ``#``.

    Args:
        text: text of the file.
        place: path of the file, for messages.
        splits: the allowed splits.

    Raises:
        UserError: a row is damaged, a path has two splits, the header is missing, or a file with
            content hashes lacks its last line.
    """
    rows = enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), 1)
    rule, header, ended = None, None, False
    known: dict[str, str] = {}
    away: dict[str, str] = {}
    contents: dict[str, int] = {}
    section = known

    def damaged(row: int, got: str, expected: str, hint: str = "") -> UserError:
        return bad_value(KEY, f"{place}, row {row}: {got}", expected, hint or ANEW)

    row = 0
    try:
        for row, cells in rows:
            if not any(cells):
                continue
            is_row = len(cells) in (2, 3) and cells[1].strip() in splits
            if cells[0].startswith("#") and not (header and is_row):
                rule = rule or Rule.parse(" ".join(cells))
                section = away if cells[0].startswith(_GONE.partition(";")[0]) else section
                ended = ended or cells[0].strip() == _END
                continue
            if not header:
                if cells not in (_HEADER, _HASHED, _SIZED):
                    raise damaged(row, repr(",".join(cells)), "the header path,split")
                header = cells
                continue
            if len(cells) not in (2, 3):
                raise damaged(row, repr(",".join(cells)), "a path and its split")
            path, split = cells[0], cells[1].strip()
            if split not in splits:
                near = suggest(split, splits)
                raise damaged(
                    row,
                    repr(split),
                    f"{', '.join(splits[:-1])} or {splits[-1]}",
                    f"{near} {ANEW}".strip(),
                )
            before = known.get(path) or away.get(path) or split
            if before != split:
                raise damaged(row, f"{path} in {split}, and in {before} above", "one split")
            section[path] = split
            if header == _HASHED and cells[2:] and cells[2].strip():
                if not re.fullmatch("[0-9a-f]{16}", cells[2].strip()):
                    raise damaged(row, repr(cells[2]), "a content hash of 16 digits, or nothing")
                contents[path] = int(cells[2], 16)
    except csv.Error as error:
        raise damaged(row + 1, str(error), "a path and its split") from error
    if not header:
        raise damaged(row + 1, "nothing", "the header path,split")
    if header == _HASHED and not ended:
        raise damaged(row + 1, "nothing", f"the last line, {_END}: rows are missing")
    return Kept(rule, known, away, contents)


def written(rule: Rule, kept: Kept) -> str:
    """Return the text of a split file with `rule` and the sorted rows of `kept`. Ignore `kept.rule`."""
    text = io.StringIO(newline="")
    text.write(f"# {rule}; it stays when images come or go: remove this file to divide anew\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HASHED if kept.contents else _HEADER)

    def hashed(path: str) -> str:
        return f"{kept.contents[path]:016x}" if path in kept.contents else ""

    def write(images: Mapping[str, str]) -> None:
        if kept.contents:
            writer.writerows((*row, hashed(row[0])) for row in sorted(images.items()))
        else:
            writer.writerows(sorted(images.items()))

    write(kept.known)
    if kept.away:
        text.write(f"{_GONE}\n")
        write(kept.away)
    if kept.contents:
        text.write(f"{_END}\n")
    return text.getvalue()


def format_shares(shares: Mapping[str, float]) -> str:
    """Return text such as ``train=0.8 validation=0.1 test=0.1``."""
    return " ".join(f"{split}={share:g}" for split, share in shares.items())
