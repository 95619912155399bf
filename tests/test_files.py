"""Data files: the same numbers come back, or a sentence says what is wrong and what to do."""

import bz2
import csv
import gzip
import io
import lzma
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mfdnn import cli
from mfdnn._support import memory, tables
from mfdnn.datasets import load_inputs

X = np.array([[0.25, -1.5, 3e-7], [1e22, 0.1, -0.0], [2.5, 5e-324, 1.7976931348623157e308]])
ROWS = [",".join(map(repr, row)) for row in X.tolist()]
BODY = "\n".join(ROWS) + "\n"
QUOTED = "".join('"' + row.replace(",", '","') + '"\n' for row in ROWS)
INDEXED = "".join(f"{i},{row}\n" for i, row in enumerate(ROWS))


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, **options):
    """The sentence with which a file is refused."""
    with pytest.raises((ValueError, TypeError, MemoryError)) as caught:
        load_inputs(path, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence and "`" in sentence and sentence.endswith(".")
    assert "codec" not in sentence and "pickle" not in sentence
    return sentence


# -- tables as NumPy and pandas write them ---------------------------------------------------------------------


def by_numpy(table, fmt, delimiter, header, newline):
    file = io.StringIO()
    names = delimiter.join(f"x{i}" for i in range(table.shape[1])) if header else ""
    np.savetxt(file, table, fmt, delimiter, newline, names, comments="" if header == "bare" else "# ")
    return file.getvalue()


def by_pandas(table, sep, decimal, names, index, quoting, missing):
    """`DataFrame.to_csv`, whose csv writer is the standard library's."""
    file = io.StringIO(newline="")
    out = csv.writer(file, delimiter=sep, quoting=quoting, lineterminator="\n")
    if names is not None:
        out.writerow([""] * index + names)
    for i, row in enumerate(table.tolist()):
        cells = [missing if np.isnan(x) else repr(x).replace(".", decimal) for x in row]
        out.writerow([i] * index + cells)
    return file.getvalue()


@st.composite
def matrices(draw, missing=False):
    """Small ones, in which zeros, ones and whole numbers are frequent."""
    floats = st.floats(allow_nan=False, allow_infinity=False)
    numbers = st.one_of(st.integers(-1, 4).map(float), floats, *[st.just(np.nan)] * missing)
    return draw(arrays(float, array_shapes(min_dims=2, max_dims=2, max_side=4), elements=numbers))


def same_or_refused(path, table, **options):
    try:
        found = load_inputs(path, **options)
    except ValueError:
        return
    assert found.shape == table.shape
    assert found.tobytes() == table.tobytes()


@given(
    matrices(),
    st.sampled_from(["%.18e", "%.17g", "%30.17g"]),
    st.sampled_from(",;\t |"),
    st.sampled_from(["", "comment", "bare"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([".csv", ".tsv", ".txt", ".txt.gz"]),
)
@example(np.array([[0.0], [0.5]]), "%.17g", ",", "", "\n", ".csv")
@example(np.arange(12.0).reshape(4, 3), "%.17g", ",", "", "\n", ".csv")
@example(np.arange(40.0).reshape(4, 10), "%.17g", ",", "", "\n", ".csv")
def test_tables_by_numpy_come_back_or_are_refused(
    tmp_path_factory, table, fmt, delimiter, header, newline, suffix
):
    text = by_numpy(table, fmt, delimiter, header, newline).encode()
    path = written(
        tmp_path_factory.getbasetemp(), "numpy" + suffix, gzip.compress(text, mtime=0) if "gz" in suffix else text
    )
    counts = fmt != "%.18e" and table.shape[1] > 1 and np.array_equal(table[0], np.arange(table.shape[1]))
    if not counts or np.any(table[1:] % 1 == 0):  # else names by the rule: "0,1" above "0.5,0.25"
        same_or_refused(path, table)
    if header != "bare":
        same_or_refused(path, table, header=False)
    if fmt == "%.18e" and header != "bare":  # no number is written as one that counts
        assert load_inputs(path, header=False, index=False).tobytes() == table.tobytes()


@given(
    matrices(missing=True),
    st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", ","), ("\t", "."), (",", ",")]),
    st.sampled_from(["none", "letters", "counts", "odd"]),
    st.integers(0, 1),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["", "NA", "nan", "-"]),
)
def test_tables_by_pandas_come_back_or_are_refused(
    tmp_path_factory, table, marks, names, index, quoting, missing
):
    width = table.shape[1]
    known = {
        "none": None,
        "letters": [f"x {i}" for i in range(width)],
        "counts": [str(i) for i in range(width)],
        "odd": ["1st", "größe", "a,b", 'say "x"'][:width],
    }[names]
    index = index if known is not None or len(table) > 1 else 0  # else nothing tells it from a number
    text = by_pandas(table, *marks, known, index, quoting, missing)
    path = written(tmp_path_factory.getbasetemp(), "pandas.csv", text)
    for options in ({}, {"decimal": marks[1]}, {"delimiter": marks[0]}):
        single = "," in text and width + index == 1 and marks[1] == ","  # decimal commas, or two cells
        if not (single and options.get("decimal") != ","):
            same_or_refused(path, table, **options)
    told = {"decimal": marks[1], "header": known is not None, "index": bool(index)}
    if not np.isnan(table).any() and width + index > 1 and marks != (",", ","):
        assert load_inputs(path, **told).tobytes() == table.tobytes()


NUMBERS = ["<f8", ">f8", "<f4", "<f2", "<i8", "<i4", ">u2", "|i1", "|u1"]


@given(st.data(), st.sampled_from(NUMBERS), st.booleans(), st.sampled_from([".npy", ".npz"]))
def test_arrays_come_back_or_are_refused(tmp_path_factory, data, dtype, fortran, suffix):
    table = data.draw(arrays(np.dtype(dtype), array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3)))
    path = tmp_path_factory.getbasetemp() / ("array" + suffix)
    (np.save if suffix == ".npy" else np.savez)(path, np.asfortranarray(table) if fortran else table)
    exact = table.dtype.kind == "f" or table.size == 0 or max(abs(int(x)) for x in table.flat) <= 2**53
    if table.ndim == 2 and table.size and np.isfinite(table).all() and exact:
        found = load_inputs(path)
        assert found.dtype == np.float64 and found.shape == table.shape
        assert found.astype(dtype).tobytes() == table.tobytes()
    else:
        refused(path)


# -- what is refused, and what one is told ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (",2.5,3.5\n" + BODY, ["'' in row 1, column 1, line 1", "leave out the row"]),
        ("NA,2.5,3.5\n" + BODY, ["'NA' in row 1, column 1", "leave out the row"]),
        ("a,b,c\n" + BODY + "nan,1.5,2.5\n", ["'nan' in row 4, column 1 ('a'), line 5", "fill in"]),
        (BODY + "1.5,1e999,2\n", ["'1e999' in row 4, column 2", "rescale"]),
        ("1" * 100_000 + "x,2\n" + BODY, ["...' in row 1, column 1"]),  # in no time
        ("1" + " " * 100_000 + "x,2\n" + BODY, ["...' in row 1, column 1"]),
        ('"1,234.5",2.5,3.5\n' + BODY, ["'1,234.5' in row 1, column 1", "a plain number, such as 1234.5"]),
        ('"1,234.5","1,000","$3"\n' + BODY, ["'1,234.5' in row 1, column 1"]),
        ("x,2.5,3.5\n" + BODY, ["'x' in row 1, column 1", "`header=True`", "`index=True`"]),
        ("1.5,2.5,x\n" + BODY, ["'x' in row 1, column 3", "`header=True`"]),
        ("NA,-,\n" + BODY, ["'NA' in row 1, column 1"]),
        ("a,b,c\n" + BODY + "1,2,Iris\n", ["'Iris' in row 4, column 3 ('c'), line 5", "leave out columns"]),
        ("#N/A,1.5,2.5\n" + BODY, ["'#N/A' in row 1, column 1"]),
        ("1.5,2.5,\n3.5,4.5,\n", ["'' in row 1, column 3", "end lines without a separator"]),
        ("1_000,2,3\n" + BODY, ["'1_000' in row 1"]),
        ("0x10,2,3\n" + BODY, ["'0x10' in row 1"]),
        ("\uff11,2,3\n" + BODY, ["'\uff11' in row 1"]),
        ("True,0.5,0.5\n" + BODY, ["'True' in row 1"]),
        ("(1+2j),0.5\n(1+2j),0.5\n", ["'(1+2j)' in row 1"]),
        ("1.5,2.5\n3.5\n", ["1 cell in line 2 and 2 before"]),
        ("a,b\n" + BODY, ["3 cells in a row below 2 names", "`index=True`"]),
        ("a\n" + BODY, ["1 name above 3 cells"]),
        ("0.5\n\n0.25\n", ["nothing in line 2"]),
        ("0\n0.5\n", ["has 0 in its first line", "`header=True`", "`header=False`"]),
        ("0,1\n3,4\n", ["counts 0..1 in its first line", "`header=False`"]),
        ("1,2,3\n" + "0.5,0.5,0.5\n", ["counts 1, 2, 3, ... in its first line"]),
        (",a,b,c\n" + INDEXED, ["a first column called ''", "`index=True`", "`index=False`"]),
        ("id,a,b,c\n" + INDEXED, ["a first column called 'id'"]),
        (",0,1,2\n" + INDEXED, ["a first column called ''"]),
        (INDEXED, ["a first column that numbers the rows"]),
        ("2,0.5\n0,0.5\n1,0.5\n", ["a first column that numbers the rows"]),  # shuffled
        ("a,b,c\n" + INDEXED, ["4 cells in a row below 3 names", "`index=True`"]),  # of R
        (BODY.replace(",", ";").replace(".", ","), ["'0,25' in row 1, column 1", "`decimal=','`"]),
        ("1.5 2.5,3.5 4.5\n" * 2, ["'1.5 2.5' in row 1, column 1", "pass its `delimiter`"]),
        ("1\xa0234 5\n" * 2, ["'1\\xa0234' in row 1, column 1"]),
        ('"1.5,2.5\n' * 3, ["cannot be split into cells at line", "quotation marks"]),
        ("", ["no line of them; fill it"]),
        ("a,b\n", ["no line of them; fill it"]),
    ],
)
def test_tables_that_could_be_misread_are_refused(text, words, tmp_path):
    sentence = refused(written(tmp_path, "x.csv", text))
    assert "x.csv" in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("x.csv", "0,1,2\n" + BODY, {}),
        ("x.csv", "1st,b,c\n" + BODY, {}),
        ("x.csv", '"1x1","a,b",c\n' + BODY, {}),
        ("x.csv", '"two\nlines",b,c\n' + BODY, {}),
        ("x.csv", "# measured\n\na,b,c\n" + BODY + "# end\n\n", {}),
        ("x.csv", "1,x,3\n" + BODY, {"header": True}),
        ("x.csv", "0,1,2\n" + BODY, {"header": True}),
        ("x.csv", INDEXED, {"index": True}),
        ("x.csv", ",0,1,2\n" + INDEXED, {"index": True}),
        ("x.csv", "a,b,c\n" + INDEXED, {"index": True}),
        ("x.csv", "name,0,1,2\n" + INDEXED, {"index": True}),
        ("x.csv", "name,a,b,c\n" + INDEXED, {"index": True}),
        ("x.csv", "".join(f"r{i},{row}\n" for i, row in enumerate(ROWS)), {"index": True}),
        ("x.csv", BODY.replace(",", ";"), {}),
        ("x.csv", BODY.replace(",", " ; "), {}),
        ("x.csv", BODY.replace(",", "|"), {}),
        ("x.csv", BODY.replace(",", "\t"), {}),
        ("x.csv", BODY.replace(",", ":"), {"delimiter": ":"}),
        ("x.tsv", BODY.replace(",", "\t"), {}),
        ("x.txt", BODY.replace(",", "   "), {}),
        ("x.TXT", BODY.replace(",", " \t"), {"delimiter": " "}),
        ("x.csv", BODY.replace(",", ";").replace(".", ","), {"decimal": ","}),
        ("x.csv", QUOTED.replace(".", ","), {"decimal": ","}),
        ("x.csv", QUOTED, {}),
        ("x.csv", BODY.replace("\n", "\r\n"), {}),
        ("x.csv", "\ufeff" + BODY, {}),
        ("x.csv", "\ufeffa,b,c\n" + BODY, {"encoding": "utf-8"}),
        ("x.csv", ("größe,b,c\n" + BODY).encode("utf-16"), {}),
        ("x.csv", ("größe,b,c\n" + BODY).encode("utf-16-le"), {"encoding": "utf-16-le"}),
        ("x.csv", ("größe,b,c\n" + BODY).encode("latin-1"), {"encoding": "latin-1"}),
        ("x.csv.gz", gzip.compress(BODY.encode(), mtime=0), {}),
        ("x.tsv.bz2", bz2.compress(BODY.replace(",", "\t").encode()), {}),
        ("x.txt.xz", lzma.compress(BODY.encode()), {}),
    ],
)
def test_tables_that_can_be_read_in_one_way_are(name, text, options, tmp_path):
    found = load_inputs(written(tmp_path, name, text), **options)
    assert found.dtype == np.float64 and found.tobytes() == X.tobytes()


