import pytest

from cait_finetune.benchmark import roofline
from cait_finetune.benchmark.roofline import model_flops, task_flops
from cait_finetune.benchmark.task import Task
from cait_tf.variants import VARIANTS

PUBLISHED = [variant for variant in VARIANTS.values() if variant.published]


@pytest.mark.parametrize("variant", PUBLISHED, ids=lambda variant: variant.name)
def test_model_flops_are_twice_the_published_macs(variant):
    assert model_flops(variant) == pytest.approx(2e9 * variant.gmacs, rel=0.01)


def test_another_image_size_and_number_of_classes():
    small, large = VARIANTS["cait_xxs24_224"], VARIANTS["cait_xxs24_384"]
    assert model_flops(small, image_size=384) == model_flops(large)
    assert model_flops(small) - model_flops(small, num_classes=10) == 2 * 990 * 192


def test_training_is_three_forward_passes():
    training, inference = (task_flops(Task(work, "cait_xxs24_224", "float32", 8, 1, image_size=96))
                           for work in ("training", "inference"))  # fmt: skip
    assert training == 3 * inference == 3 * model_flops(VARIANTS["cait_xxs24_224"], 96)


def test_flops_per_second_takes_the_fastest_call_after_the_first(monkeypatch):
    clock = [0.0]
    lasting = iter([9.0, 2.0, 0.5, 4.0, 0.1])
    monkeypatch.setattr(roofline.time, "perf_counter", lambda: clock[0])

    def work():
        clock[0] += next(lasting)

    # The first call is not timed. The fourth call passes the limit, so no fifth call follows.
    assert roofline.flops_per_second(work, operations=10, seconds=5) == pytest.approx(20)
    assert next(lasting) == 0.1
