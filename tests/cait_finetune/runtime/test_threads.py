"""The configurations for which each operation gets a single thread."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cait_finetune.cli.compose import configure
from cait_finetune.runtime import threads as cores
from cait_tf import get_variant


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["model=cait_xxs24_224", "train.batch_size=16"], 8),
        (["model=cait_xxs24_224", "train.batch_size=16", "train.precision=mixed_bfloat16"], 4),
        (["model=cait_xxs24_224", "train.precision=mixed_bfloat16", "train.eval_batch_size=16"], 2),
        (["model=cait_xxs24_224", "train.batch_size=16", "model.image_size=448"], 16),
        (["model=cait_nano_32", "train.batch_size=64"], 4),
        (["model=cait_nano_32", "train.batch_size=64", "train.accumulation=1"], 1),
        (["model=cait_nano_32", "train.accumulation=8", "train.eval_batch_size=256"], 8),
        (["model=cait_nano_32", "train.accumulation=8", "train.eval_batch_size=64"], 2),
        (["train.jit_compile=true"], None),
        (["distribution=mirrored", "distribution.devices=2"], None),
        (["distribution=auto", "distribution.devices=2"], None),
    ],
)
def test_single_threaded_ops_depend_on_the_micro_batches(words, parts, monkeypatch):
    asked = []
    monkeypatch.setattr(cores, "single_threaded_ops", lambda parts: bool(asked.append(parts)))
    config = configure("model.weights=none", *words)
    cores.configure_threads(config, get_variant(config.model.name))
    assert asked == ([] if parts is None else [parts])


@pytest.mark.parametrize(
    "word", ["train.accumulation=1", "train.jit_compile=true", "train.precision=mixed_bfloat16"]
)
def test_training_keys_do_not_change_the_threads_of_an_evaluation(word, monkeypatch):
    asked = []
    monkeypatch.setattr(cores, "single_threaded_ops", lambda parts: bool(asked.append(parts)))
    config = configure("model=cait_xxs24_224", "train.eval_batch_size=64", word)
    cores.configure_threads(config, get_variant(config.model.name), training=False)
    assert asked == [32]


@pytest.mark.slow
def test_it_is_settled_before_tensorflow_starts(tmp_path):
    """Each command sets the threads of its process, then fails because the folder is missing."""
    code = f"""
import os
import tensorflow as tf
from pathlib import Path
from cait_finetune.cli.compose import configure
from cait_finetune.commands.evaluate import evaluate
from cait_finetune.commands.lr_find import find
config = configure("dataset=folder", "dataset.data_dir={tmp_path}/none", "model.weights=none")
for command in (find, evaluate):
    if child := os.fork():  # to import TensorFlow once
        assert os.waitpid(child, 0)[1] == 0
        continue
    try:
        command(config, Path("{tmp_path}/run"))
    except Exception as error:
        threads = tf.config.threading.get_intra_op_parallelism_threads()
        print(type(error).__name__, threads, flush=True)
    os._exit(0)
"""
    environment = {"TF_NUM_INTEROP_THREADS": "2", "CUDA_VISIBLE_DEVICES": "-1", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("UserError")]
    assert lines == ["UserError 1"] * 2, done.stdout + done.stderr
