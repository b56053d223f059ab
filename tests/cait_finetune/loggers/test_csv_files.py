import csv

from cait_finetune.loggers.csv_files import CsvFiles


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_steps_and_epochs_have_a_file_each(tmp_path):
    logger = CsvFiles(tmp_path)
    logger.begin({}, resumed=False)
    logger.record("step", {"step": 20, "epoch": 1, "loss": 1 / 3})
    logger.record("epoch", {"step": 20, "epoch": 1, "validation_top1": 0.5})
    logger.record("step", {"step": 40, "epoch": 2, "loss": 0.25})
    steps = rows(tmp_path / "steps.csv")
    assert [(one["step"], float(one["loss"])) for one in steps] == [("20", 1 / 3), ("40", 0.25)]
    assert rows(tmp_path / "epochs.csv") == [{"step": "20", "epoch": "1", "validation_top1": "0.5"}]


def test_a_later_phase_has_more_columns(tmp_path):
    logger = CsvFiles(tmp_path)
    logger.begin({}, resumed=False)
    logger.record("step", {"step": 1, "lr/group_03": 0.1})
    logger.record("step", {"step": 2, "lr/group_02": 0.05, "lr/group_03": 0.2})
    logger.record("step", {"step": 3, "lr/group_03": 0.3})
    assert rows(tmp_path / "steps.csv") == [
        {"step": "1", "lr/group_03": "0.1", "lr/group_02": ""},
        {"step": "2", "lr/group_03": "0.2", "lr/group_02": "0.05"},
        {"step": "3", "lr/group_03": "0.3", "lr/group_02": ""},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["steps.csv"]


def test_a_run_that_goes_on_has_each_row_once(tmp_path):
    first = CsvFiles(tmp_path)
    first.begin({}, resumed=False)
    for step in (1, 2, 3):
        first.record("step", {"step": step})
    second = CsvFiles(tmp_path)
    second.begin({}, resumed=True)
    for step in (1, 2, 3, 4):  # the saved state is older than step 3, which repeats
        second.record("step", {"step": step})
    assert [one["step"] for one in rows(tmp_path / "steps.csv")] == ["1", "2", "3", "4"]
