"""A user's own table of numbers."""

import csv
import math
import re
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from bioplausible.data.own import OwnDataModule, expanded, in_order, require_splittable, split_by_class
from bioplausible.errors import UserError
from bioplausible.errors.checks import require

WITH_COMMAS = re.compile(r"[-+]?\d+(,\d+)+(\.\d*)?")
"""Numbers with a comma, which may be a decimal one or stand before thousands: 1,500."""

SEPARATORS = {"\t": r'"\t"', ";": "';'", "|": "'|'", " ": "' '"}
"""Other ones than the comma, as YAML has them."""


class Table(NamedTuple):
    """A table that was read."""

    columns: list[str]
    """Names of the columns of numbers; their places, from 1 on, where the file names none."""
    values: Tensor
    """(n × columns), float64."""
    classes: list[str]
    """Each row's class, as it is written."""


class TableDataModule(OwnDataModule):
    """A CSV file of numbers: a row a sample, and one column with its class, a number or a text.

    The columns are standardised, by the mean and the standard deviation of the rows that are trained on. Without a file
    for the test, a fixed fifth of each class is the test part.

    Args:
        file: the CSV file; ``~`` is the home folder.
        class_column: name of the column with the class, or its place from 1 on where the file names no columns; None:
            the last one.
        test_file: CSV file of the test part, with the same columns; None: a fifth of ``file``.
        leave_out: columns that are not used, such as that of a number that only names the row; as ``class_column``.
        separator: between columns.
        header: whether the first row names the columns; None: it does where none of its cells but the last is a number.
        standardise: as that of :class:`bioplausible.data.own.OwnDataModule`; false leaves the numbers as they are.
        **options: those of :class:`bioplausible.data.ImageDataModule`.

    Raises:
        UserError: a file can't be read, or does not hold this.
    """

    def __init__(
        self,
        file: str,
        class_column: str | None = None,
        test_file: str | None = None,
        leave_out: list[str] | None = None,
        separator: str = ",",
        header: bool | None = None,
        standardise: bool = True,
        **options: Any,
    ) -> None:
        self.file = expanded("file", file)
        self.test_file = None if test_file is None else expanded("test_file", test_file)
        require(
            isinstance(leave_out, (list, tuple, NoneType)),
            f"leave_out is {leave_out!r}: give a list of names, as [{leave_out!r}].",
        )
        self.class_column = None if class_column is None else str(class_column)
        self.leave_out = list(map(str, leave_out or []))
        self.separator, self.header = separator, header
        require(len(separator) == 1, f"separator is {separator!r}: give one character, such as ';' or a tab.")
        table = self._read(self.file)
        names = in_order(table.classes)
        self.column_names = tuple(table.columns)
        counting = [name for name, column in zip(table.columns, table.values.t(), strict=True) if _counts_rows(column)]
        if counting:
            rank_zero_warn(
                f"{self.file} has a column that counts the rows, {counting[0]}: it says nothing of a sample, but where"
                f" rows are sorted by class it gives the class away; leave_out: {counting[:1]} leaves it out."
            )
        self.found((len(table.columns), 1, 1), names)
        if self.test_file is None:
            require_splittable(
                table.classes, str(self.file), "leave it out, give a test_file, or name the column with class_column"
            )
        super().__init__(standardise=standardise, **options)

    def place(self, part: str) -> str:
        """Returns the part's file."""
        return str(self.file if part == "train" or self.test_file is None else self.test_file)

    def load(self, train: bool) -> tuple[Tensor, Tensor]:
        """Returns a part's rows (N × columns × 1 × 1) and classes (N).

        Raises:
            UserError: a file does not hold what is said above, or the test part has other columns or classes.
        """
        if train or self.test_file is None:
            values, classes = self._numbered(self.file)
        else:
            values, classes = self._numbered(self.test_file)
        if self.test_file is None:
            chosen = split_by_class(classes)[0 if train else 1].sort().values
            values, classes = values[chosen], classes[chosen]
        return values[:, :, None, None], classes

    def _numbered(self, file: Path) -> tuple[Tensor, Tensor]:
        table = self._read(file)
        require(
            tuple(table.columns) == self.column_names,
            f"{file} has the columns {', '.join(table.columns)}, and {self.file} has {', '.join(self.column_names)}:"
            " give both the same ones in the same order.",
        )
        numbers = {name: k for k, name in enumerate(self.class_names)}
        unknown = sorted(set(table.classes) - numbers.keys())
        require(
            not unknown,
            f"{file} has the class {', '.join(unknown[:8])}, which {self.file} has not: leave those rows out, or add"
            " some of that class for training.",
        )
        return table.values, torch.tensor([numbers[name] for name in table.classes])

    def _read(self, file: Path) -> Table:
        rows = _rows(file, self.separator)
        named = self._names_columns(file, rows)
        if named:
            columns = [cell.strip() for cell in rows.pop(0)[1]]
            twice = sorted({name for name in columns if columns.count(name) > 1})
            require(not twice, f"{file} has several columns of the name {', '.join(twice)}: give each its own.")
            require(
                "" not in columns or "" in self.leave_out,
                f"{file} has a column without a name, as pandas writes its index: save it with index=False, or leave"
                " the column out with leave_out: [''].",
            )
        else:
            columns = [str(i + 1) for i in range(len(rows[0][1]))]
        require(bool(rows), f"{file} has no rows but the columns' names: add some.")
        asked = [*self.leave_out, *([] if self.class_column is None else [self.class_column])]
        missing = [name for name in asked if name not in columns]
        unnamed = "" if named else "does not name its columns in the first row, and "
        places = [name for name in missing if named and name.isdecimal() and 0 < int(name) <= len(columns)]
        cure = ", or say header: false if its first row has no names" if places else ""
        require(
            not missing,
            f"{file} {unnamed}has no column {', '.join(missing)}, but {', '.join(columns)}: name one of these{cure}.",
        )
        require(
            self.class_column not in self.leave_out,
            f"{self.class_column} is class_column and in leave_out: choose one.",
        )
        remaining = [i for i, name in enumerate(columns) if name not in self.leave_out]
        require(bool(remaining), f"leave_out leaves no column of {file}: name fewer.")
        class_at = remaining[-1] if self.class_column is None else columns.index(self.class_column)
        used = [i for i in remaining if i != class_at]
        require(
            bool(used),
            f"{file} has one column alone ({columns[class_at]}): name the separator between columns, as"
            f" separator: {_separator(rows[0][1][class_at])}.",
        )
        values = torch.empty(len(rows), len(used), dtype=torch.float64)
        classes = []
        for n, (line, cells) in enumerate(rows):
            numbers = [_number(cells[i]) for i in used]
            for i, number in zip(used, numbers, strict=True):
                found = f"{file} has {cells[i].strip()!r} in column {columns[i]} of line {line}"
                require(
                    not WITH_COMMAS.fullmatch(cells[i].strip()),
                    f"{found}: write numbers with a decimal point, and without commas.",
                )
                if number is None or not math.isfinite(number):
                    may_be_class = number is None and bool(cells[i].strip())
                    other = f", or name it as class_column in place of {columns[class_at]}" if may_be_class else ""
                    raise UserError(
                        f"{found}, which is no finite number: mend the row or leave it out, leave the column out with"
                        f" leave_out{other}."
                    )
            values[n] = torch.tensor(numbers, dtype=torch.float64)
            classes.append(cells[class_at].strip())
            require(bool(classes[-1]), f"{file} has no class in line {line}: add it, or leave the row out.")
        return Table([columns[i] for i in used], values, classes)

    def _names_columns(self, file: Path, rows: list[tuple[int, list[str]]]) -> bool:
        """Returns whether the first row names the columns."""
        if self.header is not None:
            return self.header
        cells = [cell.strip() for cell in rows[0][1]]
        numbered = any(cells == [str(i + first) for i in range(len(cells))] for first in (0, 1))
        *_, last = cells
        alone = _number(last) is None and not any(other[-1].strip() == last for _, other in rows[1:])
        named = all(_number(cell) is None for cell in cells[:-1])
        require(
            named or not (numbered or alone),
            f"The first row of {file} ({', '.join(cells[:8])}{', …' * (len(cells) > 8)}) may be numbers or the columns'"
            " names: say header: true, or header: false.",
        )
        return named


