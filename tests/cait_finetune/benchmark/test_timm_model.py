"""Of timm's side what can be tried in a moment; only where the extra is installed."""

import pytest

pytest.importorskip("timm", reason="timm, of the extra benchmark, is not installed")
from cait_finetune.benchmark import timm_model


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_peak_that_a_processor_has(precision):
    assert 1e9 < timm_model.product_peak(precision, seconds=0.0) < 1e15
