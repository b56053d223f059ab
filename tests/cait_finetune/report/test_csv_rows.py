from cait_finetune.report.csv_rows import read_rows


def test_rows_by_column_name(tmp_path):
    (tmp_path / "a.csv").write_text('name,n\n"a,é",1\n', encoding="utf-8")
    assert read_rows(tmp_path / "a.csv") == [{"name": "a,é", "n": "1"}]


def test_a_file_that_does_not_exist(tmp_path):
    assert read_rows(tmp_path / "a.csv") is None
