"""Build a `tf.distribute` strategy from the configuration, and check the keys that depend on it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from cait_finetune.config import DistributionConfig
from cait_finetune.config.advice import advise
from cait_finetune.errors import Interrupted, UserError, bad_value
from cait_finetune.train.cluster import find_cluster, wait_for, wait_for_peers

_ABORTED = "Collective ops is aborted by"  # from TensorFlow's message


def build_strategy(config: DistributionConfig) -> tf.distribute.Strategy:
    """Return the strategy for the configured devices.

    ``auto`` uses all GPUs, or the CPU. ``cpu`` and ``gpu`` use one device. ``mirrored`` uses all
    devices of this machine, ``multi_worker`` the devices of several processes, and ``tpu`` a TPU.
    Call the function before anything else uses TensorFlow's devices.

    Raises:
        UserError: a device does not exist, or a worker does not answer.
    """
    builders = {
        "auto": _auto,
        "cpu": lambda _: tf.distribute.OneDeviceStrategy("/cpu:0"),
        "gpu": _gpu,
        "mirrored": _mirrored,
        "multi_worker": _multi_worker,
        "tpu": _tpu,
    }
    return builders[config.strategy](config)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process writes the files: it is worker 0, or the only worker.

    `find_cluster` counts a chief as worker 0.
    """
    return not _several_workers(strategy) or strategy.cluster_resolver.task_id == 0


def check_batch(batch_size: int, accumulation: int, strategy: tf.distribute.Strategy) -> None:
    """Check that every replica gets the same whole number of equal micro-batches.

    Raises:
        UserError: `batch_size` is no multiple of the replicas times `accumulation`. The message
            names the nearest valid batch size.
    """
    replicas = strategy.num_replicas_in_sync
    unit = replicas * accumulation
    if batch_size % unit:
        nearest = max(1, round(batch_size / unit)) * unit
        parts = f" of {accumulation} micro-batches" if accumulation > 1 else ""
        raise bad_value(
            "train.batch_size",
            batch_size,
            f"a multiple of {unit}, for {replicas} replicas{parts}; the nearest is {nearest}",
        )


def check_precision(precision: str, strategy: tf.distribute.Strategy) -> None:
    """Check that the devices can compute in the configured precision.

    Raises:
        UserError: mixed_float16 on a device other than a GPU with float16 arithmetic.
    """
    if precision != "mixed_float16":
        return
    device = strategy.extended.worker_devices[0]
    kind = tf.DeviceSpec.from_string(device).device_type
    if kind == "GPU":
        details = tf.config.experimental.get_device_details(
            tf.config.list_physical_devices("GPU")[0]
        )
        if details.get("compute_capability", (9, 0)) >= (5, 3):
            return
    raise bad_value(
        "train.precision",
        f"mixed_float16 on a {kind}",
        "a device that computes in float16",
        "use train.precision=mixed_bfloat16 or float32",
    )


def _auto(config: DistributionConfig) -> tf.distribute.Strategy:
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1 or (config.devices or 1) > 1:
        return _mirrored(config)
    return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")


def _gpu(_: DistributionConfig) -> tf.distribute.Strategy:
    if not tf.config.list_physical_devices("GPU"):
        raise bad_value(
            "distribution",
            "gpu",
            "a GPU that TensorFlow can use, and it sees none",
            "install the CUDA libraries with pip install 'cait-finetune[gpu]', or use "
            "distribution=cpu",
        )
    return tf.distribute.OneDeviceStrategy("/gpu:0")


def _mirrored(config: DistributionConfig) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(_local_devices(config.devices))


def _local_devices(count: int | None) -> list[str]:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if (count or 1) > len(gpus):
            raise bad_value(
                "distribution.devices", count, f"at most the {len(gpus)} GPUs there are"
            )
        return [f"/gpu:{index}" for index in range(count or len(gpus))]
    if count is None:
        raise bad_value(
            "distribution",
            "mirrored, and TensorFlow sees no GPU",
            "several devices",
            "distribution.devices=2 tests the strategy with two logical CPU devices",
        )
    _split_cpu(count)
    return [f"/cpu:{index}" for index in range(count)]


def _split_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    configuration = [tf.config.LogicalDeviceConfiguration()] * count
    try:
        tf.config.set_logical_device_configuration(cpu, configuration)
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise bad_value(
                "distribution.devices",
                f"{count}, when TensorFlow has already started with fewer",
                "a process in which nothing has used TensorFlow before",
            ) from error


