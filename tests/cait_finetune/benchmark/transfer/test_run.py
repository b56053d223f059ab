import pytest

from cait_finetune.benchmark.transfer import run as runs
from cait_finetune.cli.hydra_app import configure
from cait_finetune.errors import UserError
from cait_finetune.workflow.finetune import finetune
from tests.cait_finetune.benchmark.transfer import stand_ins
from tests.cait_finetune.benchmark.transfer.stand_ins import cell


@pytest.mark.parametrize("method", ["linear probe", "LoRA"])
def test_a_run_is_what_its_command_line_makes(method, tmp_path, capsys):
    one = cell(method, share=0.1)
    ours = runs.run(one)
    assert capsys.readouterr().out == ""
    expected = finetune(configure(*one.words), tmp_path / "run")
    assert (ours.test, ours.validation) == (expected["test_top1"], expected["validation_top1"])
    assert (ours.best_epoch, ours.images) == (expected["best_epoch"], 126)
    assert ours.test > 0.3  # its features mean something


@pytest.fixture
def run_all(monkeypatch):
    monkeypatch.setattr(runs, "run", stand_ins.run_or_fail)
    return lambda *seeds: dict(runs.run_all([cell(seed=seed) for seed in seeds], processes=1))


def test_in_processes_that_have_their_part_of_the_cores(run_all):
    found = run_all(0, 3)
    assert [one.seed for one in found] == [0, 3]
    assert {result.test for result in found.values()} == {len(runs.cores())}


def test_a_process_is_given_up_after_some_runs(run_all, monkeypatch):
    monkeypatch.setattr(runs, "_RUNS_OF_A_PROCESS", 1)
    monkeypatch.setattr(runs, "run", stand_ins.own_process)
    assert len({result.images for result in run_all(0, 3).values()}) == 2
    monkeypatch.setattr(runs, "_RUNS_OF_A_PROCESS", 2)
    assert len({result.images for result in run_all(0, 3).values()}) == 1


def test_a_run_that_fails_says_which_it_was(run_all):
    with pytest.raises(UserError, match=r"got nowhere\n  in the run dataset=digits .* seed=1 "):
        run_all(1)


def test_a_process_that_the_system_ends(run_all):
    with pytest.raises(UserError, match=r"seed 2: got a process .*\n  add processes=1"):
        run_all(2)


def test_nothing_to_do():
    assert list(runs.run_all([], processes=1)) == []