def test_a_first_column_that_counts_is_kept_if_asked(tmp_path):
    assert load_inputs(written(tmp_path, "x.csv", INDEXED), index=False).shape == (3, 4)
    assert load_inputs(written(tmp_path, "x.csv", "0,1\n3,4\n"), header=False).tolist() == [[0, 1], [3, 4]]


def saved_twice():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("X.npy", as_npy(X))
        archive.writestr("X", as_npy(-X))
    return file.getvalue()


def saved(**settings):
    file = io.BytesIO()
    np.savez(file, **settings)
    return file.getvalue()


def as_npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def declared(shape, body=b"", descr="<f8"):
    """An .npy file whose header declares that shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + body


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", ("größe,b,c\n" + BODY).encode("latin-1"), ["none in utf-8", "`encoding`", "'latin-1'"]),
        ("x.csv", BODY.encode("utf-16-le"), ["binary", "'utf-16-le'"]),
        ("x.csv", bytes(range(256)) * 4, ["binary"]),
        ("x.csv", as_npy(X), ["an array of NumPy; name it .npy"]),
        ("x.csv", saved(X=X), ["a zip archive"]),
        ("x.csv", gzip.compress(BODY.encode(), mtime=0), ["compressed; name it .gz"]),
        ("x.csv.gz", BODY.encode(), ["cannot be read to its end"]),
        ("x.csv.gz", gzip.compress(BODY.encode(), mtime=0)[:-9], ["cannot be read to its end"]),
        ("x.csv.bz2", b"BZh9" + b"x" * 40, ["cannot be read to its end"]),
        ("x.csv.xz", b"", ["cannot be read to its end"]),
        ("x.pt", saved(X=X), ["another suffix"]),
        ("x", BODY.encode(), ["another suffix"]),
        ("x.npy", BODY.encode(), ["must be a .npy file of numbers"]),
        ("x.npy", b"\x80\x04K\x01.", ["must be a .npy file of numbers"]),
        ("x.npy", as_npy(X)[:-1], ["none that is whole"]),
        ("x.npy", as_npy(X) + b"0", ["none that is whole"]),
        ("x.npy", b"\x93NUMPY\x01\x00\xf0\x00" + b"(" * 0xF0, ["none that is whole"]),
        ("x.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{", ["none that is whole"]),
        ("x.npy", declared((-1, 3)), ["none that is whole"]),
        ("x.npz", BODY.encode(), ["must be a .npz file of numbers"]),
        ("x.npz", saved(X=X)[:-5], ["none that is whole"]),
        ("x.npz", saved(), ["an archive of none"]),
        ("x.npz", saved_twice(), ["none that is whole"]),
        ("x.npz", saved(X=X, data=X), ["an archive of X, data", "`array`"]),
        ("x.npz", saved(a=X, b=X), ["an archive of a, b"]),
        ("x.npy", as_npy(X > 0), ["holds bool"]),
        ("x.npy", as_npy(np.zeros((2, 2), "M8[s]")), ["holds datetime64[s]"]),
        ("x.npy", as_npy(np.zeros((2, 2), "m8[s]")), ["holds timedelta64[s]"]),
        ("x.npy", as_npy(np.zeros((2, 2), [("a", float)])), ["holds records"]),
        ("x.npz", saved(X=X.astype(str)), ["holds <U"]),
        ("x.npz", saved(X=X + 0j), ["holds complex128"]),
        ("x.npy", as_npy(X.astype(object)), ["holds objects"]),
        ("x.npy", as_npy(np.full((2, 2), 2**53 + 1)), ["integers beyond 2**53"]),
        ("x.npy", as_npy(np.array([[-(2**63)]])), ["integers beyond 2**53"]),
        ("x.npy", as_npy(X[:0]), ["shape (0, 3)"]),
    ],
)
def test_other_files_are_told_in_a_sentence(name, content, words, tmp_path):
    sentence = refused(written(tmp_path, name, content))
    assert name in sentence
    for word in words:
        assert word in sentence


def test_the_array_of_an_archive_is_chosen_by_name(tmp_path):
    path = written(tmp_path, "x.npz", saved(X=X, data=-X))
    assert np.array_equal(load_inputs(path, array="data"), -X)
    assert "one of X, data" in refused(path, array="y")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("x.csv", {"delimiter": "ab"}, "`delimiter` must be one character"),
        ("x.csv", {"delimiter": "5"}, "`delimiter` cannot be '5'"),
        ("x.csv", {"decimal": "x"}, "`decimal` must be one of"),
        ("x.csv", {"delimiter": ",", "decimal": ","}, "must differ"),
        ("x.csv", {"encoding": "hex"}, "`encoding` must be a text encoding"),
        ("x.csv", {"encoding": 8}, "`encoding` must be a text encoding"),
        ("x.csv", {"header": 0}, "`header` must be True, False or None"),
        ("x.csv", {"index": "id"}, "`index` must be True, False or None"),
        ("x.csv", {"array": "X"}, "`array` names an array of an .npz file"),
        ("x.npy", {"header": False}, "`header` and `index` describe text"),
        ("gaussian", {"decimal": ","}, "describe files"),
        ("digits", {"array": "X"}, "describe files"),
    ],
)
def test_options_are_checked(name, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "x.csv", BODY)
    np.save("x.npy", X)
    assert words in refused(name, n_features=3, **options)


def test_what_is_no_path_is_refused():
    with pytest.raises(TypeError, match="`spec` must be a name or a path, not ndarray"):
        load_inputs(X)


# -- large files -----------------------------------------------------------------------------------------------


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes of memory seem to be free."""
    return lambda n_bytes: monkeypatch.setattr(memory, "available_memory", lambda: n_bytes)


