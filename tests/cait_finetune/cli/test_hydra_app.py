"""The command as a user sees it. Tests start another process only if they need one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cait_finetune.cli import hydra_app as cli
from cait_finetune.commands import train
from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from tests.cait_finetune.runs.test_leaderboard import write_run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Return a function that runs the command in an empty directory: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # main sets it; the fixture restores it
    monkeypatch.setattr(cli, "_SHOW_TRACEBACKS", False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cait_finetune", *arguments])
        status = 0
        message = ""
        try:
            train.main()
        except SystemExit as exit_:
            # As the interpreter does: print a text to stderr and set status 1.
            status = exit_.code or 0
            if isinstance(exit_.code, str):
                status, message = 1, exit_.code + "\n"
        out, err = capsys.readouterr()
        return status, out, err + message

    return run


@pytest.fixture
def runs(monkeypatch):
    """Replace `finetune` with a stub; return the list of its calls' arguments."""
    import cait_finetune.workflow.finetune as workflow

    calls = []
    monkeypatch.setattr(workflow, "finetune", lambda config, path: calls.append((config, path)))
    return calls


BEFORE_TENSORFLOW = [
    (["--lr", "1e-4"], "--lr: got an unknown option", "did you mean optimizer.base_lr=1e-4?"),
    (["-m", "seed=0,1", "--cfg", "job"], "--cfg: got --cfg beside -m", "Leave -m out"),
    (["seed=0,1"], "seed: got 0,1, expected one value", "Add -m for one run per value"),
    (["hydra/sweeper=optuna"], "hydra/sweeper: got optuna, expected -m beside it", "Add -m."),
    (["hydra.sweep.dir="], "hydra.sweep.dir: got nothing, expected a directory", "DIR"),
    (["train.epoch=3"], "train.epoch: got an unknown key", "did you mean train.epochs=3"),
    (["~augment"], "augment: got nothing, expected one of deit", "Add augment=none"),
    (["sed=3"], "sed: got an unknown key", "did you mean seed=3"),
    (["dataset=flower"], "dataset: got flower, expected one of", "did you mean flowers"),
    (["model=cait_s24_244"], "model: got cait_s24_244, expected one of", "cait_s24_224"),
    (
        ["-cn", "flowers_ofline"],
        "-cn: got flowers_ofline, expected",
        "did you mean flowers_offline",
    ),
    (["train.epochs=0"], "train.epochs: got 0, expected a number in", "[1, inf)"),
    (["train.epochs=many"], "train.epochs: got 'many', expected", "whole number"),
    (["+lr=3"], "lr: got an unknown key, expected", "optimizer.base_lr=3"),
    (["dataset=tfds"], "dataset.name: got nothing", "Add dataset.name="),
    (["train.precision=half"], "train.precision: got 'half', expected one of", "mixed_bfloat16"),
    (
        ["train.epochs=null"],
        "train.epochs: got nothing, expected one of epochs, steps, examples",
        "",
    ),
    (["train=3"], "train: got 3, expected no value", "train.epochs=…"),
    (["dataset.splits=3"], "dataset.splits: got 3, expected no value", "dataset.splits.train=…"),
    (["augment.crop_scale=3"], "augment.crop_scale: got one value, expected a list", "=[…]"),
    (["optimizer=3"], "optimizer: got 3, expected one of adamw", ""),
    (["~train"], "train: got nothing, expected a value", "leave out ~train"),
    (["bad"], "bad: got a word without =, expected key=value", "Write KEY=VALUE"),
    (
        ["train.epochs"],
        "train.epochs: got a word without =, expected",
        "Write train.epochs=VALUE",
    ),
    (["train.epochs=a]"], "command line: got 'train.epochs=a]', expected", "its own quotes"),
    (["dataset.data_dir=a\udcff"], "command line: got 'dataset.data_dir=a\\udcff'", "UTF-8"),
    (["dataset.data_dir=${b}"], "dataset.data_dir: got ${b}, expected a key", r"Write \${…}"),
    (["-cd", ".", "-cp", "."], "-cp: got . and ., expected one folder", ""),
    (["logger="], "logger: got nothing, expected one of csv", ""),
    (["resume="], "resume: got nothing, expected the directory of a run, or null", "resume=DIR"),
    (["-m", "seed=1,2", "resume=''"], "resume: got nothing, expected the directory", ""),
    (["-cd", "nowhere"], "-cd: got ", "nowhere, expected an existing folder"),
    (
        ["-m", "seed=1,2", "hydra.sweeper.n_trials=5"],
        "hydra.sweeper.n_trials: got an unknown key, expected one of",
        "add hydra/sweeper=optuna",
    ),
    (
        ["hydra.run.dirr=x"],
        "hydra.run.dirr: got an unknown key, expected one of dir",
        "mean hydra.run.dir?",
    ),
]
AFTER = [
    (["model=cait_s24_224", "model.image_size=225"], "model.image_size: got 225, expected", "224"),
    (["model.weights=no.safetensors"], "model.weights: got no.safetensors, expected", "existing"),
    (["model.weights="], "model.weights: got nothing, expected none", "existing"),
    (
        ["model.weights=hub"],
        "model.weights: got hub, expected pretrained, none or a",
        "cait_nano_32",
    ),
    (["model.name=cait_s24"], "model.name: got 'cait_s24', expected one of", "did you mean"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "start", "inside"), [*BEFORE_TENSORFLOW, *AFTER])
