"""When each operation has a single thread."""

from __future__ import annotations

import pytest

from cait_finetune.cli import configure
from cait_finetune.train import cores
from cait_tf import get_variant


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["model=cait_xxs24_224", "train.batch_size=16"], 4),
        (["model=cait_xxs24_224", "train.batch_size=16", "model.image_size=448"], 16),
        (["model=cait_nano_32", "train.batch_size=64"], 4),
        (["model=cait_nano_32", "train.batch_size=64", "train.accumulation=1"], 1),
        (["model=cait_nano_32", "train.batch_size=64", "train.accumulation=8"], 8),
        (["train.jit_compile=true"], None),
        (["distribution=mirrored", "distribution.devices=2"], None),
        (["distribution=auto", "distribution.devices=2"], None),
    ],
)
def test_it_depends_on_the_parts_of_a_batch(words, parts, monkeypatch):
    asked = []
    monkeypatch.setattr(cores, "one_thread_each", lambda parts: bool(asked.append(parts)))
    config = configure("model.weights=none", *words)
    cores.share_cores(config, get_variant(config.model.name))
    assert asked == ([] if parts is None else [parts])
