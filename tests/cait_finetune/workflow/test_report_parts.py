"""Texts of a report."""

import pytest

from cait_finetune.workflow.report_parts import format_count


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 mistake"), (2, "2 mistakes"), (1000, "1,000 mistakes")]
)
def test_a_count_in_words(count, words):
    assert format_count(count) == words