def bomb():
    """An archive of one member of 16 MB of zeros, in 16 kB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", declared((1000, 2000), bytes(16 * 10**6)))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.npy", lambda: declared((10**13, 1))),
        ("x.npz", bomb),
        ("x.csv", lambda: b"0,1,0,1,0,1\n" * 10**5),
        ("x.csv.gz", lambda: gzip.compress(b"0,1,0,1,0,1\n" * 10**5, mtime=0)),
    ],
)
def test_memory_is_predicted_before_it_is_taken(name, content, tmp_path, free, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 2**15)
    path = written(tmp_path, name, content())
    free(1e6)
    tracemalloc.start()
    try:
        assert "are free" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6 + 1e6  # and what a block of lines takes
    finally:
        tracemalloc.stop()


def test_a_table_takes_little_more_than_its_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 2**15)
    path = written(tmp_path, "x.csv", b"0.5,1,0,1,0,1,0,1\n" * 50_000)
    tracemalloc.start()
    try:
        found = load_inputs(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.shape == (50_000, 8)
    assert peak < 1.1 * found.nbytes + 1e6  # the estimate's margin, and a block of lines


def test_only_the_rows_that_are_asked_for_are_read(tmp_path, free, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 2**15)
    path = written(tmp_path, "x.csv", b"0.5,1,0,1,0,1,0,1\n" * 50_000 + b"end\n")
    free(1e6)
    assert load_inputs(path, 10).shape == (10, 8)


def test_lines_without_an_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 2**10)
    monkeypatch.setattr(tables, "LONGEST_LINE", 3 * 2**12)
    sentence = refused(written(tmp_path, "x.csv.gz", gzip.compress(b"1" * 10**6, mtime=0)))
    assert "a line of more than 4096 characters" in sentence


@pytest.mark.parametrize("block", [50, 64, 100])
def test_blocks_end_where_lines_do(block, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", block)
    rows = "\n".join(["", "# of a grid", BODY.strip(), "", '"0.5",1,2', "0.5,1,2", "", ""] * 3)
    found = load_inputs(written(tmp_path, "x.csv", "a,b,c\n" + rows))
    assert np.array_equal(found, np.tile(np.vstack([X, [[0.5, 1, 2]] * 2]), (3, 1)))
    sentence = refused(written(tmp_path, "y.csv", "a,b,c\n" + rows + "\n1,2,x\n"))
    assert "'x' in row 16, column 3 ('c'), line 32" in sentence
    assert "nothing in line 5" in refused(written(tmp_path, "z.csv", "a\n1\n2\n3\n\n4\n"))


# -- the command line ------------------------------------------------------------------------------------------


def test_the_command_line_has_the_options_and_speaks_of_them(tmp_path, capsys):
    indexed = str(written(tmp_path, "x.csv", INDEXED.replace(",", ";").replace(".", ",")))
    np.savez(tmp_path / "x.npz", X=X, Z=X / 1e300)
    small = np.array([[0.5, 1.5], [2.5, -1.0]])
    good = str(written(tmp_path, "y.csv", "größe;b\n0,5;1,5\n2,5;-1,0\n".encode("latin-1")))
    told = ["--delimiter", ";", "--decimal", ",", "--encoding", "latin-1", "--header", "--no-index"]
    assert cli.main(["fisher", "2-5-1", "--data", good, *told]) == 0
    out = capsys.readouterr().out
    np.save(tmp_path / "y.npy", small)
    assert cli.main(["fisher", "2-5-1", "--data", str(tmp_path / "y.npy")]) == 0
    assert capsys.readouterr().out == out
    for argv, words in [
        ([indexed], ["`--data`", "`--decimal ,`"]),
        ([indexed, "--decimal", ","], ["`--data`", "`--index`", "`--no-index`"]),
        ([good], ["`--data`", "`--encoding`"]),
        ([str(tmp_path / "x.npz"), "--array", "Y"], ["`--array` must be one of X, Z"]),
        ([good, "--delimiter", "ab"], ["`--delimiter` must be one character"]),
        (["gaussian", "--header"], ["`--header`", "--data"]),
    ]:
        assert cli.main(["fisher", "2-5-1", "--data", *argv]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        for word in words:
            assert word in err
