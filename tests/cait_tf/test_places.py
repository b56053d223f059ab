"""Home directory and caches, and their absence."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from cait_tf import places
from cait_tf.places import NoHome, cache_path, caches, expanded, home


def test_expanded_replaces_a_leading_tilde_by_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path
    assert expanded("images", "~") == str(tmp_path)
    assert expanded("images", "~/a b/*.png") == f"{tmp_path}/a b/*.png"
    assert expanded("images", Path("~/x")) == f"{tmp_path}/x"
    assert expanded("images", "s3://b//c") == "s3://b//c"
    assert expanded("images", "a/~") == "a/~"


def test_the_record_counts_where_there_is_no_variable(monkeypatch):
    recorded = pwd.getpwuid(os.getuid()).pw_dir
    for value in ("", "relative"):
        monkeypatch.setenv("HOME", value)
        assert home() == (Path(recorded) if not value else None)


def test_without_a_home_a_tilde_path_raises_an_error(no_home):
    assert home() is None
    with pytest.raises(
        NoHome, match=r"^images: got ~/x, expected a path without ~.*\n  Set HOME, or"
    ):
        expanded("images", "~/x")
    assert expanded("images", "/x") == "/x"


def test_a_tilde_name_that_is_no_user_is_a_file(no_home):
    assert expanded("images", "~$draft.png") == "~$draft.png"
    assert expanded("images", "~nobody-of-that-name/x") == "~nobody-of-that-name/x"


def test_where_caches_are(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):  # XDG specification: only absolute paths count
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert caches() == tmp_path / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert caches() == Path("/elsewhere")
    assert cache_path("~/.cache/x") == tmp_path / ".cache" / "x"
    assert cache_path(Path("/y")) == Path("/y")


def test_no_place_for_caches(no_home, monkeypatch):
    assert caches() is None
    assert cache_path("~/.cache/x") is None
    monkeypatch.setenv("HOME", "/proc/nonexistent")
    assert caches() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_path("~/.cache/x") == Path("/elsewhere/x")
    assert cache_path("~/other/x") is None


def test_missing_caches_give_one_warning(no_home, caplog):
    places.warn_not_kept()
    places.warn_not_kept(OSError(28, "No space left on device", "/x"))
    (record,) = caplog.records
    assert record.getMessage() == (
        "caches: got no home directory; nothing is kept for the next run\n"
        "  Set HOME or XDG_CACHE_HOME to a directory that can be written."
    )


_LIBRARIES = """
import os, pwd, sys
if "unknown" in sys.argv:
    def unknown(number):
        raise KeyError(number)
    pwd.getpwuid = unknown
from cait_tf.places import home, prepare_home
prepare_home()
import matplotlib
print(home(), os.path.isdir(os.path.expanduser("~")), os.access(matplotlib.get_cachedir(), os.W_OK))
print(os.path.expanduser("~"), matplotlib.get_cachedir())
"""


@pytest.mark.parametrize(
    ("value", "known"), [(None, "None"), ("/proc/nonexistent", "None"), ("/proc", "/proc")]
)
def test_libraries_have_a_place(value, known, tmp_path):
    environment = {name: os.environ[name] for name in os.environ if name != "HOME"}
    environment.pop("MPLCONFIGDIR", None)
    environment.pop("XDG_CACHE_HOME", None)
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    if value:
        environment["HOME"] = value
    done = subprocess.run(
        [sys.executable, "-c", _LIBRARIES, *([] if value else ["unknown"])],
        capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first == f"{'None' if value != '/proc' else known} True True"
    assert list(tmp_path.iterdir()) == []
    for place in second.split():
        assert place == "/proc" or not os.path.exists(place)  # deleted with the process


def test_a_missing_home_is_named(caplog, monkeypatch):
    monkeypatch.setattr(places, "_warned", [])
    monkeypatch.setenv("HOME", "/proc/nonexistent")
    places.warn_not_kept()
    assert "got /proc/nonexistent, which does not exist; nothing is kept" in caplog.text
    monkeypatch.setattr(places, "_warned", [])
    monkeypatch.setattr(places._StandIn, "place", None)
    monkeypatch.setattr(places._StandIn, "missing", None)
    places.prepare_home()
    assert home() is None
    assert os.path.isdir(os.environ["HOME"])
    caplog.clear()
    places.warn_not_kept()
    assert "got /proc/nonexistent, which does not exist; nothing is kept" in caplog.text
