import pytest

from cait_finetune.benchmark.rounds import Speeds, in_turn, ratio


def test_contestants_take_turns_in_changing_order():
    order, done = [], []
    speeds = iter([10.0, 5.0, 7.0, 20.0, 30.0, 10.0])

    def contestant(name):
        return lambda: (order.append(name), next(speeds))[1]

    measured = in_turn({name: contestant(name) for name in "ab"}, 3, lambda: done.append(1))
    assert "".join(order) == "abbaab"
    assert measured["a"].rounds == (10.0, 20.0, 30.0)
    assert measured["b"].rounds == (5.0, 7.0, 10.0)
    assert len(done) == 6
    assert measured["a"].median == 20
    assert str(measured["b"]) == "7 (5–10)"


def test_the_ratio_is_of_each_round():
    ours, theirs = Speeds((10.0, 100.0, 12.0)), Speeds((5.0, 50.0, 4.0))
    assert ratio(ours, theirs) == 2.0
    with pytest.raises(ValueError, match="zip"):
        ratio(ours, Speeds((1.0,)))


def test_three_digits_or_all_before_the_point():
    assert str(Speeds((1444.4, 3.456, 27.04))) == "27 (3.46–1444)"
