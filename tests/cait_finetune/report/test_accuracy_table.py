from cait_finetune.report.accuracy_table import Accuracy, AccuracyTable

ROW = Accuracy("cait_s24_224", "hub", "imagenet2012", 224, 1.0, 50_000, 83.49, 96.6, 83.484, 96.586)
OWN = Accuracy("cait_nano_32", "a,b.safetensors", "imagenet_folder", 32, 0.875, 7, 14.286, 42.857)


def test_rows_survive(tmp_path):
    table = AccuracyTable(tmp_path)
    table.add(ROW)
    table.add(OWN)
    again = AccuracyTable(tmp_path)
    assert again.rows == [OWN, ROW]
    assert again.find(ROW.key) == ROW
    assert again.find(("cait_s24_224", "hub", "imagenet2012", 224, 0.875)) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracies.csv", "accuracies.md"]


def test_the_difference_stands_beside(tmp_path):
    table = AccuracyTable(tmp_path)
    for row in (ROW, OWN):
        table.add(row)
    lines = table.markdown.read_text().splitlines()
    assert lines[2] == (
        "| `cait_nano_32` | a,b.safetensors | imagenet_folder | 32 | 0.875 | 7 "
        "| 14.286 | – | – | 42.857 | – | – |"
    )
    assert lines[3] == (
        "| `cait_s24_224` | hub | imagenet2012 | 224 | 1 | 50,000 "
        "| 83.490 | 83.484 | +0.006 | 96.600 | 96.586 | +0.014 |"
    )
    assert len({line.count("|") for line in lines}) == 1
