"""Find the images on which weights were trained, from a sample of content hashes."""

import numpy as np
import pytest

from cait_finetune.data import seen_images
from cait_finetune.data.seen_images import SeenImages

HIGH = 2**63 - 1


def hashes(count, seed):
    return np.random.default_rng(seed).integers(0, HIGH, count)


def test_a_small_set_is_known_wholly():
    images = np.array([5, 9, 9, 2, -1])
    seen = SeenImages.of(images)
    assert seen.count(np.array([9, 7, 2, -1])) == (2, 3)
    assert SeenImages.from_text(seen.to_text()).count(images) == (4, 4)


def test_of_a_large_set_a_share_is_estimated(monkeypatch):
    monkeypatch.setattr(seen_images, "SIZE", 500)
    trained, others = hashes(20_000, 0), hashes(8_000, 1)
    asked = np.concatenate([trained[:2_000], others])
    known, looked_at = SeenImages.of(trained).count(asked)
    assert 150 < looked_at < 350  # the sample has a fortieth of all hashes; 10,000 are asked
    assert known / looked_at == pytest.approx(0.2, abs=0.08)
    assert SeenImages.of(trained).count(others)[0] == 0


def test_the_sketch_of_a_union_is_the_union_of_the_sketches(monkeypatch):
    monkeypatch.setattr(seen_images, "SIZE", 300)
    one, other = hashes(1_000, 0), hashes(4_000, 1)
    union = SeenImages.of(one).union(SeenImages.of(other))
    whole = SeenImages.of(np.concatenate([one, other]))
    assert len(union.hashes) <= 300
    assert set(union.hashes) <= set(whole.hashes)
    assert union.count(one)[0] == union.count(one)[1] > 0
    assert union.count(other)[0] == union.count(other)[1] > 0
    assert union.complete


def test_unknown_contents_make_it_incomplete():
    unknown, known = SeenImages.of(None), SeenImages.of(np.array([3, 4]))
    assert not unknown.complete
    assert not SeenImages.of(np.array([3, -1])).complete
    both = known.union(unknown)
    assert both.kinds == known.kinds == frozenset()
    assert both.count(np.array([3, 5])) == (1, 2)
    again = SeenImages.from_text(both.to_text())
    assert (again.complete, again.count(np.array([3, 5]))) == (False, (1, 2))


@pytest.mark.parametrize(
    "text", ["", "no", "7f:***::all", "zz:AAAA::all", "7f:AAA::all", "7f:AAAA"]
)
def test_from_text_returns_none_for_malformed_text(text):
    assert SeenImages.from_text(text) is None


def test_the_kinds_of_hashes_are_known():
    one, other = SeenImages.of(hashes(3, 0), "sha1"), SeenImages.of(hashes(3, 1), "farmhash")
    both = SeenImages.from_text(one.union(other).to_text())
    assert both.kinds == {"sha1", "farmhash"}
    assert both.complete
