"""The workers of a cluster, and the wait for them."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from cait_finetune.config import DistributionConfig
from cait_finetune.errors import UserError
from cait_finetune.train.cluster import Cluster, find_cluster, free_ports, wait_for_peers

CONFIG = DistributionConfig("multi_worker")
GOOD = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("SLURM_STEP_NODELIST", raising=False)


def test_find_cluster_reads_tf_config(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(GOOD))
    cluster = find_cluster(CONFIG)
    assert cluster == Cluster(("a:1", "b:2"), 1)
    assert json.loads(cluster.as_tf_config()) == GOOD


def test_a_chief_is_worker_0(monkeypatch):
    value = {
        "cluster": {"chief": ["c:9"], "worker": ["a:1"]},
        "task": {"type": "worker", "index": 0},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(value))
    assert find_cluster(CONFIG) == Cluster(("c:9", "a:1"), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cluster": {"worker": []}}, "no worker is listed"),
        ({"cluster": {}}, "no worker is listed"),
        ({"cluster": {"worker": ["a:1", "a:1"]}}, "listed twice"),
        ({"cluster": {"worker": ["a", "b:2"]}}, "'a' is not host:port"),
        ({"cluster": {"worker": ["a:99999", "b:2"]}}, "'a:99999' is not host:port"),
        ({"cluster": {"worker": [1, 2]}}, "TF_CONFIG"),
        ({"task": {"type": "worker", "index": 2}}, "index is 2 of 2"),
        ({"task": {"type": "ps", "index": 0}}, "type is 'ps'"),
        ({"task": {"type": "worker"}}, "no 'index'"),
        ({"task": {"type": "worker", "index": "x"}}, "TF_CONFIG"),
        ({"task": []}, "its values have wrong types"),
        ({"cluster": 3}, "its values have wrong types"),
    ],
)
def test_a_tf_config_that_makes_no_sense(monkeypatch, change, message):
    monkeypatch.setenv("TF_CONFIG", json.dumps({**GOOD, **change}))
    with pytest.raises(UserError) as error:
        find_cluster(CONFIG)
    assert message in str(error.value)
    assert "expected something like" in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", "3", "null"])
def test_a_tf_config_that_is_no_json_object(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match="TF_CONFIG: got"):
        find_cluster(CONFIG)


def test_without_a_cluster_the_error_shows_an_example_tf_config():
    with pytest.raises(UserError, match="no TF_CONFIG") as error:
        find_cluster(CONFIG)
    assert '"worker": ["host0:12355"' in str(error.value)
    assert "srun" in str(error.value)


def test_find_cluster_reads_slurm_unless_tf_config_is_set(monkeypatch):
    for name, value in {
        "PROCID": "2", "STEP_NUM_TASKS": "3", "STEP_NODELIST": "node[07-08]",
        "STEP_TASKS_PER_NODE": "2,1",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", value)
    wanted = Cluster(("node07:4000", "node07:4001", "node08:4000"), 2)
    assert find_cluster(DistributionConfig("multi_worker", port=4000)) == wanted
    monkeypatch.setenv("TF_CONFIG", json.dumps(GOOD))
    assert find_cluster(CONFIG).addresses == ("a:1", "b:2")  # TF_CONFIG overrides SLURM
    assert find_cluster(DistributionConfig("multi_worker", cluster="slurm", port=4000)) == wanted


def test_slurm_outside_of_a_step():
    with pytest.raises(UserError, match=r"distribution\.cluster: got slurm, .*srun"):
        find_cluster(DistributionConfig("multi_worker", cluster="slurm"))


@pytest.mark.slow
def test_peers_that_come_late_are_waited_for():
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(3))
    ended = []

    def worker(index, delay):
        time.sleep(delay)
        wait_for_peers(Cluster(addresses, index), 20)
        ended.append(index)

    threads = [
        threading.Thread(target=worker, args=(i, delay)) for i, delay in enumerate((0, 0.5, 1))
    ]
    for thread in threads:
        thread.start()
    # Listen on the last worker's port after its wait, as TensorFlow's server does.
    threads[2].join(25)
    with socket.create_server(("127.0.0.1", int(addresses[2].split(":")[1]))):
        for thread in threads:
            thread.join(25)
    assert sorted(ended) == [0, 1, 2]


@pytest.mark.slow
def test_a_peer_that_does_not_come_is_named():
    ours, theirs = (f"127.0.0.1:{port}" for port in free_ports(2))
    with pytest.raises(
        UserError, match=rf"distribution\.timeout: got no answer from {theirs} in 1 s"
    ):
        wait_for_peers(Cluster((ours, theirs), 0), 1)


def test_a_port_that_is_taken():
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match="expected a free port"):
            wait_for_peers(Cluster((address, "127.0.0.1:1"), 0), 1)


def test_free_ports_are_none_that_the_system_gives_to_connections():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        assert port < 32_768
        socket.create_server(("127.0.0.1", port)).close()
