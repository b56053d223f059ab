"""No image changes its split, whatever happens to the files between two runs."""

from __future__ import annotations

import collections
import itertools
import random

import numpy as np
import pytest

from cait_finetune.config import SplitsConfig
from cait_finetune.data.image_files.split_file import saved_split

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


class Images:
    """The content of each path, and the changes that people make to files."""

    CHANGES = ("add", "delete", "rename", "swap", "replace", "copy", "restore", "move_over",
               "swap_folders", "break_or_mend")  # fmt: skip

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers = itertools.count(1)
        self.content = {f"{c}/{n:02}.jpg": next(self.numbers) for c in "abc" for n in range(8)}
        self.former: list[int] = []
        self.unreadable: set[str] = set()

    def change(self) -> str:
        """Make one random change; return its name."""
        change = self.random.choice(self.CHANGES) if len(self.content) > 9 else "add"
        one, other = self.random.sample(sorted(self.content), 2)
        fresh = f"{self.random.choice('abc')}/new {next(self.numbers)}.jpg"
        content = self.content
        if change == "add":
            content[fresh] = next(self.numbers)
        elif change == "delete":
            self.former.append(content.pop(one))
        elif change == "rename":
            content[fresh] = content.pop(one)
        elif change == "swap":
            content[one], content[other] = content[other], content[one]
        elif change == "replace":
            self.former.append(content[one])
            content[one] = next(self.numbers)
        elif change == "copy":
            content[fresh] = content[one]
        elif change == "restore" and self.former:
            content[fresh] = self.random.choice(self.former)
        elif change == "move_over":
            self.former.append(content[one])
            content[one] = content.pop(other)
        elif change == "swap_folders":
            names = dict(zip("ab", "ba", strict=True))
            self.content = {names.get(p[0], p[0]) + p[1:]: c for p, c in content.items()}
        elif change == "break_or_mend":
            self.unreadable ^= {one}
        self.unreadable &= set(self.content)
        return change


@pytest.mark.parametrize("seed", range(40))
def test_no_image_changes_its_split(seed, tmp_path, warnings_shown):
    images, history, done = Images(seed), {}, []
    for _ in range(6):
        paths = sorted(images.content)
        labels = np.unique([path[0] for path in paths], return_inverse=True)[1]
        hashes = [-1 if p in images.unreadable else images.content[p] for p in paths]
        place = str(tmp_path / "cait_splits.csv")
        kept = saved_split(paths, labels, SHARES, SplitsConfig(), place, hashes)
        splits_of = collections.defaultdict(set)
        for content, split in zip(hashes, kept.splits, strict=True):
            splits_of[content].add(split)
        if warnings_shown():  # some images cannot be told apart
            return
        for content, splits in splits_of.items():
            if content >= 0:
                assert history.setdefault(content, splits) == splits, done
        done += [images.change() for _ in range(images.random.randint(1, 4))]
