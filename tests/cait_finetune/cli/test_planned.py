"""The line before each run of a sweep."""

from __future__ import annotations

import pytest

from cait_finetune.cli.planned import announce

TASK = ["optimizer.base_lr=0.1", "seed=1", "dataset=digits"]


@pytest.mark.parametrize(
    ("words", "params", "line"),
    [
        (["optimizer.base_lr=0.1,0.2", "seed=0,1", "dataset=digits"], {},
         "run 2 of 4: optimizer.base_lr=0.1 seed=1"),
        (["-m", "seed=range(3)", "dataset=digits"], {}, "run 2 of 3: seed=1"),
        (["dataset=digits"], {"seed": "0,1,2", "optimizer.base_lr": "0.1,0.2"},
         "run 2 of 6: optimizer.base_lr=0.1 seed=1"),
        (["seed=1"], {"seed": "0,1,2", "optimizer.base_lr": "0.1,0.2"},
         "run 2 of 2: optimizer.base_lr=0.1"),
        (["optimizer.base_lr=interval(0.1,0.2)", "seed=0,1"], {},
         "run 2: optimizer.base_lr=0.1 seed=1"),
        (["model=glob(*)", "seed=0,1"], {}, "run 2: seed=1"),
        ([], {}, "run 2: optimizer.base_lr=0.1 seed=1 dataset=digits"),
    ],
)  # fmt: skip
def test_announce_prints_the_run_number_and_the_varied_keys(words, params, line):
    assert announce(1, TASK, words, params) == line
