"""The seed decides which images a run gets."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune.data.load import load_source
from cait_finetune.data.source import SPLITS
from tests.cait_finetune.stand_ins import checked


def drawn(*words: str) -> list[bytes]:
    """Return the bytes of the image files in the training split."""
    source = load_source(checked(*words).dataset)
    return [example["image"] for example in source.records("train").as_numpy_iterator()]


FEW = "dataset.examples_per_class=2"


@pytest.mark.slow
@pytest.mark.parametrize("word", [FEW, "dataset.train_share=0.02"])
def test_the_seed_draws_the_images(word):
    first = drawn(word, "seed=0")
    assert drawn(word, "seed=0") == first
    other = drawn(word, "seed=1")
    assert len(other) == len(first)
    assert set(other) != set(first)
    for own in ("dataset.seed=0", "dataset.splits.seed=0"):
        assert drawn(word, "seed=1", own) == first


@pytest.mark.slow
def test_the_seed_draws_the_folds():
    def held_out(fold: int, seed: int) -> np.ndarray:
        words = ("dataset.folds=3", f"dataset.fold={fold}", f"seed={seed}")
        source = load_source(checked(*words).dataset)
        assert source.sizes["train"] + source.sizes["validation"] == 1257 + 180
        counts = " / ".join(f"{source.sizes[split]:,}" for split in SPLITS)
        assert source.notes[-1].startswith(f"split  {counts}, fold {fold} of 3")
        return source.labels("validation")

    parts = [held_out(fold, 0) for fold in range(3)]
    assert sum(map(len, parts)) == 1257 + 180
    assert not np.array_equal(held_out(0, 1), parts[0])


def test_classes_with_fewer_training_images_are_named():
    source = load_source(checked("dataset.examples_per_class=126").dataset)
    (note,) = (one for one in source.notes if "fewer than" in one)
    counts = load_source(checked().dataset).class_counts("train")
    small = [label for label, count in enumerate(counts) if count < 126]
    shown = ", ".join(f"{label} {counts[label]}" for label in small)
    assert note == (
        f"split  {len(small)} of 10 classes have fewer than 126 training images: {shown}"
    )
    assert not load_source(checked("dataset.examples_per_class=5").dataset).notes
