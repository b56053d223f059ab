import pytest
import tensorflow as tf

from cait_finetune.benchmark import products
from cait_finetune.benchmark.flops import trunk_flops
from cait_finetune.benchmark.task import Task


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_they_are_those_that_are_counted(monkeypatch, precision):
    counted, matmul = [], tf.matmul

    def count(left, right, **words):
        result = matmul(left, right, **words)
        counted.append(2 * result.shape.num_elements() * left.shape[-1])
        assert result.dtype == (tf.float32 if precision == "float32" else tf.bfloat16)
        return result

    monkeypatch.setattr(products.tf, "matmul", count)
    task = Task("products", "cait_nano_32", precision, 3, 1)
    products.prepare(task)()
    # The graph is made once, and runs for each block.
    assert sum(counted) * task.variant.depth == 3 * trunk_flops(task.variant)
