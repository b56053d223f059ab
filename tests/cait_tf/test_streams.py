"""Standard streams that are closed, full, gone or lack characters, each in a new process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_PREPARE = "from cait_tf.streams import prepare_streams; prepare_streams()\n"


def run(code, shell="", **environment):
    """Run code in a shell and return its standard output, standard error and exit status."""
    words = ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {shell}', sys.executable, code]
    done = subprocess.run(words, capture_output=True, env={**os.environ, **environment}, timeout=60)
    return done.stdout.decode(), done.stderr.decode(), done.returncode


_TALK = _PREPARE + (
    "import sys\nfor line in range(20000): print(line, flush=True)\n"
    "print('end', file=sys.stderr)\nsys.stdout.flush()"
)


def test_a_closed_pipe_does_not_stop_the_command():
    assert run(_TALK, "| head -1") == ("0\n", "end\n", 0)


def test_a_full_disk_is_reported_once():
    out, err, status = run(_TALK, "> /dev/full")
    assert (out, status) == ("", 0)
    assert err.splitlines() == [
        "standard output: got No space left on device; the command continues without it",
        "end",
    ]


def test_two_full_streams_do_not_stop_the_command():
    assert run(_TALK, "> /dev/full 2>&1") == ("", "", 0)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_stop_the_command(closed, tmp_path):
    written = tmp_path / "written"
    code = _PREPARE + (
        "import os, subprocess, sys\n"
        "print('out'); print('error', file=sys.stderr); os.write(2, b'from C\\n')\n"
        "assert sys.stdin.read() is not None\n"
        "first = os.dup(2)\n"
        "assert first > 2\n"
        "done = subprocess.run([sys.executable, '-c', 'import os; os.fstat(1), os.fstat(2)'])\n"
        f"open({str(written)!r}, 'w').write(f'{{done.returncode}} {{sys.stdout.fileno()}}')"
    )
    _, _, status = run(code, closed if "<" in closed else f"{closed} </dev/null")
    assert status == 0
    assert written.read_text() == "0 1"


def test_a_stream_without_the_characters():
    code = _PREPARE + "import sys; print('blé…'); print('blé…', file=sys.stderr)"
    out, err, status = run(code, PYTHONIOENCODING="ascii")
    assert (out, status) == ("bl??\n", 0)
    assert err in ("bl??\n", "bl\\xe9\\u2026\n")


@pytest.mark.parametrize("option", ["", "-u"])
def test_prepared_streams_keep_their_attributes(option):
    code = (
        "import sys\nbefore = [(s.encoding, s.isatty(), s.fileno(), s.name, s.line_buffering)"
        " for s in (sys.stdout, sys.stderr)]\n" + _PREPARE + "after = [(s.encoding, s.isatty(), "
        "s.fileno(), s.name, s.line_buffering) for s in (sys.stdout, sys.stderr)]\n"
        "stream = sys.stdout\n" + _PREPARE + "assert sys.stdout is stream is sys.__stdout__\n"
        "sys.stdout.buffer.write(b'bytes\\n')\nprint(before == after)"
    )
    out, err, status = run(code, **({"PYTHONUNBUFFERED": "1"} if option else {}))
    assert (out, err, status) == ("bytes\nTrue\n", "", 0)


@pytest.mark.slow
def test_a_pipe_that_does_not_block():
    code = _PREPARE + "import os, sys\nos.set_blocking(1, False)\nprint('x' * 1_000_000)"
    out, err, status = run(code, "| (sleep 1; cat)")
    assert (len(out), err, status) == (1_000_001, "", 0)


def test_a_stream_of_a_notebook_stays(monkeypatch, capsys):
    from cait_tf.streams import prepare_streams

    before = sys.stdout
    prepare_streams()
    assert sys.stdout is before


_RESTART = (
    "from cait_tf.streams import restart_in_utf8; restart_in_utf8()\n"
    "import os, sys\nos.write(1, repr([sys.getfilesystemencoding(), sys.argv]).encode())"
)


@pytest.mark.parametrize("options", [[], ["-X", "utf8=0"], ["-E"]])
def test_file_names_in_utf_8(options):
    """The command restarts in UTF-8 at most once, even if an option overrides the variable."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [sys.executable, *options, "-c", _RESTART, "blé", "a b"]
    if "-E" in options:
        words[3] = f"import sys; sys.path.insert(0, {os.getcwd()!r})\n{_RESTART}"
    done = subprocess.run(words, capture_output=True, env=environment, timeout=60, cwd=os.getcwd())
    assert done.returncode == 0, done.stderr
    encoding, arguments = eval(done.stdout)
    assert os.fsencode(arguments[1]) in (b"bl\xc3\xa9", "blé".encode())
    assert arguments[2] == "a b"
    assert encoding == ("ascii" if options == ["-X", "utf8=0"] else "utf-8")
