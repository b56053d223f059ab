"""Find the workers of a run, and check that all of them answer.

TensorFlow waits for a missing worker for an hour or forever, and does not name the worker.
Therefore this module reads the addresses and connects to them first.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from cait_finetune.config import DistributionConfig
from cait_finetune.errors import bad_value

_EXAMPLE = (
    '\'{"cluster": {"worker": ["host0:12355", "host1:12355"]}, '
    '"task": {"type": "worker", "index": 0}}\''
)
_KEY = "TF_CONFIG"
_UNASSIGNED = range(20_000, 32_000)  # Linux gives outgoing connections ports from 32768 on


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on.

    The caller's processes bind the ports seconds later. The function therefore avoids the ports that the
    system assigns to outgoing connections.
    """
    ports: list[int] = []
    for port in random.SystemRandom().sample(_UNASSIGNED, len(_UNASSIGNED)):
        if len(ports) == count:
            break
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports


@dataclass(frozen=True)
class Cluster:
    """The addresses of the workers as ``host:port``, chief first, and the index of this worker."""

    addresses: tuple[str, ...]
    index: int

    def as_tf_config(self) -> str:
        """Return the value of TF_CONFIG for TensorFlow."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def find_cluster(config: DistributionConfig) -> Cluster:
    """Return the cluster from TF_CONFIG, or from SLURM's variables inside a step of ``srun``.

    Raises:
        UserError: the variables are missing, or describe no valid cluster.
    """
    kind = config.cluster
    if kind is None:
        kind = "slurm" if _KEY not in os.environ and "SLURM_STEP_NODELIST" in os.environ else None
    return _from_slurm(config.port) if kind == "slurm" else _from_tf_config()


def is_first_worker(config: DistributionConfig) -> bool:
    """Return whether this process writes the files: it is the first worker, or the only process.

    Raises:
        UserError: the run has several workers, and no valid cluster is described.
    """
    return config.strategy != "multi_worker" or find_cluster(config).index == 0


def _from_slurm(port: int) -> Cluster:
    import tensorflow as tf

    try:
        # SLURM has assigned the GPUs already, and a CPU node has none. The resolver must still count
        # GPUs, so it counts one per task; `auto_set_gpu=False` keeps CUDA_VISIBLE_DEVICES.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port, gpus_per_node=2**15, gpus_per_task=1, auto_set_gpu=False
        )
        spec = resolver.cluster_spec()
    except (RuntimeError, ValueError) as error:
        raise bad_value(
            "distribution.cluster",
            f"slurm, and {error}",
            "to run inside a step: srun python -m cait_finetune …",
        ) from error
    return Cluster(tuple(spec.task_address("worker", i) for i in spec.task_indices("worker")),
                   resolver.task_id)  # fmt: skip


def _from_tf_config() -> Cluster:
    text = os.environ.get(_KEY)
    if not text:
        raise bad_value(
            "distribution",
            "multi_worker and no TF_CONFIG in the environment",
            "one for each worker",
            f"TF_CONFIG={_EXAMPLE}; in a SLURM job start with srun",
        )
    try:
        value = json.loads(text)
        addresses = (*value["cluster"].get("chief", ()), *value["cluster"].get("worker", ()))
        kind, index = value["task"]["type"], value["task"]["index"]
        if not isinstance(index, int):
            raise ValueError(f"the task's index is {index!r}, which is no whole number")
        if not addresses:
            raise ValueError("no worker is listed")
        if kind not in ("chief", "worker") or kind not in value["cluster"]:
            raise ValueError(f"the task's type is {kind!r}, which is not in the cluster")
        if not 0 <= index < len(value["cluster"][kind]):
            raise ValueError(f"the task's index is {index} of {len(value['cluster'][kind])}")
        for address in addresses:
            _split(address)
        if len(set(addresses)) < len(addresses):
            raise ValueError("an address is listed twice")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = str(error)
        if isinstance(error, KeyError):
            what = f"no {error}"
        elif not isinstance(error, ValueError):  # a value in the JSON has another type
            what = "its values have wrong types"
        raise bad_value(_KEY, f"{text} ({what})", f"something like {_EXAMPLE}") from error
    if kind == "worker":
        index += len(value["cluster"].get("chief", ()))
    return Cluster(addresses, index)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{address!r} is not host:port")
    return host.strip("[]"), int(port)


def wait_for_peers(cluster: Cluster, timeout: float) -> None:
    """Wait until every other worker can be reached. Listen at this worker's own address meanwhile.

    Args:
        timeout: in seconds.

    Raises:
        UserError: some addresses did not answer within `timeout`, or this worker's port is taken.
    """
    others = [address for i, address in enumerate(cluster.addresses) if i != cluster.index]
    with _listening(cluster.addresses[cluster.index]):
        wait_for(others, timeout, f"all {len(cluster.addresses)} workers to start within this time")


def wait_for(addresses: list[str], timeout: float, what: str) -> None:
    """Wait until every address has accepted a connection.

    Args:
        addresses: as ``host:port``.
        timeout: in seconds.
        what: the expectation, for the message.

    Raises:
        UserError: some addresses did not accept within `timeout`.
    """
    until = time.monotonic() + timeout
    while addresses := [address for address in addresses if not _answers(address)]:
        if time.monotonic() >= until:
            raise bad_value(
                "distribution.timeout",
                f"no answer from {', '.join(addresses)} in {timeout:g} s",
                what,
                "Start all of them with the same command; check that no firewall is between them; "
                "or set a longer distribution.timeout.",
            )
        time.sleep(0.2)


@contextlib.contextmanager
def _listening(address: str) -> Iterator[None]:
    _, port = _split(address)
    try:
        server = socket.create_server(("", port), backlog=1024)
    except OSError as error:
        raise bad_value(address, error.strerror, "a free port for this worker") from error
    with server:
        yield


def _answers(address: str) -> bool:
    try:
        with socket.create_connection(_split(address), timeout=1):
            return True
    except OSError:
        return False
