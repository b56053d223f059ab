import math

import pytest

from cait_finetune.report.number_text import format_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"), (-12.5, "-12.5"), (23.80001, "23.8"), (999.96, "1,000"),
        (1234.4, "1,234"), (123456, "123,500"), (9999999, "1e+07"), (123456789, "1.235e+08"),
        (0.000123456, "0.0001235"), (2.4061e-7, "2.406e-07"), (0.0, "0"), (-0.0, "0"),
        (None, "–"), (math.nan, "–"), (math.inf, "–"), (-math.inf, "–"),
    ],
)  # fmt: skip
def test_a_number_has_four_digits(value, text):
    assert format_number(value) == text
