import pytest

from cait_finetune.benchmark.flops import flops
from cait_tf.variants import VARIANTS

PUBLISHED = [variant for variant in VARIANTS.values() if variant.published]


@pytest.mark.parametrize("variant", PUBLISHED, ids=lambda variant: variant.name)
def test_twice_the_published_multiplications(variant):
    assert flops(variant) == pytest.approx(2e9 * variant.gmacs, rel=0.01)


def test_another_image_size_and_number_of_classes():
    small, large = VARIANTS["cait_xxs24_224"], VARIANTS["cait_xxs24_384"]
    assert flops(small, image_size=384) == flops(large)
    assert flops(small) - flops(small, num_classes=10) == 2 * 990 * 192
