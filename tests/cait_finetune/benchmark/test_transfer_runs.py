"""The runs of ``benchmark transfer``. ``tests/test_transfer.py`` compares two with the command."""

import dataclasses
import os
from pathlib import Path

import pytest

from cait_finetune.benchmark import transfer_runs as runs
from cait_finetune.benchmark.transfer_runs import METHODS, Results
from cait_finetune.cli.compose import configure
from cait_finetune.data.load import load_source
from cait_finetune.errors import UserError
from tests.cait_finetune.benchmark import transfer_stand_ins as stand_ins
from tests.cait_finetune.benchmark.transfer_stand_ins import result, transfer_run
from tests.cait_finetune.data.made_images import from_folder
from tests.cait_finetune.stand_ins import encode, picture


@pytest.fixture
def execute(monkeypatch):
    monkeypatch.setattr(runs, "train_and_test", stand_ins.run_or_fail)
    return lambda *seeds: dict(
        runs.execute([transfer_run(seed=seed) for seed in seeds], processes=1)
    )


@pytest.mark.slow
def test_in_one_process_that_has_its_part_of_the_cores(execute):
    found = execute(0, 3)
    assert [one.seed for one in found] == [0, 3]
    assert {result.test for result in found.values()} == {len(runs.cores())}
    assert len({result.images for result in found.values()}) == 1


@pytest.mark.slow
def test_a_process_ends_after_some_runs(execute, monkeypatch):
    monkeypatch.setattr(runs, "_RUNS_PER_PROCESS", 1)
    assert len({result.images for result in execute(0, 3).values()}) == 2


@pytest.mark.slow
def test_a_run_that_fails_says_which_it_was(execute):
    with pytest.raises(UserError, match=r"got nowhere\n  in the run dataset=digits .* seed=1 "):
        execute(1)


@pytest.mark.slow
def test_a_process_that_the_system_ends(execute):
    with pytest.raises(UserError, match=r"seed 2: got a process .*\n  Set processes=1"):
        execute(2)


def test_nothing_to_do():
    assert list(runs.execute([], processes=1)) == []


def composed(method, **others):
    return configure(*transfer_run(method, **others).overrides)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_a_command_line(method):
    config = composed(method, share=0.2, seed=7)
    assert (config.seed, config.dataset.seed, config.dataset.train_share) == (7, 7, 0.2)
    length = (config.train.epochs, config.train.steps_per_epoch)
    usual = (configure().train.epochs, None)  # a probe takes no steps
    assert length == (usual if method == "linear probe" else (2, 3))
    assert config.model.weights == ("none" if "scratch" in method else "pretrained")


def test_the_methods_are_what_they_are_called():
    tuning = {method: composed(method).tuning.method for method in METHODS}
    assert tuning == {
        "from scratch": "full",
        "from scratch 3x": "full",
        "linear probe": "linear_probe",
        "full": "full",
        "full + layer decay": "full",
        "LoRA": "lora",
        "head then full": "head_then_full",
    }
    decay = {method: composed(method).optimizer.layer_decay for method in METHODS}
    assert [name for name, value in decay.items() if value == 1] == [
        "from scratch",
        "from scratch 3x",
        "full",
    ]


def test_full_with_layer_decay_is_the_default_command():
    """Only the images, the length, and keys that do not change the result differ."""
    ours, default = (
        dataclasses.asdict(one) for one in (composed("full + layer decay"), configure())
    )
    assert [name for name in ours if ours[name] != default[name]] == [
        "dataset", "distribution", "export", "train",
    ]  # fmt: skip
    for group, keys in (
        ("dataset", ["train_share", "seed"]),  # the default uses all images
        ("train", ["epochs", "steps_per_epoch"]),
    ):
        differ = [key for key, value in ours[group].items() if value != default[group][key]]
        assert differ == keys


def test_a_seed_draws_the_images():
    sources = [load_source(composed("full", share=0.05, seed=seed).dataset) for seed in (0, 1)]
    assert [source.sizes["train"] for source in sources] == [60, 60]
    assert sources[0].stamp("train") != sources[1].stamp("train")