def test_a_mistake_is_one_message(command, arguments, start, inside, tmp_path):
    status, out, err = command(*arguments, "hydra.run.dir=run")
    assert status == 1
    assert out == ""
    assert err.startswith(f"cait_finetune: {start}")
    assert inside in err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("config.yaml"))


def test_the_configuration_is_shown(command):
    status, out, err = command("--cfg", "job", "train.epochs=7")
    assert (status, err) == (0, "")
    shown = yaml.safe_load(out)
    assert shown["train"]["epochs"] == 7
    assert shown["model"] == {
        "name": "cait_nano_32",
        "weights": "pretrained",
        "weights_class_names": None,
        "weights_key": None,
        "image_size": None,
        "in_channels": 3,
        "drop_path_rate": 0.0,
        "drop_rate": 0.0,
        "attn_drop_rate": 0.0,
        "remat": False,
        "fused": True,
        "kernel_init": None,
    }
    assert "hydra" not in shown


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
def test_a_recipe_is_found_by_name(command, recipe):
    status, out, _ = command("-cn", recipe, "--cfg", "job")
    assert status == 0
    assert yaml.safe_load(out)["dataset"]["name"]


def test_a_run_gets_its_configuration_and_directory(command, runs, tmp_path):
    assert command("seed=5", "hydra.run.dir=here")[0] == 0
    ((config, directory),) = runs
    assert config.seed == 5
    assert directory == tmp_path / "here"


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["hydra.run.dir=s3://bucket/${seed}"], "hydra.run.dir"),
        (["-m", "seed=0,1", "hydra.sweep.dir=gs://bucket"], "hydra.sweep.dir"),
    ],
)
def test_a_bucket_is_refused_before_a_folder_is_made(command, runs, tmp_path, arguments, key):
    status, _, err = command(*arguments)
    assert status == 1
    assert err.startswith(f"cait_finetune: {key}: got ")
    assert "expected a path on a disk\n  Choose a folder" in err
    assert err.count("\n") == 2
    assert runs == []
    assert not list(tmp_path.iterdir())


def test_the_directory_is_named_by_data_model_and_time(command, runs, tmp_path):
    assert command("dataset=flowers", "model=cait_s24_224")[0] == 0
    ((_, directory),) = runs
    assert directory.parent == tmp_path / "outputs" / "flowers" / "cait_s24_224"


def test_text_keys_keep_the_typed_characters(command, runs, tmp_path):
    words = [
        "dataset.data_dir=2024_01",
        "dataset.splits.train=a,b",
        "model.weights=1e3",
        "hydra.run.dir=1_0",
    ]
    (tmp_path / "1e3").touch()
    assert command(*words) == (0, "", "")
    ((config, directory),) = runs
    assert (config.dataset.data_dir, directory) == (f"{tmp_path}/2024_01", tmp_path / "1_0")
    assert (config.dataset.splits.train, config.model.weights) == ("a,b", f"{tmp_path}/1e3")
    assert sys.argv == ["cait_finetune", *words]


