"""A real run with all loggers, interrupted by a signal and resumed."""

from __future__ import annotations

import csv
import json
import signal

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cait_finetune.errors import Interrupted
from cait_finetune.workflow import finetune as workflow
from tests.cait_finetune.loggers import wandb_files
from tests.cait_finetune.stand_ins import checked

pytestmark = pytest.mark.slow

SHORT = ["logger=[wandb,tensorboard,csv]", "logger.wandb.mode=offline", "model.image_size=16",
         "train.epochs=null", "train.steps=6", "train.batch_size=32", "train.log_every=1",
         "checkpoint.every_steps=2", "export=none", "tuning=linear_probe"]  # fmt: skip


def test_every_logger_has_each_step_once(tmp_path, monkeypatch):
    train = workflow.train

    def asked_to_end(config, prepared, interruption):
        """Send SIGTERM after the third step, as a scheduler would."""

        def ask_to_end(kind, values):
            if values["step"] == 3:
                signal.raise_signal(signal.SIGTERM)

        prepared.logbook.metrics.follow(ask_to_end)
        train(config, prepared, interruption)

    run = tmp_path / "run"
    words = [*SHORT, f"dataset.data_dir={tmp_path / 'data'}", "tuning.cache_dir=null"]
    with monkeypatch.context() as patched:
        patched.setattr(workflow, "train", asked_to_end)
        with pytest.raises(Interrupted) as caught:
            workflow.finetune(checked(*words), run)
    assert caught.value.code == 75
    assert wandb_files.exit_codes(run) == [75]
    # As after a kill: the resumed run repeats the steps after the state of step 2.
    (run / "checkpoints" / "state_00000003.safetensors").unlink()
    result = workflow.finetune(checked(*words, f"resume={run}"), run)

    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [(one["step"], one["loss"]) for one in records if one["kind"] == "step"]
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]

    with open(run / "steps.csv", encoding="utf-8", newline="") as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    assert rows == losses

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    shown = [(one.step, float(tf.make_ndarray(one.tensor_proto)))
             for one in events.Tensors("step/loss")]  # fmt: skip
    assert shown == [(step, pytest.approx(loss)) for step, loss in losses]
    pictures = {f"pictures/{name}" for name in ("curves", "confusion", "mistakes")}
    assert pictures <= set(events.Tags()["tensors"])

    history = wandb_files.history(run)
    assert [(row["step"], row["loss"]) for row in history if "loss" in row] == losses
    wanted = {"learning_rate", "grad_norm", "images_per_second", "data_wait_share", "lr/group_03"}
    assert all(wanted <= set(row) for row in history if "loss" in row)
    scores = [row["validation_top1"] for row in history if "validation_top1" in row]
    assert scores == [one["validation_top1"] for one in records if one["kind"] == "epoch"]
    logged = {key.rpartition(".")[0] for row in history for key in row}
    assert pictures | {"parameters", "confusion_matrix_table"} <= logged
    assert wandb_files.summary(run)["test_top1"] == result["test_top1"]
    assert wandb_files.exit_codes(run) == [75, 0]
    (run_id,) = {one.run_id for one in wandb_files.runs(run)}
    models = [one.name for one in wandb_files.artifacts(run) if one.type == "model"]
    assert models == [f"checkpoint-{run_id}"]
