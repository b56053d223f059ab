"""Error messages."""

from __future__ import annotations

from cait_finetune.errors import UserError, bad_value, suggest


def test_a_message_has_key_got_and_expected():
    error = bad_value("train.epochs", 0, "at least 1")
    assert isinstance(error, UserError)
    assert str(error) == "train.epochs: got 0, expected at least 1"


def test_a_hint_stands_on_its_own_line():
    assert str(bad_value("a", 1, "2", "do b")).splitlines() == ["a: got 1, expected 2", "  do b"]


def test_near_names_are_suggested():
    assert suggest("flowres", ["flowers", "digits"]) == "did you mean flowers?"
    assert suggest("cait_s24", ["cait_s24_224", "cait_s24_384"]).count(" or ") == 1


def test_far_names_are_not():
    assert suggest("zebra", ["flowers", "digits"]) == ""
    assert suggest("x", []) == ""


def test_it_survives_being_raised_again_from_its_message():
    """OmegaConf raises an exception of ``__post_init__`` again from its message."""
    first = bad_value("a", 1, "2", "do b")
    assert str(type(first)(str(first))) == str(first)
