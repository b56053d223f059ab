import pytest
import tensorflow as tf

from cait_finetune.benchmark import products
from cait_finetune.benchmark.flops import trunk_flops
from cait_finetune.benchmark.task import Task


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(("work", "passes"), [("products", 1), ("training_products", 3)])
def test_they_are_those_that_are_counted(monkeypatch, work, passes, precision):
    counted, matmul = [], tf.matmul

    def count(left, right, **words):
        result = matmul(left, right, **words)
        shared = left.shape[-2 if words.get("transpose_a") else -1]
        counted.append(2 * result.shape.num_elements() * shared)
        assert result.dtype == (tf.float32 if precision == "float32" else tf.bfloat16)
        return result

    monkeypatch.setattr(products.tf, "matmul", count)
    task = Task(work, "cait_nano_32", precision, 3, 1)
    products.prepare(task)()
    # The graph is made once, and runs for each block.
    assert sum(counted) * task.variant.depth == 3 * passes * trunk_flops(task.variant)


@pytest.mark.parametrize(("precision", "parts"), [("float32", 8), ("mixed_bfloat16", 2)])
def test_they_are_made_in_the_parts_of_the_model(monkeypatch, precision, parts):
    concurrent_micro_batches = []
    monkeypatch.setattr(
        products,
        "concurrent_micro_batches",
        lambda parts: concurrent_micro_batches.append(parts) or parts,
    )
    products.prepare(Task("products", "cait_xxs24_224", precision, 16, 1))()
    assert concurrent_micro_batches == [parts]
