"""The start and the end of every command."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cait_finetune.cli.entry import command
from cait_finetune.cli.loading import end_loading
from cait_finetune.errors import UserError, bad_value

PACKAGE = Path(__file__).resolve().parents[3] / "cait_finetune"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (bad_value("key", 1, "2"), "cait_finetune.some: key: got 1, expected 2"),
        (
            OSError(28, "No space left on device", "/x"),
            "cait_finetune.some: /x: got No space left on device, expected enough space for the file\n"
            "  Free some space, raise the limit, or choose another place.",
        ),
        (
            PermissionError(13, "Permission denied", "/x"),
            "cait_finetune.some: /x: got Permission denied, expected a path that this user may read or "
            "write\n  Change its permissions, or choose another place.",
        ),
    ],
)
def test_an_error_that_the_user_can_fix_prints_one_message(error, message, monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as caught, command("cait_finetune.some"):
        raise error
    assert caught.value.code == message


def test_a_working_directory_that_was_deleted(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    before = os.getcwd()
    monkeypatch.setenv("PWD", str(gone))
    os.chdir(gone)
    gone.rmdir()
    try:
        with pytest.raises(SystemExit) as caught, command("x"):
            Path("run").absolute()
    finally:
        os.chdir(before)
    assert caught.value.code.startswith(f"x: working directory: got {gone}, which was deleted, ex")
    with pytest.raises(SystemExit) as caught, command("x"):
        raise FileNotFoundError(2, "No such file or directory")
    assert caught.value.code.startswith("x: system: got No such file")


def test_a_traceback_that_is_asked_for(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError), command("x"):
        raise UserError("y")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def ask():
        with command("x") as errors:
            errors.tracebacks = True
            raise OSError("y")

    with pytest.raises(OSError, match="y"):
        ask()


def test_a_defect_is_not_hidden():
    with pytest.raises(ZeroDivisionError), command("x"):
        raise ZeroDivisionError


def test_ctrl_c_exits_with_130_and_one_line(capsys):
    with pytest.raises(SystemExit) as caught, command("x"):
        raise KeyboardInterrupt
    assert caught.value.code == 130
    assert capsys.readouterr().err == "x: interrupted; what was finished is kept\n"


def test_command_keeps_an_exit_status():
    with pytest.raises(SystemExit) as caught, command("x"):
        sys.exit(7)
    assert caught.value.code == 7


def test_every_main_function_uses_the_command_context():
    mains = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^def main\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(mains) > 10
    others = [
        name
        for name in mains
        if not re.search(
            r"with (entry\.)?command\(|run_with_hydra\(|run_command\(\)",
            (PACKAGE / name).read_text(encoding="utf-8"),
        )
    ]
    assert others == []


def run(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, timeout=120, **options
    )


@pytest.mark.parametrize(
    "name", ["compare", "export", "report", "attention", "predict", "sweep", "benchmark", "verify"]
)
def test_a_mistake_without_a_console(name, tmp_path):
    """Each command runs in its own process, with an ASCII console and ``KERAS_BACKEND=jax``."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "KERAS_BACKEND": "jax"}
    environment["PYTHONPATH"] = str(PACKAGE.parent)
    wrong = "no/épi" if name == "compare" else "épi=1"
    done = run("cait_finetune", name, wrong, env=environment, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    first, *rest = done.stderr.splitlines()
    assert first == "Keras  runs on tensorflow: KERAS_BACKEND=jax has no effect here"
    assert rest[0].startswith(f"cait_finetune {name}: ")
    assert "\\xe9pi" in rest[0] or "?pi" in rest[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("console", ["| head -1", "> /dev/full", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_without_a_console(console, tmp_path):
    """The command still writes its files and exits with status 0."""
    words = (
        f"set -o pipefail; {sys.executable} -m cait_finetune sweep dataset=digits "
        f"'train.epochs=choice(1,2)' {console}"
    )
    done = subprocess.run(
        ["bash", "-c", words], capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    assert "Exception" not in done.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".yaml"]


# A process that sends SIGINT to itself: with the handler of `begin_loading`, with stderr redirected
# (`quiet`), or after `end_loading` (`ended`).
_LOADING = """
import os, signal, sys, time
from cait_finetune.cli.loading import begin_loading, end_loading
begin_loading()
if "quiet" in sys.argv:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
if "ended" in sys.argv:
    end_loading()
    end_loading()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except BaseException as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("word", "out", "err", "status"),
    [
        ("", "", "cait_finetune: interrupted before the command began\n", 130),
        ("quiet", "", "cait_finetune: interrupted before the command began\n", 130),
        ("ended", "KeyboardInterrupt\n", "", 0),
    ],
)
def test_ctrl_c_while_loading(word, out, err, status):
    done = subprocess.run(
        [sys.executable, "-c", _LOADING, word], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == (out, err, status)


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 0.05, 0.2, 0.6, 1.5])
def test_ctrl_c_from_the_first_line_on(after, tmp_path):
    """The test starts a copy of ``__main__`` that makes a file when its first line runs."""
    begun = tmp_path / "begun"
    source = (PACKAGE / "__main__.py").read_text(encoding="utf-8")
    code = source.replace("    try:\n", f"    try:\n        open({str(begun)!r}, 'w').close()\n", 1)
    assert code != source
    process = subprocess.Popen(
        [sys.executable, "-c", code, "dataset=digits", f"hydra.run.dir={tmp_path}/run"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.001)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("cait_finetune: interrupted")
    assert out == ""


def test_end_loading_without_a_start_keeps_the_signal_handler():
    before = signal.getsignal(signal.SIGINT)
    end_loading()
    assert signal.getsignal(signal.SIGINT) is before
    assert importlib.import_module("cait_finetune.__main__").main
