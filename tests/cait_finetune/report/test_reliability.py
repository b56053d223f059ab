import csv

import numpy as np
import pytest
from PIL import Image

from cait_finetune.report.reliability import draw_reliability, write_reliability
from cait_finetune.scores.calibration import reliability


@pytest.fixture
def bins():
    rng = np.random.default_rng(0)
    return reliability(rng.uniform(0.3, 1, 200), rng.random(200) < 0.5)


def test_a_row_for_each_bin(bins, tmp_path):
    write_reliability(
        {("test", "as trained"): bins, ("test", "calibrated"): bins}, tmp_path / "r.csv"
    )
    with open(tmp_path / "r.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 15
    assert sum(int(row["count"]) for row in rows) == 400
    assert rows[0]["accuracy"] == ""  # an empty bin
    gaps = [
        int(row["count"]) * abs(float(row["confidence"]) - float(row["accuracy"]))
        for row in rows[:15]
        if row["accuracy"]
    ]
    assert sum(gaps) / 200 == pytest.approx(bins.error)


@pytest.mark.parametrize("panels", [1, 2])
def test_the_picture_has_bars_and_gaps(bins, tmp_path, panels):
    draw_reliability([("as trained", bins)] * panels, "said", "observed", tmp_path / "r.png")
    with Image.open(tmp_path / "r.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert abs(pixels.shape[1] - 550 * panels) < 5
    blue, orange = (pixels[..., 2] - pixels[..., 0] > 80), (pixels[..., 0] - pixels[..., 2] > 120)
    assert blue.sum() > 5000 * panels
    assert orange.sum() > 500 * panels


def test_nothing_at_all_is_an_empty_diagram(tmp_path):
    draw_reliability(
        [("none", reliability(np.array([]), np.array([])))], "", "", tmp_path / "r.png"
    )
    assert (tmp_path / "r.png").exists()
