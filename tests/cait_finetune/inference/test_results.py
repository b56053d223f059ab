"""Predictions as text, as files, and as a table in a notebook."""

import base64
import csv
import io
import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from cait_finetune.errors import UserError
from cait_finetune.inference.prediction import Prediction
from cait_finetune.inference.results import Predictions
from tests.cait_finetune.stand_ins import encode, picture


@pytest.fixture
def predictions(tmp_path):
    (tmp_path / "a<b>.png").write_bytes(encode(picture(200, 300)))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return Predictions(
        [
            Prediction(tmp_path / "a<b>.png", (("cat & dog", 0.75), ("tench, Tinca tinca", 0.25))),
            Prediction(tmp_path / "broken.jpg", error="not an image (no <format>)"),
        ],
        12.5,
    )


def test_predictions_are_a_sequence(predictions):
    assert len(predictions) == 2
    assert predictions[0].classes[0] == ("cat & dog", 0.75)
    assert [one.path.name for one in predictions] == ["a<b>.png", "broken.jpg"]
    assert predictions.errors == [predictions[1]]


def test_repr_prints_one_line_per_image(predictions, tmp_path):
    assert repr(predictions).splitlines() == [
        f"{tmp_path}/a<b>.png: cat & dog 75.0%, tench, Tinca tinca 25.0%",
        f"{tmp_path}/broken.jpg: not an image (no <format>)",
    ]


def test_in_a_notebook_they_are_a_table_with_thumbnails(predictions):
    page = predictions._repr_html_()
    assert "a&lt;b&gt;.png" in page
    assert "cat &amp; dog 75.0%<br>tench, Tinca tinca 25.0%" in page
    assert "not an image (no &lt;format&gt;)" in page
    (encoded,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == (96, 64)


def test_many_are_not_all_shown():
    many = Predictions([Prediction(Path(f"{n}.png")) for n in range(1234)], 1.0)
    assert repr(many).splitlines()[-1] == "… and 1,134 more"
    assert many._repr_html_().count("<tr>") == 101
    assert "… and 1,134 more" in many._repr_html_()


@pytest.mark.parametrize("output", ["out.csv", "out.json"])
def test_a_name_that_is_no_utf8_loses_nothing(tmp_path, output):
    names = [os.fsdecode(b"\xff.png"), "dé.png"]
    found = Predictions([Prediction(Path(name), (("rose", 1.0),)) for name in names], 1.0)
    found.write(tmp_path / output)
    assert repr(found).splitlines()[0] == r"\xff.png: rose 100.0%"
    text = (tmp_path / output).read_text(encoding="utf-8")
    rows = json.loads(text) if output.endswith("json") else list(csv.DictReader(text.splitlines()))
    assert [row["path"] for row in rows] == [r"\xff.png", "dé.png"]


def test_predictions_are_written_as_csv_or_json(predictions, tmp_path):
    predictions.write(tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert rows[0]["class_2"] == "tench, Tinca tinca"
    assert rows[1]["error"] == "not an image (no <format>)"
    predictions.write(tmp_path / "out.JSON")
    first, second = json.loads((tmp_path / "out.JSON").read_text())
    assert first == {
        "path": str(tmp_path / "a<b>.png"),
        "classes": [
            {"name": "cat & dog", "probability": 0.75},
            {"name": "tench, Tinca tinca", "probability": 0.25},
        ],
        "error": None,
    }
    assert second["error"] == "not an image (no <format>)"
    with pytest.raises(UserError, match=r"expected a name that ends in .csv or .json"):
        predictions.write(tmp_path / "out.txt")
