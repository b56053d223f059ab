"""Read CSV files that spreadsheets save: a header, and rows with the spreadsheet's row numbers."""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
import logging
import re
from collections.abc import Iterable, Sequence

from cait_finetune.data.image_files import storage
from cait_finetune.errors import UserError, bad_value, suggest

logger = logging.getLogger(__name__)

_KEY = "dataset.data_dir"
_DELIMITERS = (",", ";", "\t", "|")  # by precedence: the last may also separate labels in a cell
#: The first line of an Excel table may state the delimiter.
_STATED = re.compile(r"sep=([,;\t|])(?=\r?\n)")
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        path: path of the file.
        header: names of the columns.
        rows: cells of each row, without spaces around them.
        numbers: row numbers as a spreadsheet shows them. Row 1 is usually the header.
        delimiter: the character between cells.
    """

    path: str
    header: tuple[str, ...]
    rows: list[list[str]]
    numbers: list[int]
    delimiter: str

    def find(self, key: str, wanted: str | None, usual: Sequence[str]) -> str | None:
        """Return the name of the column `wanted`, or of the first usual one. `None`: there is none.

        Args:
            key: the configuration key of the column, for messages.
            wanted: the configured name. `None`: look for a usual name.
            usual: usual names in lower case. The column may be spelled in upper or lower case.

        Raises:
            UserError: the table has no column `wanted`, or two columns of the returned name.
        """
        if wanted is None:
            # The usual spelling comes before others: `label` before `Label`.
            found = sorted(
                (name for name in self.header if name.lower() in usual),
                key=lambda name: (usual.index(name.lower()), name not in usual),
            )
            wanted = found[0] if found else None
            if unused := [name for name in dict.fromkeys(found) if name != wanted]:
                logger.warning(
                    "table  the column %s is read, and %s not: set %s to read another",
                    wanted, " and ".join(unused), key,
                )  # fmt: skip
        elif wanted not in self.header:
            raise self.missing(key, repr(wanted), suggest(wanted, self.header))
        if wanted is not None and self.header.count(wanted) > 1:
            raise bad_value(key, f"{self.path} with two columns {wanted!r}", "different names")
        return wanted

    def missing(self, key: str, got: str, hint: str = "") -> UserError:
        """Return the error for a column that does not exist."""
        return bad_value(
            key, got, f"one of the columns of {self.path}: {', '.join(self.header)}", hint
        )

    def without(self, key: str, usual: Sequence[str]) -> UserError:
        """Return the error for a table in which no column has a usual name."""
        near = (suggest(name, self.header) for name in usual)
        near = next(filter(None, near), f"set {key}=… to name yours")
        return self.missing(key, "nothing", f"usual are {', '.join(usual)}; {near}")

    def column(self, name: str) -> list[str]:
        place = self.header.index(name)
        return [cells[place] for cells in self.rows]

    def refuse(
        self, columns: str | Sequence[str], rows: Sequence[int], got: str, expected: str
    ) -> None:
        """Raise UserError about the cells of one or several columns in `rows`, if there are any rows."""
        if rows:
            names = [columns] if isinstance(columns, str) else columns
            which = f"column{'s' * (len(names) > 1)} {' and '.join(names)}"
            what = f"{self.path}, {which}: {got} in {self.at(rows)}"
            raise bad_value(_KEY, what, expected)

    def at(self, rows: Iterable[int]) -> str:
        """Return ``rows 2, 5, …`` for indices into `self.rows`."""
        return row_numbers(self.numbers[row] for row in rows)


def row_numbers(numbers: Iterable[int]) -> str:
    """Return ``row 2`` or ``rows 2, 3, 5``: the first few numbers, and how many more there are."""
    numbers = list(numbers)
    shown = ", ".join(str(number) for number in numbers[:_SHOWN])
    more = f" and {len(numbers) - _SHOWN:,} more" if len(numbers) > _SHOWN else ""
    return f"row{'s' * (len(numbers) > 1)} {shown}{more}"


def read_table(path: str) -> Table:
    """Read a CSV file in UTF-8 with comma, semicolon, tab or vertical bar between the cells.

    The function omits empty rows, and empty cells beyond the width of the header.

    Raises:
        UserError: the file cannot be read or is not a CSV file in UTF-8; the header or all rows are
            missing; or a row has another number of cells than the header.
    """
    text = _text(path)
    if stated := _STATED.match(text):  # keep the line's end, so that the row numbers stay right
        text = text[stated.end() :]
    delimiter = stated[1] if stated else _delimiter(text)
    header, rows, numbers, uneven = None, [], [], collections.defaultdict(list)
    number = 0
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        for number, cells in enumerate(reader, 1):
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if header is None:
                header = tuple(cells)
                continue
            width = len(cells)
            while len(cells) > len(header) and not cells[-1]:
                cells.pop()
            if len(cells) != len(header):
                uneven[width].append(number)
            rows.append(cells)
            numbers.append(number)
    except csv.Error as error:
        raise bad_value(_KEY, f"{path}, row {number + 1}: {error}", "a table of text") from error
    if header is None or not rows:
        raise bad_value(
            _KEY, f"{path}, {'an empty file' if header is None else 'no row'}", "a header and rows"
        )
    if uneven:
        of_width = "; ".join(
            f"{width} in {row_numbers(found)}" for width, found in sorted(uneven.items())
        )
        raise bad_value(
            _KEY,
            f"{path} with another number of cells: {of_width}",
            f"{len(header)} in each row, as in the header",
        )
    return Table(path, header, rows, numbers, delimiter)


def _delimiter(text: str) -> str:
    """Return the character that divides the first line into cells."""
    first = text.lstrip("\r\n").partition("\n")[0]
    widths = {
        delimiter: len(next(csv.reader([first], delimiter=delimiter), ()))
        for delimiter in _DELIMITERS
    }
    delimiter = next((one for one in _DELIMITERS[:3] if widths[one] > 1), None)
    return delimiter or ("|" if widths["|"] > 1 else ",")


def _text(path: str) -> str:
    try:
        with storage.opened(path) as file:
            data = file.read()
    except OSError as error:
        raise bad_value(_KEY, path, f"a file that can be read ({error.strerror})") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise bad_value(
            _KEY,
            f"{path}, row {row} of which is not UTF-8",
            "a table of text in UTF-8",
            "Save it as CSV UTF-8 in your spreadsheet program.",
        ) from error
    if "\0" in text:
        raise bad_value(_KEY, f"{path}, which is not text", "a table of text in UTF-8")
    return text
