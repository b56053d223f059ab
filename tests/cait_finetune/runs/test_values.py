"""Equal values have one mark, and different values have different texts."""

from __future__ import annotations

import pytest

from cait_finetune.runs.values import labels, mark, mark_of


def test_equal_values_have_one_mark():
    assert mark(1) == mark(1.0)
    assert mark([0, 1.0]) == mark([0.0, 1])
    assert len({mark(one) for one in (1, True, "1", None, "null", 1.5, [1])}) == 7
    assert mark_of({"a": None}, "a") != mark_of({}, "a")
    assert mark_of({"a": ""}, "a") != mark_of({}, "a")


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1e-3, 1e-4, None, True], ["0.001", "0.0001", "null", "true"]),
        ([1 / 3, 0.5], ["0.3333", "0.5"]),
        ([0.00100001, 0.00100002], ["0.00100001", "0.00100002"]),
        ([0.1, 0.1 + 2**-55], ["0.1", "0.10000000000000003"]),
        ([None, "null"], ["null", '"null"']),
        ([1, 1.0], ["1", "1"]),
        (["a", "a"], ["a", "a"]),
    ],
)
def test_different_values_have_different_texts(values, texts):
    label = labels(values)
    assert [label(one) for one in values] == texts


def test_long_texts_lose_their_middle_unless_they_would_look_alike():
    paths = [f"/weights/of/the/run/number/{number}/best.safetensors" for number in range(2)]
    label = labels([paths[0]], width=22)
    assert len(label(paths[0])) == 22
    assert [labels(paths, width=22)(path) for path in paths] == paths
