import pytest

from cait_finetune.benchmark.line import Line, fit, forecast


def test_fixed_bytes_and_bytes_of_an_image():
    line = fit({1: 1.2e9, 4: 1.8e9, 16: 4.2e9})
    assert line.fixed == pytest.approx(1e9)
    assert line.per_image == pytest.approx(0.2e9)
    assert line.at(10) == pytest.approx(3e9)
    with pytest.raises(ValueError, match="got 1 batch sizes"):
        fit({4: 1e9})


def test_the_largest_batch_just_fits():
    line = Line(fixed=1e9, per_image=0.25e9)
    assert line.largest(8e9) == 28
    assert line.at(28) <= 8e9 < line.at(29)
    assert line.largest(1e9) == line.largest(0.5e9) == 0
    with pytest.raises(ValueError, match="per_image"):
        Line(1e9, 0.0).largest(8e9)


def test_a_forecast_from_what_is_known():
    assert forecast({}, 1e9, 16) == 1e9
    assert forecast({2: 2e9}, 1e9, 16) == pytest.approx(9e9)
    assert forecast({2: 2e9, 4: 2.5e9}, 9e9, 16) == pytest.approx(5.5e9)
