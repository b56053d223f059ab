import concurrent.futures
import csv
import dataclasses

import pytest

from cait_finetune.report.accuracy_table import Accuracy, AccuracyTable, Conditions, cropped

GIVEN = Conditions(
    model="cait_s24_224",
    weights="hub",
    weights_sha256="0123456789ab",
    dataset="imagenet2012",
    split="test",
    data_sha256="ba9876543210",
    images_sha256="abcabcabcabc",
    image_size="224",
    crop_pct=1.0,
    resize_mode="shorter_side",
    interpolation="bicubic",
    antialias=True,
    upright=False,
    mean="0.485 0.456 0.406",
    std="0.229 0.224 0.225",
)
ROW = Accuracy(GIVEN, 50_000, 0, 83.49, 96.6, 83.484, 96.586)
OWN = Accuracy(
    dataclasses.replace(
        GIVEN,
        model="cait_nano_32",
        weights="a,b|c.safetensors",
        dataset="imagenet_folder",
        image_size="32",
        crop_pct=0.875,
        resize_mode="squash",
        antialias=False,
        upright=True,
        mean="0.5 0.5 0.5",
    ),
    7,
    2,
    14.286,
    42.857,
)
#: The file of an older version, whose rows have fewer conditions.
OLD = (
    "model,weights,dataset,image_size,crop_pct,images,top1,top5,published_top1,published_top5\r\n"
    "cait_s24_224,hub,imagenet2012,224,1.0,50000,70.0,90.0,83.484,96.586\r\n"
    "cait_s24_224,hub,imagenet2012,224,0.875,50000,71.0,91.0,83.368,96.576\r\n"
)


def lines(table):
    with open(table.csv, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_survive(tmp_path):
    table = AccuracyTable(tmp_path)
    table.add(ROW)
    table.add(OWN)
    again = AccuracyTable(tmp_path)
    assert again.rows == [OWN, ROW]
    assert again.find(GIVEN) == ROW
    shown = sorted(path.name for path in tmp_path.glob("[!.]*"))
    assert shown == ["accuracies.csv", "accuracies.md"]


def test_rows_are_sorted_by_the_sides_as_numbers(tmp_path):
    table = AccuracyTable(tmp_path)
    sizes = ["384", "96", "224", "96x64"]
    for size in sizes:
        table.add(dataclasses.replace(ROW, conditions=dataclasses.replace(GIVEN, image_size=size)))
    assert [row.conditions.image_size for row in table.rows] == ["96", "96x64", "224", "384"]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Conditions)])
def test_every_condition_makes_another_row(tmp_path, name):
    table = AccuracyTable(tmp_path)
    table.add(ROW)
    value = getattr(GIVEN, name)
    change = {bool: lambda: not value, str: lambda: value + "0"}.get(type(value), lambda: value / 2)
    assert AccuracyTable(tmp_path).find(dataclasses.replace(GIVEN, **{name: change()})) is None


def test_the_same_conditions_are_one_row(tmp_path):
    for top1 in (83.49, 83.5):
        table = AccuracyTable(tmp_path)
        table.add(dataclasses.replace(ROW, top1=top1))
    assert [row.top1 for row in AccuracyTable(tmp_path).rows] == [83.5]


def test_a_row_without_its_whole_key_is_measured_anew_and_replaced(tmp_path):
    (tmp_path / "accuracies.csv").write_text(OLD)
    table = AccuracyTable(tmp_path)
    assert table.rows == []
    table.add(ROW)
    assert [(line["crop_pct"], line["top1"]) for line in lines(table)] == [
        ("1.0", "83.49"),
        ("0.875", "71.0"),  # stays until its conditions are measured
    ]
    assert "71.0" not in table.markdown.read_text()
    assert AccuracyTable(tmp_path).rows == [ROW]
    table.add(dataclasses.replace(ROW, conditions=dataclasses.replace(GIVEN, crop_pct=0.875)))
    assert [line["top1"] for line in lines(table)] == ["83.49", "83.49"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("weights_sha256", ""), ("antialias", "yes"), ("top1", "83,49"), ("left_out", "")],
)
def test_a_row_that_cannot_be_read_is_measured_anew(tmp_path, name, value):
    table = AccuracyTable(tmp_path)
    table.add(ROW)
    (line,) = lines(table)
    with open(table.csv, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(line))
        writer.writeheader()
        writer.writerow({**line, name: value})
    assert AccuracyTable(tmp_path).find(GIVEN) is None
    table.add(ROW)
    assert lines(table) == [line]


def test_two_processes_add_to_one_table(tmp_path):
    one, other = AccuracyTable(tmp_path), AccuracyTable(tmp_path)
    one.add(ROW)
    other.add(OWN)
    assert AccuracyTable(tmp_path).rows == [OWN, ROW]


def test_the_difference_stands_beside(tmp_path):
    table = AccuracyTable(tmp_path)
    for row in (ROW, OWN):
        table.add(row)
    lines = table.markdown.read_text().splitlines()
    assert lines[2] == (
        "| `cait_nano_32` | a,b\\|c.safetensors (0123456789ab) "
        "| imagenet_folder, test (ba9876543210) "
        "| 32, squash, crop 0.875, bicubic, not antialiased, upright, mean 0.5 0.5 0.5 "
        "| 7, 2 left out | 14.286 | – | – | 42.857 | – | – |"
    )
    assert lines[3] == (
        "| `cait_s24_224` | hub (0123456789ab) | imagenet2012, test (ba9876543210) "
        "| 224, crop 1, bicubic | 50,000 "
        "| 83.490 | 83.484 | +0.006 | 96.600 | 96.586 | +0.014 |"
    )
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_of_a_padded_image_nothing_is_cropped():
    assert cropped(dataclasses.replace(GIVEN, resize_mode="pad")) == "pad"


def test_of_many_that_add_at_once_no_row_is_lost(tmp_path):
    givens = [dataclasses.replace(GIVEN, crop_pct=0.5 + number / 100) for number in range(12)]
    rows = [dataclasses.replace(ROW, conditions=given) for given in givens]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda one: AccuracyTable(tmp_path).add(one), rows))
    assert AccuracyTable(tmp_path).rows == rows
