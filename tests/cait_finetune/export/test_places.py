"""Model cards show only the last name of a path on the machine."""

import pytest

from cait_finetune.config import PATH_KEYS
from cait_finetune.config.text import _kinds
from cait_finetune.export.places import short_place, without_places


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/me/photos", "…/photos"),
        ("/home/me/photos/", "…/photos"),
        ("/home/me/my photos (1)", "…/my photos (1)"),
        ("~/photos", "…/photos"),
        ("file:///home/me/photos", "…/photos"),
        ("~me", "…"),
        ("~", "…"),
        ("/", "…"),
        ("photos/of.csv", "photos/of.csv"),
        ("gs://bucket/photos", "gs://bucket/photos"),
        ("timm/cait_s24_224.fb_dist_in1k", "timm/cait_s24_224.fb_dist_in1k"),
        ("null", "null"),
    ],
)
def test_a_path_without_the_folders_above(path, shown):
    assert short_place(path) == shown


def test_a_home_directory_is_no_name_to_show(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert short_place("/home/me") == short_place("/home/me/") == "…"
    assert short_place("/home/me/x") == "…/x"


@pytest.mark.parametrize("key", PATH_KEYS)
def test_every_path_of_a_command_is_short(key):
    command = f"python -m cait_finetune -cd '/home/me/my conf' -cn mine '{key}=/home/me/a b' seed=3"
    assert without_places(command) == (
        f"python -m cait_finetune -cd '…/my conf' -cn mine '{key}=…/a b' seed=3"
    )


def test_text_that_is_not_a_path_stays_unchanged():
    command = "python -m cait_finetune 'tuning.pattern=/(norm|head)/' dataset.data_dir=photos"
    assert without_places(command) == command


def test_the_keys_of_paths_are_all_there():
    """The name of a key shows that its value is a path. The keys of a run are the exceptions."""
    by_name = {
        key
        for key in _kinds()
        if not key.startswith("hydra.") and key.endswith(("_dir", ".file", ".weights"))
    }
    assert by_name | {"resume", "continue_from"} == set(PATH_KEYS)
