"""A page as its bytes pass: in pieces of any size it is read as the csv module and gzip would read it whole."""

import csv
import gzip
import io
import random
from array import array
from collections.abc import Sequence

import pytest

from evdata.pages import LONGEST_LINE_START, HeaderError, Inflater, PageError, RowReader, inflate
from evdata.row_ids import DistinctIds

HEADINGS = [(":id", ":id"), ("make", "Make"), ("city", "City")]
HEADER = b'":id","make","city"\n'


def read(content: bytes, *, piece: int | None = None, headings: Sequence[tuple[str, ...]] = HEADINGS) -> RowReader:
    reader = RowReader(headings)
    size = piece or max(len(content), 1)
    for start in range(0, len(content), size):
        reader.feed(content[start : start + size])
    reader.finish()
    return reader


def hashes(*ids: bytes) -> "array[int]":
    return array("q", map(hash, ids))


VALUES = ["Kia", "", 'a "quoted" one', "two\nlines", "a,comma", '"', '""', "\n", '\n"', '",\n"', "Doña Ana", "end\r\n"]


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("seed", range(6))
def test_rows_and_ids_are_those_of_the_csv_module_in_pieces_of_any_size(quoting: int, line_end: str, seed: int) -> None:
    chance = random.Random(seed)
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator=line_end)  # type: ignore[arg-type]
    writer.writerow([":id", "make", "city"])
    ids = [f"row-{number:x}" for number in range(30)]
    for row_id in ids:
        writer.writerow([row_id, chance.choice(VALUES), chance.choice(VALUES)])
    content = text.getvalue().encode()
    expected = hashes(*(row_id.encode() for row_id in ids))
    for piece in (1, 2, 3, 7, 64, len(content)):
        reader = read(content, piece=piece)
        assert (reader.rows, reader.ids) == (30, expected), f"in pieces of {piece} bytes"