def _multi_worker(config: DistributionConfig) -> tf.distribute.Strategy:
    cluster = find_cluster(config)
    if len(cluster.addresses) > 1:
        wait_for_peers(cluster, config.timeout)
    os.environ["TF_CONFIG"] = cluster.as_tf_config()
    # AUTO uses NCCL between GPUs. CPUs need the ring.
    gpus = tf.config.list_physical_devices("GPU")
    how = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=how.AUTO if gpus else how.RING
    )
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _tpu(config: DistributionConfig) -> tf.distribute.Strategy:
    if (config.tpu or "").startswith("grpc://"):
        wait_for([config.tpu.removeprefix("grpc://")], config.timeout, "the TPU to answer")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=config.tpu or "local")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise _no_tpu(config.tpu, str(error).partition(". ")[0]) from error
    strategy = tf.distribute.TPUStrategy(resolver)
    if not tf.config.list_logical_devices("TPU"):
        raise _no_tpu(config.tpu, "TensorFlow sees none")
    return strategy


def _no_tpu(name: str | None, why: str) -> UserError:
    return bad_value(
        "distribution",
        f"tpu, and {name or 'this machine'} has none ({why})",
        "a TPU VM, or the address of one",
        "on a TPU VM install libtpu; else distribution.tpu=NAME or grpc://HOST:8470",
    )


def distributed(
    strategy: tf.distribute.Strategy, build: Callable[[int, int, int], tf.data.Dataset]
) -> Iterable:
    """Return the stream of global batches, distributed over the replicas of the strategy.

    An element holds one shard per replica.

    Args:
        build: called with the index of an input pipeline, the number of pipelines, and the number
            of replicas that the pipeline feeds. It returns a stream with the shards of these
            replicas in turn.
    """
    if strategy.num_replicas_in_sync == 1:
        return build(0, 1, 1)

    def pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        count = context.num_input_pipelines
        return build(context.input_pipeline_id, count, context.num_replicas_in_sync // count)

    return strategy.distribute_datasets_from_function(pipeline)


def build_agreement(
    strategy: tf.distribute.Strategy,
) -> Callable[[list[bool]], list[bool]] | None:
    """Return a function that combines the answers of all workers, or `None` if there is one worker.

    The function takes this worker's answers to a list of questions. It returns one result per
    question, which is true if any worker answered true.
    """
    if not _several_workers(strategy):
        return None

    @tf.function(autograph=False)
    def votes(wishes: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(tf.identity, args=(wishes,)), axis=None)

    return lambda wishes: (votes(tf.cast(wishes, tf.float32)).numpy() > 0).tolist()


def wait_for_workers(strategy: tf.distribute.Strategy) -> None:
    """Wait until every worker makes this call.

    A worker that exits before the first worker would end the whole cluster.
    """
    if agree := build_agreement(strategy):
        agree([False])


@contextlib.contextmanager
def lost_worker(strategy: tf.distribute.Strategy, directory: object) -> Iterator[None]:
    """End the run of this worker if another worker has ended or cannot be reached inside the block.

    TensorFlow's collectives cannot continue with fewer workers: all workers have to be started
    again.

    Args:
        directory: of the run, for the message.

    Raises:
        Interrupted: replaces TensorFlow's error. Its exit status asks a job script to start the
            worker again.
    """
    try:
        yield
    except tf.errors.OpError as error:
        gone = isinstance(error, tf.errors.UnavailableError) or _ABORTED in error.message
        if not (_several_workers(strategy) and gone):
            raise
        why = error.message.partition(_ABORTED)[2].strip(": ").splitlines() or [error.message]
        raise Interrupted(
            f"distribution: got no answer from another worker ({why[0]}), expected all to "
            f"run to the end\n  See the errors of the other workers. Finished checkpoints are kept: start "
            f"all workers again with {advise('resume', directory)}"
        ) from error


def _several_workers(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def device_summary(strategy: tf.distribute.Strategy) -> str:
    """Return the devices in words, such as ``2 workers, 8 replicas, GPU``."""
    devices = strategy.extended.worker_devices
    kind = tf.DeviceSpec.from_string(devices[0]).device_type
    replicas = strategy.num_replicas_in_sync
    workers = replicas // len(devices)
    words = [f"{workers} workers"] if workers > 1 else []
    words += [f"{replicas} replicas"] if replicas > 1 else []
    return ", ".join([*words, kind])