def _rows(file: Path, separator: str) -> list[tuple[int, list[str]]]:
    """Returns a file's rows, each with its line, without empty ones.

    Raises:
        UserError: it can't be read, is empty, or rows have different numbers of columns.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:  # Excel writes a mark before the first word
            reader = csv.reader(text, delimiter=separator, skipinitialspace=True, strict=True)
            rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except OSError as error:
        raise UserError(f"{file} can't be read ({error.strerror}): name another file.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no CSV text in UTF-8 ({error}): save it anew.") from error
    require(bool(rows), f"{file} is empty: name another file.")
    first = rows[0][1]
    for line, cells in rows:
        # as where numbers have commas, and semicolons are between them
        require(
            len(first) > 1 or len(cells) == 1,
            f"{file} has {len(cells)} columns in line {line} and one in the first one ({first[0].strip()}): mend the"
            f" first row, or name the separator between columns, as separator: {_separator(first[0])}.",
        )
        require(
            len(cells) == len(first),
            f"{file} has {len(cells)} columns in line {line} and {len(first)} in the first one: mend the row.",
        )
    return rows


def _separator(row: str) -> str:
    """Returns in YAML what may separate the columns of a row that was read as one."""
    return next((written for mark, written in SEPARATORS.items() if mark in row), SEPARATORS[";"])


def _counts_rows(column: Tensor) -> bool:
    """Returns whether each number (n) is one more than that before, as where a file numbers its rows."""
    return len(column) > 2 and bool((column.diff() == 1).all())


def _number(cell: str) -> float | None:
    if "_" in cell:  # Python takes 1_2, which in a table is a code, for 12
        return None
    try:
        return float(cell)
    except ValueError:
        return None
