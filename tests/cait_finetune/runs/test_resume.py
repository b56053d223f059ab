"""The configuration of a resumed run: which keys may change and which are refused."""

from __future__ import annotations

import json
import os

import pytest
from omegaconf import OmegaConf

from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.resume import FREE, find_run, keep_free_keys, resumed
from tests.cait_finetune.stand_ins import CONF, checked, composed

GROUPS = {path.name for path in CONF.iterdir() if path.is_dir()}
FIRST = ("dataset=flowers", "model=cait_xxs24_224", "optimizer.base_lr=0.003", "train.epochs=7")


@pytest.fixture
def run(tmp_path):
    """Return the directory of a run that was started with `FIRST`."""
    directory = tmp_path / "run"
    directory.mkdir()
    OmegaConf.save(OmegaConf.structured(checked(*FIRST)), directory / "config.yaml")
    return directory


def resume(run, *words, recipe=False):
    return resumed(composed(*words, f"resume={run}"), [*words, f"resume={run}"], GROUPS, recipe)


def without_resume(config):
    values = OmegaConf.to_container(OmegaConf.structured(config))
    del values["resume"]
    return values


def test_the_directory_alone_is_enough(run):
    config, changes = resume(run)
    assert changes == []
    assert without_resume(config) == without_resume(checked(*FIRST))
    assert config.resume == str(run)


def test_the_whole_command_again_is_right_too(run):
    config, changes = resume(run, *FIRST)
    assert changes == []
    assert without_resume(config) == without_resume(checked(*FIRST))


@pytest.mark.slow
def test_a_run_of_a_version_that_wrote_the_default_shares_is_resumed(run):
    saved = OmegaConf.load(run / "config.yaml")
    saved.dataset.splits.shares = [0.8, 0.1, 0.1]
    saved.dataset.splits.seed = 0
    OmegaConf.save(saved, run / "config.yaml")
    for words in ((), FIRST, ("dataset.splits.shares=[0.8,0.1,0.1]", "dataset.splits.seed=0")):
        config, changes = resume(run, *words)
        assert changes == []
        assert without_resume(config) == without_resume(checked(*FIRST))
    with pytest.raises(UserError, match=r"dataset\.splits\.seed: null → 1"):
        resume(run, "dataset.splits.seed=1")


@pytest.mark.parametrize("typed", ["[64,32]", "64", "${oc.env:SIZE}"])
def test_the_same_image_size_typed_again_is_no_change(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("SIZE", "64")
    words = [*FIRST, f"model.image_size={typed}"]
    OmegaConf.save(OmegaConf.structured(checked(*words)), tmp_path / "config.yaml")
    assert resume(tmp_path, *words)[1] == []


def test_free_keys_may_change_and_are_listed(run):
    words = ("train.max_hours=2.5", "checkpoint.keep=5", "export=none", "dataset.data_dir=/moved")
    config, changes = resume(run, *words)
    assert config.train.max_hours == 2.5
    assert config.checkpoint.keep == 5
    assert not config.export.formats
    assert sorted(changes) == [
        "checkpoint.keep: 2 → 5",
        "dataset.data_dir: null → /moved",
        "export.saved_model: True → False",
        "train.max_hours: null → 2.5",
    ]


@pytest.mark.slow
def test_a_run_may_go_on_with_other_loggers(run):
    config, changes = resume(run, "logger=[wandb,csv]", "logger.wandb.tags=[late]")
    assert config.logger.csv
    assert config.logger.wandb.enabled
    assert config.logger.wandb.tags == ["late"]
    assert "logger.wandb.enabled: False → True" in changes
    OmegaConf.save(OmegaConf.structured(config), run / "config.yaml")
    assert resume(run)[0].logger == config.logger
    silent = resume(run, "logger=none")[0].logger
    assert (silent.csv, silent.wandb.enabled) == (False, False)


@pytest.mark.slow
def test_changes_of_one_resume_hold_for_the_next(run):
    words = ("export=[saved_model,onnx]", "logger=csv", "train.max_hours=2", "dataset.cache=memory")
    given, changes = resume(run, *words, "export.push_to_hub=me/it", "dataset.accept_changes=true")
    assert changes
    keep_free_keys(RunDirectory(run), given)
    config, changes = resume(run)
    assert changes == []
    assert config.export == given.export
    assert config.logger == given.logger
    assert (config.train.max_hours, config.dataset.cache) == (2, "memory")
    assert not config.dataset.accept_changes  # holds for one resume only
    assert OmegaConf.load(run / "config.yaml").resume is None
    keep_free_keys(RunDirectory(run), resume(run, "train.max_hours=null")[0])
    assert resume(run)[0].train.max_hours is None


def test_an_unchanged_config_is_not_rewritten(run):
    before = (run / "config.yaml").read_bytes().replace(b"  accept_changes: false\n", b"")
    (run / "config.yaml").write_bytes(before)  # as an older version wrote it
    keep_free_keys(RunDirectory(run), resume(run, *FIRST)[0])
    assert (run / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["seed=1"], ["seed: 0 → 1"]),
        (["train.batch_size=16", "seed=0"], ["train.batch_size: 64 → 16"]),
        (["optimizer.base_lr=0.1", "train.epochs=8"],
         ["optimizer.base_lr: 0.003 → 0.1", "train.epochs: 7 → 8"]),
        (["dataset=digits"], ["dataset.name: tf_flowers → digits"]),
        (["tuning=linear_probe"], ["tuning.method: full → linear_probe"]),
        (["average=ema"], ["average.method: none → ema"]),
        (["augment.crop_scale=[0.5,1]"], ["augment.crop_scale: [0.75, 1.0] → [0.5, 1.0]"]),
        (["train.precision=mixed_bfloat16"], ["train.precision: float32 → mixed_bfloat16"]),
    ],
)  # fmt: skip
def test_changes_of_training_keys_are_refused_by_name(run, words, named):
    with pytest.raises(UserError, match="resume: got other values than the run's") as error:
        resume(run, *words)
    for one in named:
        assert one in str(error.value)
    assert "train.max_hours" in str(error.value)  # the message lists the keys that may change
    assert "seed: 0 → 0" not in str(error.value)


