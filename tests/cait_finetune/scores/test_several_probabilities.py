"""Words on the temperatures of several labels."""

import numpy as np
import pytest

from cait_finetune.scores.several_probabilities import SeveralProbabilities

PLAIN = SeveralProbabilities().named(["d=x", "d=y", "e=x", "e=y", "f=x", "f=y"])
NOT = "are not calibrated: no temperature was fitted, or the fitted one is 1."


@pytest.mark.parametrize(
    ("temperatures", "calibrated", "others"),
    [
        ({"d": 0.5, "e": 2, "f": 3}, "Probabilities are", None),
        ({"d": 0.5}, "Probabilities of d are", "e, f"),
        ({"f": 1.0, "e": 2.0, "d": 0.5}, "Probabilities of e, d are", "f"),
    ],
)
def test_the_limits_name_the_labels_without_a_temperature(temperatures, calibrated, others):
    text = PLAIN.stated({"temperatures": temperatures}).limits()
    shown = ", ".join(f"{name} {one:.3f}" for name, one in temperatures.items() if one != 1)
    assert text.startswith(f"{calibrated} calibrated by a temperature for each label ({shown}), ")
    assert text.endswith(f"Probabilities of {others} {NOT}" if others else "validation images.")


@pytest.mark.parametrize("temperatures", [{}, {"d": 1.0}])
def test_the_limits_without_any_temperature(temperatures):
    assert PLAIN.stated({"temperatures": temperatures}).limits() == f"Probabilities {NOT}"


def test_a_quantised_file_is_measured_by_the_mean_top1_of_the_labels():
    after = SeveralProbabilities().named(["a=x", "a=y", "b=u", "b=v"])
    values = np.array([[0.9, 0.1, 0.2, 0.8], [0.3, 0.7, 0.6, 0.4], [0.8, 0.2, 0.7, 0.3]])
    truth = np.array([[1, 0, 0, 1], [1, 0, 1, 0], [1, 0, 0, 0]])  # the third image has no b
    assert after.quality(values, truth) == ("top1", pytest.approx((2 / 3 + 1) / 2))
    others = values[:, [0, 1, 3, 2]]  # b is exchanged
    assert after.agree(values, others, np.ones(1)).tolist() == [False, False, False]
    assert after.agree(values, values * 0.9, np.ones(1)).tolist() == [True, True, True]


def test_no_linear_layer_has_two_softmaxes():
    with pytest.raises(ValueError, match="each label has its own softmax"):
        SeveralProbabilities().linear()
