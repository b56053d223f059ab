"""Tables that spreadsheets save."""

from __future__ import annotations

import pytest

from cait_finetune.data.image_files.spreadsheet import read_table, row_numbers
from cait_finetune.errors import UserError


def read(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(str(path))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_with_any_delimiter_bom_and_line_end_are_read(delimiter, mark, end, tmp_path):
    lines = [["path", "label"], [" a.png", "cat "], [f'"b{delimiter}.png"', "dög"]]
    found = read(tmp_path, mark + end.join(delimiter.join(line) for line in lines) + end)
    assert found.header == ("path", "label")
    assert found.rows == [["a.png", "cat"], [f"b{delimiter}.png", "dög"]]
    assert found.delimiter == delimiter
    assert found.column("label") == ["cat", "dög"]


def test_the_delimiter_that_excel_states_in_the_first_line(tmp_path):
    found = read(tmp_path, "\ufeffsep=;\r\npath;label, all\r\na.png;cat\r\n")
    assert (found.header, found.numbers) == (("path", "label, all"), [3])


def test_bars_between_labels_are_no_delimiter(tmp_path):
    found = read(tmp_path, "path;a|b labels\na.png;cat|dog\n")
    assert found.header == ("path", "a|b labels")


def test_rows_have_the_numbers_that_a_spreadsheet_shows(tmp_path):
    found = read(tmp_path, 'path,label,,\n\n"a\nb",cat,,\n,,,\nc,dog,,\n')
    assert found.rows == [["a\nb", "cat", "", ""], ["c", "dog", "", ""]]
    assert found.numbers == [3, 5]
    assert found.at([0]) == "row 3"
    assert found.at([0, 1]) == "rows 3, 5"
    assert row_numbers(range(2, 9)) == "rows 2, 3, 4, 5, 6 and 2 more"


def test_columns_are_found_by_any_usual_name(tmp_path):
    found = read(tmp_path, "Image,Label\na,b\n")
    assert found.find("key", None, ("path", "image")) == "Image"
    assert found.find("key", None, ("split",)) is None
    with pytest.raises(UserError) as error:
        found.find("dataset.columns.label", "Labels", ())
    assert str(error.value) == (
        f"dataset.columns.label: got 'Labels', expected one of the columns of {found.path}: Image, "
        "Label\n  did you mean Label?"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ", an empty file, expected a header and rows"),
        ("path,label\n\n", ", no row, expected a header and rows"),
        ("path,label\na,b\nc\nd,e,f\ng,h,i\n", " with another number of cells: 1 in row 3; 3 in rows 4, 5, expected 2 in each row, as in the header"),
        ('path,label\na,b\n"c,d\n', ", row 3: unexpected end of data, expected a table of text"),
        (b"path,label\na,caf\xe9\n", ", row 2 of which is not UTF-8, expected a table of text in UTF-8\n  Save it as CSV UTF-8 in your spreadsheet program."),
        ("path\0,label\n", ", which is not text, expected a table of text in UTF-8"),
    ],
)  # fmt: skip
def test_a_malformed_table_raises_an_error(text, message, tmp_path):
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert str(error.value) == f"dataset.data_dir: got {tmp_path}/list.csv{message}"


def test_two_columns_of_one_name(tmp_path):
    found = read(tmp_path, "path,label,label\na,b,c\n")
    with pytest.raises(
        UserError, match=r"^dataset\.columns\.label: got .* with two columns 'label'"
    ):
        found.find("dataset.columns.label", None, ("label",))
