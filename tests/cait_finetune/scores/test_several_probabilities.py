"""Words on the temperatures of several labels."""

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
