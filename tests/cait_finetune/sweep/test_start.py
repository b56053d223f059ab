"""Messages of a started sweep and of a failed start. A function replaces the W&B service."""

from __future__ import annotations

import sys

import pytest
import wandb

from cait_finetune.errors import UserError
from cait_finetune.sweep.start import start


@pytest.mark.parametrize(
    ("entity", "command"),
    [({"entity": "us"}, "wandb agent us/mine/abc"), ({}, "wandb agent mine/abc")],
)
def test_a_sweep_that_is_made(monkeypatch, entity, command):
    given = []

    def sweep(document, **where):
        given.append((document, where, sys.stdin.isatty(), sys.stdin.read()))
        return "abc"

    monkeypatch.setattr(wandb, "sweep", sweep)
    document = {"project": "mine", "parameters": {}, **entity}
    before = sys.stdin
    assert start(document, "s.yaml") == command
    # W&B must not ask the user a question, so `start` hides stdin from W&B and restores it.
    assert given == [
        (document, {"project": "mine", "entity": entity.get("entity")}, False, "")
    ]  # fmt: skip
    assert sys.stdin is before


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (wandb.errors.UsageError("No API key configured.\nmore"),
         "sweep.start: got true, and no login to W&B (No API key configured), expected"),
        (wandb.errors.CommError("timed out"),
         "sweep.start: got true, and no answer from W&B (timed out), expected"),
        (ValueError("API key must have 40 characters"), "no answer from W&B (API key must have 40"),
    ],
)  # fmt: skip
def test_a_sweep_that_cannot_be_made(monkeypatch, error, message):
    def sweep(*_, **__):
        raise error

    monkeypatch.setattr(wandb, "sweep", sweep)
    with pytest.raises(UserError) as caught:
        start({"project": "mine"}, "s.yaml")
    assert message in str(caught.value)
    assert str(caught.value).endswith("wandb sweep s.yaml")
