import pytest
import tensorflow as tf

from cait_finetune.config import DistributionConfig
from cait_finetune.errors import UserError
from cait_finetune.train.distribution import (
    build_agreement,
    build_strategy,
    check_batch,
    check_precision,
    device_summary,
    is_chief,
)
from tests.cait_finetune.tiny import one_device

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


@pytest.mark.skipif(bool(GPUS), reason="this machine has a GPU")
def test_mirrored_without_gpus_wants_to_know_how_many():
    with pytest.raises(UserError, match="sees no GPU") as error:
        build_strategy(DistributionConfig("mirrored"))
    assert "distribution.devices=2" in str(error.value)


def test_devices_after_tensorflow_has_started():
    tf.config.list_logical_devices()
    with pytest.raises(UserError, match=r"distribution\.devices: got 64, "):
        build_strategy(DistributionConfig("mirrored", devices=64))


@pytest.mark.skipif(bool(tf.config.list_physical_devices("TPU")), reason="this machine has a TPU")
@pytest.mark.parametrize("name", [None, "some-tpu"])
def test_a_tpu_that_is_not_there(name, monkeypatch):
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(
        UserError, match=r"distribution: got tpu, and (this machine|some-tpu) has none"
    ):
        build_strategy(DistributionConfig("tpu", tpu=name))


@pytest.mark.slow
def test_a_tpu_address_that_does_not_answer():
    with pytest.raises(UserError, match=r"no answer from 127\.0\.0\.1:9 in 1 s"):
        build_strategy(DistributionConfig("tpu", tpu="grpc://127.0.0.1:9", timeout=1.0))


class Replicas:
    """A strategy stub with `count` replicas on devices of `kind`."""

    def __init__(self, count, kind="CPU"):
        self.num_replicas_in_sync = count
        self.extended = self
        self.worker_devices = [f"/job:localhost/device:{kind}:{i}" for i in range(count)]


@pytest.mark.parametrize(
    ("size", "parts", "replicas", "nearest"),
    [(32, 1, 3, 33), (32, 2, 3, 30), (1, 1, 8, 8), (100, 1, 8, 96), (12, 4, 4, 16)],
)
def test_the_message_names_the_nearest_divisible_batch_size(size, parts, replicas, nearest):
    with pytest.raises(
        UserError, match=rf"train\.batch_size: got {size}, .* nearest is {nearest}\b"
    ):
        check_batch(size, parts, Replicas(replicas))
    check_batch(nearest, parts, Replicas(replicas))


def test_float16_needs_a_gpu():
    for precision in ("float32", "mixed_bfloat16"):
        check_precision(precision, Replicas(1))
    for kind in ("CPU", "TPU"):
        with pytest.raises(UserError, match=rf"train\.precision: got mixed_float16 on a {kind}"):
            check_precision("mixed_float16", Replicas(2, kind))


def test_the_devices_in_words():
    assert device_summary(one_device()) == "CPU"
    assert device_summary(Replicas(4, "GPU")) == "4 replicas, GPU"


def test_a_single_process_needs_no_agreement_and_is_chief():
    assert build_agreement(one_device()) is None
    assert is_chief(one_device())