def test_a_folder_of_any_name():
    place = "/a place/of, mine"
    assert composed("full", dataset="flowers", data_dir=place).dataset.data_dir == place


def test_a_probe_takes_no_steps():
    assert transfer_run("linear probe").steps == 0
    assert transfer_run("full").steps == 6


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Replace the digits with a folder of images; return the folder."""
    for number in range(20):
        path = tmp_path / ("cat", "dog")[number % 2] / f"{number:02}.bmp"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(picture(9, 9, number), "BMP"))
    monkeypatch.setattr(runs, "load_source", lambda config: from_folder(tmp_path))
    return tmp_path


def key(one):
    return Results(Path("none"))._key(one)


@pytest.mark.slow
def test_every_part_of_a_command_line_is_another_run(root):
    others = [{"share": 0.1}, {"seed": 3}, {"epochs": 7}, {"steps_per_epoch": 9}]
    keys = {key(transfer_run(**other)) for other in [{}, *others]}
    assert len(keys) == 5


def test_the_data_set_is_opened_and_the_weights_are_read_once(monkeypatch):
    opened, read = [], []
    monkeypatch.setattr(
        runs, "load_source", lambda config: opened.append(config) or load_source(config)
    )
    monkeypatch.setattr(runs.models, "start_checksum", lambda *what: read.append(what) or "a")
    results = Results(Path("none"))
    for method in METHODS:
        assert transfer_run(method) not in results
    assert len(opened) == 1
    assert read == [("cait_nano_32", "none"), ("cait_nano_32", "pretrained")]


def replace(root):
    path = root / "cat" / "00.bmp"
    stat = path.stat()
    path.write_bytes(encode(picture(9, 9, 99), "BMP"))
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))


def remove(root):
    (root / "cat" / "00.bmp").unlink()


def relabel(root):
    (root / "cat" / "00.bmp").rename(root / "dog" / "00.bmp")


def rename(root):
    (root / "cat").rename(root / "lynx")


@pytest.mark.slow
@pytest.mark.parametrize("change", [replace, remove, relabel, rename])
def test_other_images_are_other_runs(root, change):
    before = key(transfer_run())
    assert key(transfer_run()) == before
    change(root)
    assert key(transfer_run()) != before


def test_images_with_other_times_are_the_same(root):
    before = key(transfer_run())
    for path in root.glob("*/*"):
        os.utime(path, (1, 1))
    assert key(transfer_run()) == before


def test_another_default_of_the_configuration_is_another_run(root, monkeypatch):
    before, real = key(transfer_run()), runs.configure

    def changed(*words):
        config = real(*words)
        return dataclasses.replace(
            config, train=dataclasses.replace(config.train, label_smoothing=0.3)
        )

    monkeypatch.setattr(runs, "configure", changed)
    assert key(transfer_run()) != before


def test_other_weights_are_another_run_where_they_are_used(root, monkeypatch):
    methods = ("from scratch", "full")
    before = [key(transfer_run(method)) for method in methods]
    monkeypatch.setattr(
        runs.models,
        "start_checksum",
        lambda name, weights, real=runs.models.start_checksum: (
            "other" if weights == "pretrained" else real(name, weights)
        ),
    )
    after = [key(transfer_run(method)) for method in methods]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


def test_what_is_added_is_there_the_next_time(tmp_path):
    path = tmp_path / "runs.jsonl"
    results = Results(path)
    assert transfer_run() not in results
    results.add(transfer_run(), result(0.75))
    results.add(transfer_run(seed=1), result(0.5))
    for known in (results, Results(path)):
        assert known[transfer_run()] == result(0.75)
        assert known[transfer_run(seed=1)] == result(0.5)
        assert transfer_run(seed=2) not in known


def test_half_a_line_is_made_again(tmp_path):
    path = tmp_path / "runs.jsonl"
    results = Results(path)
    results.add(transfer_run(), result())
    results.add(transfer_run(seed=1), result())
    path.write_text(path.read_text()[:-20])
    again = Results(path)
    assert transfer_run() in again
    assert transfer_run(seed=1) not in again
    again.add(transfer_run(seed=1), result())
    assert transfer_run(seed=1) in Results(path)