def test_a_recipe_names_every_key(run):
    with pytest.raises(UserError, match="optimizer"):
        resume(run, recipe=True)


def test_every_free_key_is_a_key():
    names = {key for key, _ in leaves(OmegaConf.to_container(OmegaConf.structured(checked())))}
    for pattern in FREE:
        assert any(name == pattern or name.startswith(pattern.rstrip("*")) for name in names)


def leaves(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_a_directory_without_a_run(tmp_path):
    with pytest.raises(UserError, match=r"resume: got .* which holds a config\.yaml"):
        find_run(tmp_path)


def test_the_newest_run_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("2026-01-02", "2026-01-01")):
        config = tmp_path / f"outputs/digits/cait_nano_32/{name}/config.yaml"
        config.parent.mkdir(parents=True)
        config.touch()
        os.utime(config, (number, number))
    newest = "resume=outputs/digits/cait_nano_32/2026-01-01"
    with pytest.raises(UserError, match=rf"got last, .*\n  The newest run is {newest}$"):
        find_run("last")


def finish(run, **more):
    result = {"metric": "top1", "finished": "2026-01-01", "train_seconds": 3600, **more}
    (run / "result.json").write_text(json.dumps(result))


@pytest.mark.slow
def test_a_run_that_is_finished(run):
    finish(run)
    with pytest.raises(UserError, match="whose run is finished") as error:
        resume(run)
    assert str(error.value).endswith("start a new run")
    (run / "checkpoints").mkdir(exist_ok=True)
    for name in ("best", "last"):
        (run / "checkpoints" / f"{name}.safetensors").touch()
        with pytest.raises(UserError, match=rf"a new run with model.weights=.*{name}\.safetensors"):
            resume(run)
    with pytest.raises(UserError, match="whose run is finished") as error:
        resume(run, "export=onnx")
    assert f"python -m cait_finetune export run={run} export=onnx" in str(error.value)


@pytest.mark.slow
def test_a_finished_run_whose_exports_were_removed_makes_them_again(run):
    finish(run, exports={"saved_model": {"path": "export/saved_model"}})
    assert resume(run)[0].resume == str(run)
    config = OmegaConf.load(run / "config.yaml")
    config.export.saved_model = False  # the run no longer needs the export
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(UserError, match="whose run is finished"):
        resume(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ended_by", "word"),
    [
        ("train.max_hours", "train.max_hours=null"),
        ("train.max_hours", "train.max_hours=2"),
        ("train.patience", "train.patience=null"),
        ("train.patience", "train.patience=30"),
    ],
)
def test_a_run_that_a_limit_ended_trains_on_with_another(run, ended_by, word):
    finish(run, stopped_by=ended_by)
    config = OmegaConf.load(run / "config.yaml")
    config.train.patience, config.train.max_hours = 2, 0.5
    OmegaConf.save(config, run / "config.yaml")
    resume(run, word)
    with pytest.raises(UserError, match=rf"(?s)whose run is finished.*add {ended_by}=null"):
        resume(run)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"metric": "top1"}'])
def test_a_malformed_result_does_not_mark_a_run_as_finished(run, text):
    (run / "result.json").write_text(text)
    assert resume(run)[0].resume == str(run)


@pytest.mark.parametrize("text", ["model: [", "nonsense: 3", "seed: many", ""])
def test_a_malformed_config_raises_an_error(run, text):
    (run / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml|nothing"):
        resume(run)


@pytest.fixture
def automatic(run):
    """Return a run whose mean and standard deviation were computed from its images."""
    saved = OmegaConf.structured(checked(*FIRST, "model.in_channels=1"))
    saved.preprocessing.mean, saved.preprocessing.std = [0.25], [0.5]
    OmegaConf.save(saved, run / "config.yaml")
    said = {"preprocessing.mean": None, "preprocessing.std": "auto"}
    (run / "identity.json").write_text(json.dumps({"automatic": said}))
    return run


@pytest.mark.slow
def test_the_whole_command_of_a_run_with_computed_statistics(automatic):
    words = (*FIRST, "model.in_channels=1", "preprocessing.std=auto")
    for config, changes in (
        resume(automatic),
        resume(automatic, *words),
        resume(automatic, *words, recipe=True),
    ):
        assert changes == []
        assert (config.preprocessing.mean, config.preprocessing.std) == ([0.25], [0.5])


@pytest.mark.slow
def test_other_statistics_than_the_computed_ones_are_refused(automatic):
    with pytest.raises(UserError, match=r"preprocessing\.mean: \[0\.25\] → \[0\.3\]"):
        resume(automatic, "preprocessing.mean=[0.3]")
