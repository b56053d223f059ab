import pytest
import tensorflow as tf

from cait_finetune.config import DistributionConfig
from cait_finetune.errors import UserError
from cait_finetune.train.distribution import build_strategy

GPUS = tf.config.list_physical_devices("GPU")


def device(strategy: tf.distribute.Strategy) -> str:
    with strategy.scope():
        return tf.Variable(0.0).device


@pytest.mark.skipif(bool(GPUS), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_the_users_error():
    with pytest.raises(UserError, match=r"distribution: got gpu, .*sees none") as error:
        build_strategy(DistributionConfig("gpu"))
    assert "distribution=cpu" in str(error.value)
    assert "cait-finetune[gpu]" in str(error.value)


@pytest.mark.skipif(bool(GPUS), reason="this machine has a GPU")
def test_auto_without_a_gpu_is_the_cpu():
    assert device(build_strategy(DistributionConfig("auto"))).endswith("CPU:0")


@pytest.mark.skipif(not GPUS, reason="this machine has no GPU")
@pytest.mark.parametrize("name", ["auto", "gpu"])
def test_the_first_gpu_is_taken_where_there_is_one(name):
    assert device(build_strategy(DistributionConfig(name))).endswith("GPU:0")


def test_cpu_is_the_cpu_everywhere():
    strategy = build_strategy(DistributionConfig("cpu"))
    assert strategy.num_replicas_in_sync == 1
    assert device(strategy).endswith("CPU:0")
