"""Group runs with equal settings, and tabulate them."""

from __future__ import annotations

import json
import shutil

import pytest

from cait_finetune.errors import UserError
from cait_finetune.runs.comparison import Comparison
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
    (run / "result.json").write_text(
        json.dumps({**result, "intervals": {"test_top1": [0.307, 0.602]}})
    )
    comparison = Comparison.of([read_entry(run)], best_first=True)
    assert comparison.table(name)[1] == [["run", "90.00%", "45.00% (30.7–60.2)", "12"]]
    assert "95 % interval of one run" in comparison.notes()[0]


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
    assert comparison.notes() == [
        "keys    train.key9, train.key10 differ too: the table has 8 settings"
    ]


def test_pivot_tabulates_the_metric_by_one_key(tmp_path):
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


def test_runs_of_an_edited_recipe_are_apart(tmp_path):
    runs = []
    for number, (rate, decay) in enumerate(((1e-3, 0.05), (4e-3, 0.05), (1e-3, 0.3))):
        settings = {"optimizer__base_lr": rate, "optimizer__weight_decay": decay}
        words = f"-cn mine optimizer.base_lr={rate}"  # the decay is in the recipe
        runs.append(read_entry(write_run(tmp_path / str(number), 0.5, words, **settings)))
    comparison = Comparison.of(runs, best_first=True)
    assert comparison.columns == ["optimizer.base_lr", "optimizer.weight_decay"]
    assert len(comparison.pivot("optimizer.base_lr")[1]) == 2


def test_a_note_reports_a_recipe_edited_between_runs(tmp_path):
    runs = []
    for number, (rate, epochs) in enumerate(((1e-3, 1), (4e-3, 3))):
        settings = {"optimizer__base_lr": rate, "train__epochs": epochs}
        words = f"-cn mine optimizer.base_lr={rate}"  # the epochs are in the recipe
        runs.append(read_entry(write_run(tmp_path / str(number), 0.5, words, **settings)))
    comparison = Comparison.of(runs, best_first=True)
    assert comparison.columns == ["optimizer.base_lr", "train.epochs"]
    assert comparison.notes() == [
        "recipe  no command sets train.epochs, and values differ: the recipe or the defaults changed "
        "between the runs"
    ]


def test_a_note_names_keys_that_a_chosen_option_sets(tmp_path):
    runs = [
        (0.5, "model=cait_nano_32", {"model__name": "a", "model__weights": "pretrained"}),
        (0.6, "model=cait_xxs24_224", {"model__name": "b", "model__weights": "hub"}),
    ]
    entries = [
        read_entry(write_run(tmp_path / str(score), score, words, **settings))
        for score, words, settings in runs
    ]
    comparison = Comparison.of(entries, best_first=True)
    assert comparison.columns == ["model.name"]
    assert comparison.notes() == ["keys    model.weights differ too: model=… may set them"]


def test_every_group_has_its_place_by_a_key(tmp_path):
    rates = (0.00100001, 0.00100002)
    comparison = compare(tmp_path, *(
        (0.5, {"optimizer__base_lr": rate, "train__epochs": epochs})
        for rate in rates for epochs in (1, 2)
    ))  # fmt: skip
    header, rows = comparison.pivot("train.epochs")
    assert header[1:] == ["1", "2"]
    assert sorted(row[0] for row in rows) == ["base_lr=0.00100001", "base_lr=0.00100002"]
    assert all(row[1:] == ["25.00%"] * 2 for row in rows)
    assert comparison.pivot("optimizer.base_lr")[0][1:] == ["0.00100001", "0.00100002"]
    assert {row[1] for row in comparison.table(name)[1]} == {"0.00100001", "0.00100002"}


def test_settings_with_one_last_part_have_their_whole_names(tmp_path):
    comparison = compare(tmp_path, *(
        (0.5, {"a__rate": a, "b__rate": b, "train__epochs": epochs})
        for a in (1, 2) for b in (1, 2) for epochs in (1, 2)
    ))  # fmt: skip
    assert "a.rate=1 b.rate=2" in [row[0] for row in comparison.pivot("train.epochs")[1]]


def test_a_setting_may_have_lists(tmp_path):
    comparison = compare(tmp_path, *(
        (0.5, {"augment__scale": scale}) for scale in ([0.5, 1], [0.08, 1], None)
    ))  # fmt: skip
    series = comparison.series("augment.scale")
    assert series.labels == ["[0.08, 1]", "[0.5, 1]", "null"]  # null is the last
    assert [len(groups) for groups in series.lines.values()] == [3]


def test_values_by_a_key_are_sorted_by_size(tmp_path):
    runs = ((0.5, {"train__new": value}) for value in (10, None, 5))
    assert compare(tmp_path, *runs).series("train.new").labels == ["5", "10", "null"]


def test_a_key_that_a_run_did_not_record_is_named_and_is_not_null(tmp_path):
    runs = [(0.5, {"train__new": None}), (0.6, {"train__new": 1}), (0.7, {})]
    comparison = compare(tmp_path, *runs)
    assert len(comparison.groups) == 2 + 1
    assert [row[1] for row in comparison.table(name)[1]] == ["", "1", "null"]
    assert comparison.notes()[-1].startswith("keys    train.new are recorded by some runs only")


def repeated(tmp_path):
    """Compare a group of two draws of two runs each, and a group of one draw of two runs."""
    return compare(tmp_path, *(
        (score, {"optimizer__base_lr": rate, "seed": seed})
        for rate, seed, score in (
            (1e-3, 0, 0.4), (1e-3, 0, 0.6), (1e-3, 1, 0.7), (1e-3, 1, 0.7),
            (1e-4, 0, 0.2), (1e-4, 0, 0.2),
        )
    ))  # fmt: skip


def test_runs_of_one_draw_count_once(tmp_path):
    comparison = repeated(tmp_path)
    # The draws have 50 and 70 %. t(0.975, 1) = 12.706.
    assert [row[:3] for row in comparison.table(name)[1]] == [
        ["4 runs of 2 draws", "0.001", "60.00% ± 127.06"],
        ["2 runs of 1 draw", "0.0001", "20.00%"],
    ]
    notes = [line.replace(f"{tmp_path}/", "") for line in comparison.notes()]
    assert notes[1:] == [
        f"draw    {pair} have equal settings and an equal draw: they count once"
        for pair in ("2 and 3", "1 and 0", "4 and 5")
    ]


def test_one_draw_has_no_interval(tmp_path):
    comparison = compare(tmp_path, (0.5, {"seed": 3}), (0.6, {"seed": 3}))
    assert comparison.table(name)[1][-1][:3] == ["mean", "55.00%", "27.50%"]
    assert not any("Student" in line for line in comparison.notes())


def test_a_copy_of_a_run_is_left_out(tmp_path):
    run = write_run(tmp_path / "run", 0.5, "seed=0")
    (run / "identity.json").write_text(json.dumps({"run": "1", "settings": {"seed": 0}}))
    shutil.copytree(run, tmp_path / "there")
    comparison = Comparison.of(
        [read_entry(tmp_path / one) for one in ("there", "run")], best_first=True
    )
    assert [name(one) for one in comparison.finished] == ["run"]
    assert comparison.notes()[0].startswith(
        f"copy    {tmp_path}/there is left out: a copy of {tmp_path}/run"
    )
