import numpy as np
from PIL import Image

from cait_finetune.benchmark.transfer.picture import draw
from cait_finetune.benchmark.transfer.results import Comparison
from cait_finetune.benchmark.transfer.table import table

TEST = {
    "from scratch": np.array([[20.0, 31.0], [80.0, 90.0]]),
    "LoRA": np.array([[50.0, 51.0], [91.0, 92.0]]),
    "full": np.array([[60.0, 61.0], [90.0, 89.0]]),
}
COMPARISON = Comparison("digits", [0.01, 1.0], [10, 1257], TEST)


def test_mean_and_range_by_method_and_images():
    assert table(COMPARISON).splitlines() == [
        "**digits**",
        "",
        "|  | 1 % (10) | 100 % (1,257) |",
        "|---|---|---|",
        "| from scratch | 25.5 (20.0–31.0) | 85.0 (80.0–90.0) |",
        "| LoRA | 50.5 (50.0–51.0) | 91.5 (91.0–92.0) |",
        "| full | 60.5 (60.0–61.0) | 89.5 (89.0–90.0) |",
        "| *full − from scratch* | +35.0 (+30.0 to +40.0) | +4.5 (-1.0 to +10.0) |",
    ]


def test_no_gain_over_what_was_not_measured():
    one = Comparison("digits", [0.01, 1.0], [10, 1257], {"full": TEST["full"]})
    assert "−" not in table(one)


def test_a_panel_for_each_data_set(tmp_path):
    draw([COMPARISON], tmp_path / "one.png")
    draw([COMPARISON, COMPARISON], tmp_path / "two.png")
    one, two = (Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("one", "two"))
    assert two.size[0] > 1.5 * one.size[0]
    assert two.size[1] == one.size[1]
    colours = {pixel for _, pixel in one.getcolors(1_000_000)}
    assert {(31, 119, 180), (255, 127, 14), (128, 128, 128)} <= colours  # two methods, and scratch