@pytest.mark.parametrize("value", ["Kia\n", "\n", '"\n', "Kia\r\n"])
@pytest.mark.parametrize("last", [False, True])
def test_a_value_that_ends_with_a_line_break_does_not_begin_a_row(value: str, last: bool) -> None:
    """Its closing quote is the first character of a line, as a row's opening quote is."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    row = ["row-1", "Kent", value] if last else ["row-1", value, "Kent"]
    writer.writerows([[":id", "make", "city"], row, ["row-2", "Kia", "Kent"]])
    reader = read(text.getvalue().encode())
    assert (reader.rows, reader.ids) == (2, hashes(b"row-1", b"row-2"))


@pytest.mark.parametrize("over", [-2, -1, 0, 1, 2, 3])
@pytest.mark.parametrize("quotes", [0, 1, 2, 3])
@pytest.mark.parametrize("piece", [4096, LONGEST_LINE_START - 1, LONGEST_LINE_START + 1, None])
def test_quotes_beyond_the_part_of_a_long_line_that_is_kept_still_count(
    over: int, quotes: int, piece: int | None
) -> None:
    long = "x" * (LONGEST_LINE_START - len('"row-1","') + over) + '"' * quotes + "\nthe second line"
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([[":id", "make", "city"], ["row-1", long, "Kent"], ["row-2", "Kia", "Kent"]])
    reader = read(text.getvalue().encode(), piece=piece)
    assert (reader.rows, reader.ids) == (2, hashes(b"row-1", b"row-2"))


@pytest.mark.parametrize("quotes", [0, 1, 2, 3])
@pytest.mark.parametrize("tail", ["", "\nthe second line", "\n"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
@pytest.mark.parametrize("piece", [10_000, LONGEST_LINE_START + 7, 3 * LONGEST_LINE_START])
def test_lines_many_times_as_long_as_what_is_kept_are_rows_like_others(
    quotes: int, tail: str, quoting: int, piece: int
) -> None:
    long = "x" * (2 * LONGEST_LINE_START) + '"' * quotes + "y" * LONGEST_LINE_START + tail
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator="\n")  # type: ignore[arg-type]
    rows = [["row-1", long, "Kent"], ["row-2", "Kia", long], ["row-3", "Kia", "Kent"], ["row-4", "two\nlines", "Kent"]]
    writer.writerows([[":id", "make", "city"], *rows])
    reader = read(text.getvalue().encode(), piece=piece)
    assert (reader.rows, reader.ids) == (4, hashes(b"row-1", b"row-2", b"row-3", b"row-4"))


def test_a_quote_beyond_what_is_kept_of_one_line_does_not_count_for_the_next() -> None:
    reader = RowReader(HEADINGS)
    pieces = [b'"row-1","' + b"x" * LONGEST_LINE_START + b'"', b',"Kent"\n', b'"row-2","two\n', b'lines","Kent"\n']
    for piece in (HEADER, *pieces, b'"row-3","Kia","Kent"\n'):
        reader.feed(piece)
    reader.finish()
    assert (reader.rows, reader.ids) == (3, hashes(b"row-1", b"row-2", b"row-3"))


def test_a_quote_beyond_what_is_kept_of_a_line_counts_for_whether_its_last_value_goes_on() -> None:
    reader = RowReader(HEADINGS)
    for piece in (HEADER, b'"row-1","' + b"x" * LONGEST_LINE_START + b'"', b',"two\n', b'lines"\n'):
        reader.feed(piece)
    reader.finish()
    assert (reader.rows, reader.ids) == (1, hashes(b"row-1"))


def test_no_more_of_an_unfinished_line_is_kept_than_a_header_may_need() -> None:
    reader = RowReader(HEADINGS)
    reader.feed(HEADER + b'"row-1","')
    for _ in range(40):
        reader.feed(b"x" * 10_000)
        assert len(reader._start) <= LONGEST_LINE_START
    reader.feed(b'","Kent"\n')
    reader.finish()
    assert reader.rows == 1


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b'"","Kia","Kent"\n', 1),
        (b'"a","Kia","Kent"\n"","Kia","Kent"\n', 2),
        (b"a,Kia,Kent\n,Kia,Kent\nc,Kia,Kent\n", 2),
        (b'"a","two\nlines","Kent"\n"","Kia","Kent"\n', 2),
        (b'"a","Kia","Kent"\n\n', 2),
    ],
)
@pytest.mark.parametrize("piece", [1, None])
def test_a_row_without_an_id_is_named_by_its_number(content: bytes, row: int, piece: int | None) -> None:
    with pytest.raises(PageError, match=rf"^row {row} without :id$"):
        read(HEADER + content, piece=piece)


@pytest.mark.parametrize(
    ("content", "row"), [(b'"a"', 1), (b'"a","Kia","Kent"\n"b"', 2), (b'"a","Kia\n', 2), (b'"a","Kia","Kent"\n"', 2)]
)
def test_a_page_that_ends_within_a_row_is_cut(content: bytes, row: int) -> None:
    with pytest.raises(PageError, match=rf"^a page cut within row {row}$"):
        read(HEADER + content)


def test_a_header_alone_is_a_page_of_no_rows() -> None:
    for piece in (1, None):
        assert read(HEADER, piece=piece).rows == 0


@pytest.mark.parametrize(
    "header", [b":id,make,city\n", b":id,Make,City\n", b":id,make,City\r\n", b"\xef\xbb\xbf:id,make,city\n"]
)
def test_a_header_may_have_field_names_or_display_names(header: bytes) -> None:
    assert read(header + b"a,Kia,Kent\n").rows == 1


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b":id,make\n", "a header that lacks city"),
        (b":id\n", "a header that lacks make, city"),
        (b":id,make,city,color\n", "a header that has 'color' besides"),
        (b":id,make,color,size\n", "a header that lacks city and has 'color', 'size' besides"),
        (b":id,city,make\n", "a header that has the columns in another order, or one twice"),
        (b":id,make,city,city\n", "a header that has the columns in another order, or one twice"),
        (b"\xff\n", "a header that lacks :id, make, city"),
        (b"\n", "a header that lacks :id, make, city"),
    ],
)
def test_a_header_that_differs_from_the_selection_is_told_apart_and_shown(header: bytes, said: str) -> None:
    with pytest.raises(HeaderError) as raised:
        read(header + b"a,Kia,Kent\n")
    assert str(raised.value) == said
    assert raised.value.beginning.startswith(header.rstrip(b"\n"))


def test_what_is_shown_of_a_strange_header_has_an_end() -> None:
    with pytest.raises(HeaderError) as raised:
        read(b":id,make,city," + b"x" * 500 + b"\n")
    assert str(raised.value) == f"a header that has '{'x' * 199} besides"


def test_nothing_and_a_header_that_never_ends_are_told_apart() -> None:
    with pytest.raises(HeaderError, match=r"^nothing$") as raised:
        read(b"")
    assert raised.value.beginning == b""
    with pytest.raises(HeaderError, match=r"^no header line$") as raised:
        read(b"{not a page")
    assert raised.value.beginning == b"{not a page"


MEMBERS = gzip.compress(b"one,") + b"\0\0" + gzip.compress(b"two") + b"\0" * 5


@pytest.mark.parametrize("piece", [1, 2, 5, 11, 1000])
def test_gzip_of_several_members_and_zero_bytes_is_read_in_pieces_of_any_size(piece: int) -> None:
    inflater = Inflater()
    assert not inflater.whole, "nothing has come"
    inflated = b"".join(inflater.feed(MEMBERS[start : start + piece]) for start in range(0, len(MEMBERS), piece))
    assert (inflated, inflater.whole) == (b"one,two", True)


def test_gzip_is_whole_only_with_its_trailer() -> None:
    content = gzip.compress(b"one")
    for cut in range(len(content)):
        with pytest.raises(PageError, match=r"^a gzip stream that ends early$"):
            inflate(content[:cut])
    assert inflate(content) == b"one"


@pytest.mark.parametrize("content", [b"plain text", gzip.compress(b"one") + b"<html>", b"\0" + gzip.compress(b"one")])
def test_what_is_not_gzip_is_a_broken_stream(content: bytes) -> None:
    with pytest.raises(PageError, match=r"^a broken gzip stream \(.+\)$"):
        inflate(content)


def test_a_bucket_holds_its_share_of_the_ids_so_that_counting_needs_little_memory() -> None:
    chance = random.Random(1)
    ids = DistinctIds()
    ids.add(array("q", [chance.randrange(-(1 << 63), 1 << 63) for _ in range(51_200)]))
    sizes = [len(bucket) for bucket in ids._buckets]
    assert len(sizes) == 256
    assert min(sizes) > 100
    assert max(sizes) < 300
