"""Read W&B's files in a run directory with W&B's own protobuf messages."""

import json
import struct
from pathlib import Path

import wandb
from wandb.proto.wandb_internal_pb2 import Record

_FILE_HEADER, _CHUNK_HEADER = 7, struct.Struct("<IHB")  # checksum, length, type
_BLOCK = 32768
_FULL, _FIRST, _LAST = 1, 2, 4


def records(directory: Path) -> list[Record]:
    """Return every record of a run's ``.wandb`` files, in order.

    The files have LevelDB's log format. Each start and each resume of a run writes a file.
    """
    wandb.teardown()  # wandb's process still writes after a run has finished
    found = []
    for path in sorted(directory.glob("wandb/*run-*/*.wandb")):
        data, at, text = path.read_bytes(), _FILE_HEADER, b""
        while at + _CHUNK_HEADER.size <= len(data):
            if _BLOCK - at % _BLOCK < _CHUNK_HEADER.size:  # the end of a block is padded
                at += _BLOCK - at % _BLOCK
                continue
            _, length, kind = _CHUNK_HEADER.unpack_from(data, at)
            at += _CHUNK_HEADER.size
            text = (
                data[at : at + length] if kind in (_FULL, _FIRST) else text + data[at : at + length]
            )
            at += length
            if kind in (_FULL, _LAST):
                found.append(Record.FromString(text))
    return found


def _values(items: object) -> dict:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def history(directory: Path) -> list[dict]:
    """Return the logged rows without W&B's own timestamps and step numbers."""
    rows = [_values(one.history.item) for one in records(directory) if one.HasField("history")]
    return [
        {key: value for key, value in row.items() if key not in ("_timestamp", "_runtime", "_step")}
        for row in rows
    ]


def steps(directory: Path) -> list[int]:
    """Return the step of each logged row."""
    return [one.history.step.num for one in records(directory) if one.HasField("history")]


def summary(directory: Path) -> dict:
    """Return the last value of each summary metric."""
    merged = {}
    for one in records(directory):
        if one.HasField("summary"):
            merged |= _values(one.summary.update)
    return merged


def runs(directory: Path) -> list:
    """Return the run description of each ``.wandb`` file."""
    return [one.run for one in records(directory) if one.HasField("run")]


def artifacts(directory: Path) -> list:
    """Return the logged artifacts."""
    return [
        one.request.log_artifact.artifact if one.HasField("request") else one.artifact
        for one in records(directory)
        if one.HasField("artifact") or one.request.HasField("log_artifact")
    ]


def exit_codes(directory: Path) -> list[int]:
    """Return the exit code in each ``.wandb`` file."""
    return [one.exit.exit_code for one in records(directory) if one.HasField("exit")]