@pytest.mark.slow
def test_with_several_runs_a_comma_separates_texts(command, runs, tmp_path):
    assert (
        command(
            "-m",
            "dataset.data_dir=01,1e3",
            "dataset.license=choice(no,'a,b')",
            "hydra.sweep.dir=1_0",
        )[0]
        == 0
    )
    assert [(config.dataset.data_dir, config.dataset.license) for config, _ in runs] == [
        (f"{tmp_path}/{name}", text) for name in ("01", "1e3") for text in ("no", "a,b")
    ]
    assert {directory.parent for _, directory in runs} == {tmp_path / "1_0"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "option", [["-cd", "mine"], ["--config-dir=mine"], ["-cp", "mine"], ["--config-path", "mine"]]
)
def test_a_file_of_the_user_s_own_is_before_ours(command, runs, option, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "flowers_lora.yaml").write_text("defaults: [config, _self_]\nseed: 77\n")
    assert command(*option, "-cn", "flowers_lora", "hydra.run.dir=run") == (0, "", "")
    assert runs[0][0].seed == 77
    assert command("-cn", "flowers_lora", "hydra.run.dir=run")[0] == 0
    assert (runs[1][0].seed, runs[1][0].tuning.method) == (0, "lora")


def test_a_file_that_includes_itself(command, tmp_path):
    (tmp_path / "flowers_lora.yaml").write_text("defaults: [flowers_lora, _self_]\n")
    status, _, err = command("-cd", ".", "-cn", "flowers_lora")
    assert status == 1
    assert err.startswith(
        "cait_finetune: defaults: got a file that includes itself, expected other"
    )


@pytest.mark.slow
def test_multirun_starts_a_run_per_value(command, runs):
    assert command("-m", "seed=0,1", "hydra.sweep.dir=sweep")[0] == 0
    assert [config.seed for config, _ in runs] == [0, 1]
    assert [directory.name for _, directory in runs] == ["0", "1"]
    assert len({directory.parent for _, directory in runs}) == 1


@pytest.mark.parametrize(
    ("words", "key"), [([], "hydra.run.dir"), (["-m", "seed=0,1"], "hydra.sweep.dir")]
)
def test_a_run_directory_that_is_a_file_is_refused(command, runs, tmp_path, words, key):
    (tmp_path / "file").touch()
    status, _, err = command(*words, f"{key}={tmp_path / 'file'}")
    assert status == 1
    assert err.startswith(f"cait_finetune: {key}: got {tmp_path / 'file'}")
    assert runs == []


@pytest.mark.slow
def test_options_may_follow_keys(command, runs):
    assert command("train.epochs=3", "-m", "seed=0,1", "hydra.sweep.dir=sweep")[0] == 0
    assert [(config.seed, config.train.epochs) for config, _ in runs] == [(0, 3), (1, 3)]


@pytest.mark.slow
def test_a_mistake_in_one_of_several_runs(command, runs):
    status, _, err = command("-m", "train.epochs=1,0", "hydra.sweep.dir=sweep")
    assert status == 1
    # The message appears at once, and again at the end.
    assert err.count("run 1, train.epochs=0: train.epochs: got 0, expected") == 2
    assert len(runs) == 1


@pytest.mark.slow
def test_the_runs_after_one_that_fails_are_made(command, runs):
    status, _, err = command("-m", "train.epochs=0,1,2", "hydra.sweep.dir=sweep")
    assert status == 1
    assert "cait_finetune: run 0, train.epochs=0: train.epochs: got 0" in err
    assert [config.train.epochs for config, _ in runs] == [1, 2]


@pytest.mark.slow
def test_runs_that_fail_keep_nothing_from_the_others(command, monkeypatch, capsys, tmp_path):
    """A failed run prints its message at once. The summary holds the finished runs."""
    import cait_finetune.workflow.finetune as workflow

    said_before = []

    def finetune(config, directory):
        said_before.append(capsys.readouterr().err)
        if config.seed > 1:
            raise UserError(f"optimizer.base_lr: got seed {config.seed}")
        write_run(directory, 0.5, seed=config.seed)

    monkeypatch.setattr(workflow, "finetune", finetune)
    status, out, err = command("-m", "seed=0,8,9,1", "hydra.sweep.dir=sweep")
    assert status == 1
    messages = [f"run {n}, seed={n + 7}: optimizer.base_lr: got seed {n + 7}\n" for n in (1, 2)]
    assert said_before[2:] == [f"cait_finetune: {message}" for message in messages]
    assert err == f"cait_finetune: failed:\n{''.join(messages)}"
    assert "mean" in out
    summary = json.loads((tmp_path / "sweep" / "summary.json").read_text())
    assert [run["seed"] for run in summary["runs"]] == [0, 1]
    assert (tmp_path / "sweep" / "2" / "failure.txt").read_text() == messages[1]


