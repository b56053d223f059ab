"""The table of what commands do after a change: its rows, and the error for a stale document."""

import shutil
import sys
from pathlib import Path

import pytest

from cait_finetune.commands import verify_changes
from cait_finetune.commands.verify_changes import COMMANDS, ROWS, World

ROOT = Path(__file__).resolve().parents[3]


def test_the_document_has_every_row_and_column():
    lines = (ROOT / verify_changes.DOCUMENT).read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows[0] == f"| changed between two commands | {' | '.join(COMMANDS)} |"
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[2:]] == list(ROWS)
    assert all(row.count(" | ") == len(COMMANDS) for row in rows[2:])


def test_a_copied_world_leaves_the_original_unchanged(tmp_path):
    world = World(tmp_path / "world", {"resume": ["a=1"]})
    world.images.mkdir(parents=True)
    (world.images / "one").write_text("1")
    with verify_changes._copied(world) as first:
        (first.images / "one").unlink()
        first.add("resume", "b=2")
        with verify_changes._copied(first) as second:
            shutil.rmtree(second.images)
        assert first.images.is_dir()
        assert not (first.images / "one").exists()
    assert (world.images / "one").read_text() == "1"
    assert world.words == {"resume": ["a=1"]}


def test_a_reason_names_no_folder_of_this_machine(tmp_path):
    world = World(tmp_path, {})
    message = f"key: got {tmp_path}/file with (3 of them) | more, expected nothing\n  Do this"
    assert verify_changes._reason(message, world) == "file with \\| more"


@pytest.mark.parametrize(("changed", "status"), [("", None), ("x", 1)])
def test_a_document_that_is_not_as_measured_is_an_error(tmp_path, monkeypatch, changed, status):
    monkeypatch.setattr(verify_changes, "table", lambda: "| a |")
    path = tmp_path / "doc.md"
    monkeypatch.setattr(sys, "argv", ["verify_changes", f"out={path}"])
    verify_changes.main()
    path.write_text(path.read_text() + changed)
    monkeypatch.setattr(sys, "argv", ["verify_changes", f"out={path}", "check=true"])
    if status is None:
        verify_changes.main()
        return
    with pytest.raises(SystemExit, match="differs from the new table"):
        verify_changes.main()
