"""Group runs with equal settings, and tabulate them."""

from __future__ import annotations

import io
import json
import shutil

import pytest
from rich.console import Console

from cait_finetune.errors import UserError
from cait_finetune.runs.comparison import Comparison, show_table
from cait_finetune.runs.leaderboard import read_entry
from tests.cait_finetune.runs.test_leaderboard import write_run


def name(entry):
    return entry.directory.name


def compare(tmp_path, *runs):
    """Compare runs, each given as a score and its settings. The test metric is half the score."""
    entries = []
    for number, (score, settings) in enumerate(runs):
        words = " ".join(f"{key.replace('__', '.')}={one}" for key, one in settings.items())
        entries.append(read_entry(write_run(tmp_path / str(number), score, words, **settings)))
    return Comparison.of(entries, best_first=True)


def rates_and_seeds(tmp_path):
    return compare(tmp_path, *(
        (score, {"optimizer__base_lr": rate, "seed": seed})
        for rate, scores in ((1e-3, (0.9, 0.8, 0.7)), (1e-4, (0.6, 0.6, 0.2)))
        for seed, score in enumerate(scores)
    ))  # fmt: skip


def test_runs_of_one_setting_form_a_row(tmp_path):
    header, rows = rates_and_seeds(tmp_path).table(name)
    assert header == ["run", "optimizer.base_lr", "validation_top1", "test_top1", "seconds",
                      "test_top1 − best row's"]  # fmt: skip
    # Test: 45, 40, 35 and 30, 30, 10. t(0.975, 2) = 4.303.
    assert [row[:4] for row in rows] == [
        ["3 runs", "0.001", "80.00% ± 24.84", "40.00% ± 12.42"],
        ["3 runs", "0.0001", "46.67% ± 57.37", "23.33% ± 28.68"],
    ]


def test_the_difference_from_the_best_is_paired_by_seed(tmp_path):
    _, rows = rates_and_seeds(tmp_path).table(name)
    # Differences of the seeds: −15, −10, −25. Their deviation is 7.638.
    assert [row[-1] for row in rows] == ["", "-16.67 (-35.64 to +2.31)"]


def test_a_row_of_one_run_has_its_name(tmp_path):
    runs = [(0.9, 1e-3, 0), (0.8, 1e-3, 1), (0.6, 1e-4, 0)]
    comparison = compare(tmp_path, *(
        (score, {"optimizer__base_lr": rate, "seed": seed}) for score, rate, seed in runs
    ))  # fmt: skip
    assert [row[0] for row in comparison.table(name)[1]] == ["2 runs", "2"]


def test_groups_without_equal_seeds_have_no_difference(tmp_path):
    runs = [(0.9, 1e-3, 0), (0.8, 1e-3, 1), (0.6, 1e-4, 2), (0.6, 1e-4, 3)]
    comparison = compare(tmp_path, *(
        (score, {"optimizer__base_lr": rate, "seed": seed}) for score, rate, seed in runs
    ))  # fmt: skip
    assert [row[-1] for row in comparison.table(name)[1]] == ["", ""]


def test_runs_that_differ_in_the_seed_alone_have_a_row_each_and_a_mean(tmp_path):
    comparison = compare(tmp_path, *((score, {"seed": n}) for n, score in enumerate((0.5, 0.7))))
    header, rows = comparison.table(name)
    assert header == ["run", "seed", "validation_top1", "test_top1", "seconds"]
    assert rows == [
        ["1", "1", "70.00%", "35.00%", "12"],
        ["0", "0", "50.00%", "25.00%", "12"],
        ["mean", "", "60.00% ± 127.06", "30.00% ± 63.53", "12"],
    ]


def test_one_run_has_the_interval_of_its_test_images(tmp_path):
    run = write_run(tmp_path / "run", 0.9)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "test_examples": 40}))
    comparison = Comparison.of([read_entry(run)], best_first=True)
    assert comparison.table(name)[1] == [["run", "90.00%", "45.00% (30.7–60.2)", "12"]]
    assert "Wilson" in comparison.notes()[0]


def test_the_best_run_is_of_the_best_mean(tmp_path):
    runs = [(0.95, 1e-3, 0), (0.1, 1e-3, 1), (0.6, 1e-4, 0), (0.7, 1e-4, 1)]
    comparison = compare(tmp_path, *(
        (score, {"optimizer__base_lr": rate, "seed": seed}) for score, rate, seed in runs
    ))  # fmt: skip
    assert comparison.best.directory.name == "3"


def test_a_table_shows_eight_keys(tmp_path):
    settings = [{f"train__key{key}": value * key for key in range(1, 11)} for value in (1, 2)]
    comparison = compare(tmp_path, (0.5, settings[0]), (0.6, settings[1]))
    header, _ = comparison.table(name)
    assert header[1:-3] == [f"train.key{key}" for key in range(1, 9)]
    assert comparison.notes() == ["keys    train.key9, train.key10 differ too"]


def test_by_a_key(tmp_path):
    runs = [(rate, share, seed) for rate in (1e-3, 1e-4) for share in (1.0, 0.1) for seed in (0, 1)]
    comparison = compare(tmp_path, *(
        (share / 2, {"optimizer__base_lr": rate, "dataset__train_share": share, "seed": seed})
        for rate, share, seed in runs[:-2]
    ))  # fmt: skip
    header, rows = comparison.pivot("dataset.train_share")
    assert header == ["test_top1 by dataset.train_share", "0.1", "1"]
    assert sorted(rows) == [
        ["base_lr=0.0001", "", "25.00% ± 0.00"],
        ["base_lr=0.001", "2.50% ± 0.00", "25.00% ± 0.00"],
    ]
    with pytest.raises(UserError, match=r"^x: got dataset.share, expected a key that differs "):
        comparison.pivot("dataset.share")


def test_a_narrow_console_cuts_nothing(tmp_path):
    header, rows = rates_and_seeds(tmp_path).table(name)
    console = Console(width=40, record=True, file=io.StringIO())
    show_table(header, rows, console)
    text = "".join(console.export_text().split("│")).replace(" ", "").replace("\n", "")
    assert "…" not in text
    for character in "optimizer.base_lr":
        assert character in text


def test_runs_of_an_edited_recipe_are_apart(tmp_path):
    runs = []
    for number, (rate, decay) in enumerate(((1e-3, 0.05), (4e-3, 0.05), (1e-3, 0.3))):
        settings = {"optimizer__base_lr": rate, "optimizer__weight_decay": decay}
        words = f"-cn mine optimizer.base_lr={rate}"  # the decay is in the recipe
        runs.append(read_entry(write_run(tmp_path / str(number), 0.5, words, **settings)))
    comparison = Comparison.of(runs, best_first=True)
    assert comparison.columns == ["optimizer.base_lr", "optimizer.weight_decay"]
    assert len(comparison.pivot("optimizer.base_lr")[1]) == 2


def test_a_copy_of_a_run_does_not_count(tmp_path):
    for number in range(2):
        run = write_run(tmp_path / str(number), 0.5 + number / 10, f"seed={number}", seed=number)
        settings = {"seed": number}
        (run / "identity.json").write_text(json.dumps({"run": str(number), "settings": settings}))
    shutil.copytree(tmp_path / "0", tmp_path / "copy")
    comparison = Comparison.of(
        [read_entry(tmp_path / one) for one in ("0", "1", "copy")], best_first=True
    )
    assert len(comparison.finished) == 2
    assert comparison.notes()[1].startswith(f"copy    {tmp_path}/copy is a copy")
