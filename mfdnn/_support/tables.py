"""Tables of numbers in text files: what separates them is found, never guessed.

NumPy parses blocks of plain numbers; everything else goes cell by cell, which finds the cell that is no number.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from math import ceil, isfinite
from typing import Any, NoReturn

import numpy as np

from .memory import require_memory
from .validation import one_of

__all__ = ["COMPRESSED", "Layout", "read_table"]

COMPRESSED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
BLOCK = 2**20  # characters that are parsed at a time
LONGEST_LINE = 2**26
BINARY = {  # first bytes of files that are often taken for text
    b"\x93NUMPY": "an array of NumPy; name it .npy",
    b"PK\x03\x04": "a zip archive, as .npz, .xlsx and .pt are; name it .npz if numpy.savez wrote it",
    b"\x1f\x8b": "compressed; name it .gz",
    b"BZh": "compressed; name it .bz2",
    b"\xfd7zXZ": "compressed; name it .xz",
}
BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
MISSING = {"", "NA", "N/A", "<NA>", "#N/A", "NaT", "null", "NULL", "None", "-", "?", "."}
INDEX_NAMES = {"", "index", "id", "row", "rownames", "unnamed: 0"}  # in small letters
COMMENT = re.compile(r"\s*#(?!N/A|DIV/0!|REF!|VALUE!|NUM!|NAME\?|NULL!)")  # those are cells of Excel
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
# What somebody means as a number: thousands, decimal commas, currencies, percentages.
NUMBER_LIKE = re.compile(
    r"[-+($€£¥]*\s*[.,]?\d[\d.,'’_\s]*([eEdD][-+]?\d+\s*)?[)%€$£¥]*|[-+]?(nan|inf|infinity)", re.IGNORECASE
)
SAMPLE = 100  # rows that tell whether the first one is names


@dataclass(frozen=True)
class Layout:
    """How a table is written; None: found, or refused where that is uncertain.

    `delimiter` " " is any run of blanks. `header`: whether the first line is names. `index`: whether the first column
    numbers or names the rows, and is left out.
    """

    delimiter: str | None = None
    decimal: str = "."
    encoding: str | None = None
    header: bool | None = None
    index: bool | None = None

    def __post_init__(self) -> None:
        mark = self.delimiter
        if mark is not None and not (isinstance(mark, str) and len(mark) == 1):
            raise ValueError(f"`delimiter` must be one character, not {mark!r}; pass ',', ';', '\\t' or ' '.")
        if mark is not None and (mark.isalnum() or mark in '+-."#\r\n\0' or not mark.isascii()):
            raise ValueError(f"`delimiter` cannot be {mark!r}, a part of numbers or lines; pass another one.")
        one_of("decimal", self.decimal, (".", ","))
        if mark == self.decimal:
            raise ValueError(f"`delimiter` and `decimal` must differ, but both are {mark!r}; pass others.")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, TypeError, ValueError):
                raise ValueError(
                    f"`encoding` must be a text encoding of Python, not {self.encoding!r}; pass 'utf-8', 'latin-1' or "
                    "'utf-16'."
                ) from None
        for name, value in (("header", self.header), ("index", self.index)):
            if not (value is None or isinstance(value, bool | np.bool_)):  # no numbers: elsewhere 0 is the first line
                raise TypeError(f"`{name}` must be True, False or None, not {value!r}; pass one of them.")


def read_table(path: str, layout: Layout, n_rows: int | None = None) -> np.ndarray:
    """The (T, M_0) matrix of a text file, or its first rows.

    At most `n_rows` rows; later ones are not looked at.

    Raises
    ------
    ValueError
        Not text, not a table, or a cell that is no finite number.
    MemoryError
        More numbers than there is memory for, as far as it is read.
    """
    with open(path, "rb") as raw, _text(raw, path, layout.encoding) as file:
        blocks = _blocks(file, path)
        table = _Table(path, layout, next(blocks, ""))
        X, n = np.empty((0, table.width - table.skipped)), 0
        for text in chain(filter(None, [table.first]), blocks):
            rows = table.parse(text)
            if n + len(rows) > len(X):
                X = _grown(X, n + len(rows), n_rows, raw, path)
            X[n : n + len(rows)] = rows
            n += len(rows)
            if n_rows is not None and n >= n_rows:
                break
    X.resize((n, X.shape[1]), refcheck=False)
    table.check_index(X)
    return X[:n_rows]


def _grown(X: np.ndarray, n: int, wanted: int | None, raw: io.BufferedReader, path: str) -> np.ndarray:
    """The array with room for `n` rows and what the file has beyond."""
    if path.lower().endswith(tuple(COMPRESSED)):  # how much there is, its size does not say
        expected = max(n, len(X) + len(X) // 4)
    else:
        seen = raw.tell() / os.fstat(raw.fileno()).st_size
        expected = n if seen >= 1 else ceil(1.02 * n / seen)
    if wanted is not None:
        expected = max(n, min(wanted, expected))
    require_memory(
        9 * expected * X.shape[1],  # 8 bytes a number, anew if it has to move, and room for the next lines
        f"`inputs`, the numbers of {path!r}, about {expected} x {X.shape[1]},",
        "ask for fewer rows by `n_samples`",
    )
    X.resize((expected, X.shape[1]), refcheck=False)
    return X


# -- bytes and characters --------------------------------------------------------------------------------------


@contextmanager
def _text(raw: io.BufferedReader, path: str, encoding: str | None) -> Iterator[io.TextIOWrapper]:
    """The characters of a file, decompressed."""
    suffix = os.path.splitext(path)[1].lower()
    with _readable(path, encoding or "utf-8"):
        binary: Any = COMPRESSED[suffix](raw) if suffix in COMPRESSED else raw
        head = binary.peek(512)[:512]
    for mark, what in BINARY.items():
        if head.startswith(mark):
            raise ValueError(f"`inputs` must be text, but {path!r} is {what}.")
    marks = [name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)]
    if encoding is None and not marks and b"\0" in head:
        raise ValueError(
            f"`inputs` must be text, but {path!r} is binary; write it as .npy, or pass its `encoding`, such as "
            "'utf-16-le', if it is text."
        )
    if marks and encoding is not None and encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = None
    yield io.TextIOWrapper(binary, encoding or (marks or ["utf-8"])[0])


@contextmanager
def _readable(path: str, encoding: str) -> Iterator[None]:
    try:
        yield
    except UnicodeError:
        raise ValueError(
            f"`inputs` must be text, but {path!r} is none in {encoding}; pass its `encoding`, such as 'latin-1' or "
            "'utf-16', if it is text."
        ) from None
    except (EOFError, OSError, zlib.error, lzma.LZMAError):
        raise ValueError(
            f"`inputs` must be a whole file, but {path!r} cannot be read to its end, or is not compressed as its name "
            "says; write it again."
        ) from None


def _blocks(file: io.TextIOWrapper, path: str) -> Iterator[str]:
    """Whole lines, some megabytes at a time.

    Blank lines at the end of the file are left out; the others stand before a line that is not blank.
    """
    rest, more = "", "\n" * BLOCK
    while len(more) == BLOCK:
        with _readable(path, file.encoding):
            more = file.read(BLOCK)
        rest += more
        cut = rest.rstrip("\n").rfind("\n") + 1
        whole = rest.count("\n", 0, cut) > 2  # names, numbers, and what follows
        if whole and len(more) == BLOCK:
            yield rest[:cut]
            rest = rest[cut:]
        elif not whole and len(rest) > LONGEST_LINE:
            raise ValueError(
                f"`inputs` must be a table, one input a line, but {path!r} has a line of more than {LONGEST_LINE // 3} "
                "characters; write it as .npy."
            )
    if rest.strip("\n"):
        yield rest.rstrip("\n")


# -- lines and cells -------------------------------------------------------------------------------------------


class _Table:
    """A table whose first lines were seen: its delimiter, names and width."""

    def __init__(self, path: str, layout: Layout, text: str) -> None:
        self.path, self.decimal, self.index = path, layout.decimal, layout.index
        text = text.removeprefix("\ufeff")
        lines = text.split("\n")
        content = [line for line in islice(lines, SAMPLE) if line.strip() and not COMMENT.match(line)]
        self.delimiter = layout.delimiter or _delimiter((content[1:] or content or [""])[0], layout.decimal)
        self.line = self.row = 0  # that were parsed
        self.names: list[str] | None = None
        self.width = 0
        sample = list(islice(self._cells(lines), SAMPLE + 1))
        head = [cells for _, cells in sample]
        if head and self._is_names(head, layout.header):
            self.line, self.names = sample[0]
            del head[0]
        if not head:
            raise ValueError(
                f"`inputs` must hold numbers, one input a line, but {path!r} has no line of them; fill it."
            )
        self.width = len(head[0])
        self._check_names()
        self.skipped = int(bool(self.index))
        self.numbered = head[0][0].strip().isdigit()  # a first cell as an index writes it
        if self.width == self.skipped:
            self._fail("holds nothing but an index", "pass `index=False` to keep it")
        plain = f"0123456789eE+- \n{self.decimal}{self.delimiter}" + "\t" * (self.delimiter == " ")
        self._plain = plain.encode()
        self.first = "\n".join(lines[self.line :])

    def parse(self, text: str) -> np.ndarray:
        """The rows of a block of lines."""
        rows = self._parse_plain(text)
        if rows is None:
            numbers = [
                [self._number(cell, line, row, column) for column, cell in enumerate(cells) if column >= self.skipped]
                for row, (line, cells) in enumerate(self._rows(text.split("\n")))
            ]
            rows = np.array(numbers).reshape(len(numbers), self.width - self.skipped)
        self.line += text.count("\n") + (not text.endswith("\n"))
        self.row += len(rows)
        return rows

    def check_index(self, X: np.ndarray) -> None:
        """Refuse a first column that numbers the rows, unless it was asked for."""
        if self.index is None and self.numbered and self.width > 1 and len(X) > 1:
            order = np.sort(X[:, 0]) - np.arange(len(X))
            if order[0] in (0, 1) and np.all(order == order[0]):
                self._fail("has a first column that numbers the rows", _INDEX)

    def _parse_plain(self, text: str) -> np.ndarray | None:
        """The rows by NumPy; None where a cell may be something else than a finite number."""
        blank = re.search(r"(^|\n)[ \t]*\n", text) if self.width == 1 else not text.strip("\n")
        if blank or self.decimal == self.delimiter:
            return None
        try:
            if text.encode("ascii").translate(None, self._plain):
                return None
            lines = text.replace(",", ".") if self.decimal == "," else text
            mark = None if self.delimiter == " " else self.delimiter
            rows = np.loadtxt(lines.split("\n"), delimiter=mark, comments=None, ndmin=2)
        except ValueError:
            return None
        return rows[:, self.skipped :] if rows.shape[1] == self.width and np.isfinite(rows).all() else None

    def _cells(self, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
        """The number of each line that is neither blank nor a comment, and its cells."""
        if self.delimiter == " ":
            for i, line in enumerate(lines, 1):
                cells = re.split("[ \t]+", line.strip(" \t"))
                if self._is_row(cells if any(cells) else [], i, len(lines)):
                    yield self.line + i, cells
            return
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        try:
            for cells in reader:
                if self._is_row(cells, reader.line_num, len(lines)):
                    yield self.line + reader.line_num, cells
        except csv.Error as error:
            self._fail(
                f"cannot be split into cells at line {self.line + reader.line_num} ({error})",
                "mend its quotation marks, or pass its `delimiter`",
            )

    def _is_row(self, cells: list[str], i: int, n: int) -> bool:
        """Whether line `i` of `n` is neither blank nor a comment."""
        if not cells or (len(cells) == 1 and cells[0].isspace()):
            if self.width == 1 and i < n:  # blank lines between rows may be rows without their number
                self._fail(f"has nothing in line {self.line + i}", "fill it or leave it out")
            return False
        return not COMMENT.match(cells[0])

    def _rows(self, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
        for line, cells in self._cells(lines):
            if len(cells) != self.width:
                self._fail(
                    f"has {_count(cells, 'cell')} in line {line} and {self.width} before",
                    "fill them, or pass its `delimiter`",
                )
            yield line, cells

    def _number(self, cell: str, line: int, row: int, column: int) -> float:
        text = cell.strip()
        dotted = text.replace(",", ".") if self.decimal == "," and "." not in text else text
        if NUMBER.fullmatch(dotted) and (self.decimal == "." or "." not in text):
            value = float(dotted)
            if isfinite(value):
                return value
        name = f" ({self.names[column]!r})" if self.names and len(self.names) == self.width else ""
        self._fail(
            f"has {_short(text)} in row {self.row + row + 1}, column {column + 1}{name}, line {line}",
            self._advice(text, self.row + row, column),
        )

    def _advice(self, text: str, row: int, column: int) -> str:
        """What to do about a cell that is no finite number."""
        if text == "" and column == self.width - 1:
            return "fill in the value, or end lines without a separator"
        if text in MISSING or re.fullmatch("[-+]?(nan|inf|infinity)", text, re.IGNORECASE):
            return "leave out the row, or fill in the value"
        if len(text.split()) > 1 and all(map(NUMBER.fullmatch, text.split())):
            return "pass its `delimiter`, or write numbers without blanks"
        if NUMBER.fullmatch(text):
            return "float64 has no such number: rescale them"
        if NUMBER_LIKE.fullmatch(text):
            if self.decimal == "." and re.fullmatch(r"[-+]?\d*,\d+([eE][-+]?\d+)?", text):
                return "pass `decimal=','` if that is a decimal comma, or write it without the comma"
            return f"write it as a plain number, such as 1234{self.decimal}5"
        if column == 0:
            names = "`header=True` if the line is names, or " if row == 0 and self.names is None else ""
            return f"pass {names}`index=True` to leave the first column out"
        if row == 0 and self.names is None:
            return "pass `header=True` if the line is names, or write a number"
        return "leave out columns that are no numbers"

    def _is_names(self, head: list[list[str]], header: bool | None) -> bool:
        """Whether the first line is names: if no cell is a number, or if it counts 0..M-1."""
        if header is not None:
            return bool(header)
        first, below = [cell.strip() for cell in head[0]], head[1:]
        if len(first) > 1 and (self.index or first[0].lower() in INDEX_NAMES):
            first, below = first[1:], [cells[1:] for cells in below]
        if first == [str(i) for i in range(len(first))] and below:
            self._check_counted(len(first), below)
            return True
        if len(first) > 2 and first == [str(i + 1) for i in range(len(first))] and not _whole(below):
            self._fail("counts 1, 2, 3, ... in its first line", _HEADER)
        return not any(NUMBER_LIKE.fullmatch(cell) or cell in MISSING for cell in first)

    def _check_counted(self, n: int, below: list[list[str]]) -> None:
        """Refuse a line that counts 0..n-1 where it may be a row of the table."""
        counts_on = [cell.strip() for cell in below[0]] == [str(n + i) for i in range(n)]
        if n == 1 or counts_on or (n < 10 and _whole(below)):
            self._fail(f"counts 0..{n - 1} in its first line" if n > 1 else "has 0 in its first line", _HEADER)

    def _check_names(self) -> None:
        if self.names is None:
            return
        if len(self.names) == self.width:
            if self.index is None and self.width > 1 and self.names[0].strip().lower() in INDEX_NAMES:
                self._fail(f"has a first column called {self.names[0]!r}", _INDEX)
            return
        if len(self.names) == self.width - 1:  # as R writes the names of rows
            if self.index is None:
                self._fail(
                    f"has {self.width} cells in a row below {_count(self.names, 'name')}",
                    "pass `index=True` if the first cell of each row is its name",
                )
            if self.index:
                self.names = ["", *self.names]
                return
        self._fail(f"has {_count(self.names, 'name')} above {self.width} cells", "mend them, or pass its `delimiter`")

    def _fail(self, what: str, advice: str) -> NoReturn:
        raise ValueError(
            f"`inputs` must be a table of numbers, one input a line, but {self.path!r} {what}; {advice}."
        )


_INDEX = "pass `index=True` to leave it out, or `index=False` to keep it"
_HEADER = "pass `header=True` if these are names, `header=False` if they are numbers"


def _whole(rows: list[list[str]]) -> bool:
    """Whether a cell is written as a whole number, without a point."""
    return any(cell.strip().lstrip("+-").isdigit() for cells in rows for cell in cells)


def _delimiter(line: str, decimal: str) -> str:
    """What separates the cells of a line."""
    # Decimal commas between commas are quoted.
    marks = "\t;|" if decimal == "," and '"' not in line else "\t;|,"
    return next((mark for mark in marks if mark in line), " " if " " in line.strip() else marks[-1])


def _count(things: list[str], what: str) -> str:
    return f"{len(things)} {what}{'s' * (len(things) != 1)}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