@pytest.mark.slow
def test_the_same_runs_again_are_refused_under_the_key_of_several(command, monkeypatch, tmp_path):
    import cait_finetune.workflow.finetune as workflow

    monkeypatch.setattr(workflow, "finetune", lambda _, path: RunDirectory(path).create())
    write_run(tmp_path / "sweep" / "0", 0.5)
    (tmp_path / "sweep" / "0" / "checkpoints" / "best.safetensors").touch()
    status, _, err = command("-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert status == 1
    place = tmp_path / "sweep" / "0"
    assert f"run 0, seed=0: hydra.sweep.dir: got {place}, expected a directory without a run" in err
    assert f"Continue it with resume={place}, or choose another" in err


def test_an_interrupted_run(command, monkeypatch):
    import cait_finetune.workflow.finetune as workflow

    def interrupt(config, directory):
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "finetune", interrupt)
    status, _, err = command("hydra.run.dir=run")
    assert status == 130
    assert "interrupted" in err


def test_a_defect_is_not_hidden(command, monkeypatch):
    import cait_finetune.workflow.finetune as workflow

    def defect(config, directory):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(workflow, "finetune", defect)
    with pytest.raises(ZeroDivisionError, match="ours"):
        command("hydra.run.dir=run")


def subprocess_run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("HYDRA_FULL_ERROR", None)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_a_mistake_is_answered_before_tensorflow_has_loaded(tmp_path):
    """One interpreter runs all these commands, and has not loaded TensorFlow at the end."""
    script = f"""
import sys
from cait_finetune.cli import hydra_app as cli
from cait_finetune.commands import train
for arguments, start, _ in {BEFORE_TENSORFLOW!r}:
    sys.argv = ["cait_finetune", *arguments, "hydra.run.dir=run"]
    try:
        train.main()
    except SystemExit as exit_:
        assert str(exit_.code).startswith("cait_finetune: " + start), exit_.code
    else:
        raise AssertionError(arguments)
slow = {{"tensorflow", "keras", "tensorflow_datasets", "sklearn", "matplotlib"}}
sys.exit(f"loaded: {{slow & set(sys.modules)}}" if slow & set(sys.modules) else 0)
"""
    done = subprocess_run(tmp_path, "-c", script)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_collector_skips_objects_from_the_imports_of_a_run(tmp_path):
    script = """
import gc, sys
from cait_finetune.cli import hydra_app as cli
def work():
    assert not gc.isenabled()
    return lambda config, directory: sys.exit(0 if gc.isenabled() and gc.get_freeze_count() else 3)
sys.argv = ["cait_finetune", "hydra.run.dir=run"]
cli.run_with_hydra("train", work)
"""
    assert subprocess_run(tmp_path, "-c", script).returncode == 0


@pytest.mark.slow
def test_a_process_prints_one_message_and_exits_1(tmp_path):
    """The command loads TensorFlow, but TensorFlow's own messages do not reach stderr."""
    done = subprocess_run(tmp_path, "-m", "cait_finetune", "model.weights=hub", "hydra.run.dir=run")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "cait_finetune: model.weights: got hub, expected pretrained, none or a file: "
        "no weights of cait_nano_32 are published\n"
    )


@pytest.mark.slow
def test_traceback_shows_the_traceback(tmp_path):
    arguments = ["train.epochs=0", "traceback=true", "hydra.run.dir=run"]
    done = subprocess_run(tmp_path, "-m", "cait_finetune", *arguments)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "UserError: train.epochs: got 0" in done.stderr


def test_traceback_shows_the_traceback_of_a_later_mistake(command):
    with pytest.raises(UserError, match=r"^model\.weights: got hub"):
        command("model.weights=hub", "traceback=true", "hydra.run.dir=run")


def test_the_configuration_of_a_folder_that_holds_none(command, tmp_path):
    (tmp_path / "run").mkdir()
    status, out, err = command("-cd", "run", "-cn", "config", "--cfg", "job")
    assert (status, out) == (1, "")
    assert "-cn: got config, which run does not hold, expected a config.yaml" in err
    assert command("-cd", "run", "-cn", "flowers_lora", "--cfg", "job")[0] == 0


def test_a_value_that_a_later_one_replaces_is_named(command, runs):
    status, _, err = command("seed=1", "train.epochs=2", "seed=3", "train.epochs=2")
    assert (status, err) == (0, "cait_finetune: seed=3 replaces seed=1\n")
    assert runs[0][0].seed == 3
