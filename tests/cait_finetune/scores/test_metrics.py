import json

import pytest

from cait_finetune.errors import UserError
from cait_finetune.scores.metrics import MetricsLog


def test_records_come_back_in_order_by_kind(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write("step", step=1, loss=2.5)
    log.write("step", step=2, loss=1 / 3)
    log.write("epoch", epoch=1, train_loss=1.0)
    log.write("step", step=3, loss=0.25)
    assert log.read("step") == [
        {"kind": "step", "step": 1, "loss": 2.5},
        {"kind": "step", "step": 2, "loss": 1 / 3},
        {"kind": "step", "step": 3, "loss": 0.25},
    ]
    assert log.read("epoch") == [{"kind": "epoch", "epoch": 1, "train_loss": 1.0}]


def test_the_first_line_has_the_run_also_after_the_file_was_lost(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", run="id")
    assert log.run == ""
    log.write("step", step=1)
    log.write("step", step=2)
    assert log.run == MetricsLog(log.path).run == "id"
    assert [one["kind"] for one in log.read()] == ["step", "step"]
    log.cut(0)
    log.write("step", step=1)
    assert [json.loads(line)["kind"] for line in log.path.open()] == ["run", "step"]


def test_each_record_is_a_complete_line_as_soon_as_it_is_written(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for number in range(3):
        log.write("step", step=number)
        text = log.path.read_text()
        assert text.endswith("}\n")
        assert [json.loads(line)["step"] for line in text.splitlines()] == list(range(number + 1))


def test_cutting_leaves_whole_lines(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write("step", step=1)
    size = log.size
    log.write("step", step=2)
    log.cut(size)
    assert log.read("step") == [{"kind": "step", "step": 1}]
    log.write("step", step=2)
    whole = log.size
    log.path.write_bytes(log.path.read_bytes()[:-4])  # the disk lost the end of the last line
    log.cut(whole)
    assert [one["step"] for one in log.read("step")] == [1]
    log.cut(10**6)  # a size beyond the end changes nothing
    assert log.size == size


@pytest.mark.parametrize("lose", ["the end", "a line in the middle", "the file"])
def test_lost_records_are_named(lose, tmp_path, caplog):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for epoch in (1, 2, 3):
        log.write("step", step=10 * epoch)
        log.write("epoch", epoch=epoch, step=10 * epoch)
    size, lines = log.size, log.path.read_bytes().splitlines(keepends=True)
    log.cut(size, 30)
    assert caplog.text == ""
    if lose == "the file":
        log.path.unlink()
    else:
        left = [*lines[:3], lines[3][:9]] if lose == "the end" else lines[:3] + lines[4:]
        log.path.write_bytes(b"".join(left))
    log.cut(size, 30)
    said = {
        "the end": "up to step 20 with epochs 1, expected all up to step 30",
        "a line in the middle": "up to step 30 with epochs 1, 3, expected all up to step 30",
        "the file": "up to step 0 with no epoch, expected all up to step 30",
    }
    assert said[lose] in caplog.text
    MetricsLog(log.path, writes=False).cut(size, 30)
    assert len(caplog.records) == 1


def test_a_follower_gets_each_record_that_is_written(tmp_path):
    log, seen = MetricsLog(tmp_path / "metrics.jsonl"), []
    log.write("step", step=1)
    log.follow(lambda kind, values: seen.append((kind, values, log.size > 0)))
    log.write("step", step=2, loss=0.5)
    log.write("epoch", epoch=1)
    assert seen == [("step", {"step": 2, "loss": 0.5}, True), ("epoch", {"epoch": 1}, True)]
    silent = MetricsLog(tmp_path / "metrics.jsonl", writes=False)
    silent.follow(lambda kind, values: seen.append(kind))
    silent.write("step", step=3)
    assert len(seen) == 2


def test_all_kinds_come_back_in_order(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.read() == []
    for kind in ("step", "epoch", "step"):
        log.write(kind, step=1)
    assert [record["kind"] for record in log.read()] == ["step", "epoch", "step"]


def test_a_worker_that_does_not_write(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", writes=False)
    log.write("step", step=1)
    log.cut(0)
    assert (log.size, log.path.exists()) == (0, False)


def test_a_last_line_that_is_not_whole_is_left_out(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write("step", step=1)
    log.write("epoch", epoch=1)
    log.path.write_bytes(log.path.read_bytes()[:-4])
    assert log.read() == [{"kind": "step", "step": 1}]


def test_another_damaged_line_is_a_message(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.path.write_bytes(b'{"kind": "st\n')
    log.write("step", step=2)
    with pytest.raises(UserError, match=r"metrics\.jsonl: got .*, expected a JSON object in each"):
        log.read()
