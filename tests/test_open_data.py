"""The Socrata stand-in answers as SOCRATA's own documentation and recorded answers say, well and badly."""

import csv
import gzip
import http.client
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from local.errors import LocalError
from local.misbehaviour import (
    CapsLimit,
    CutsBody,
    CutsChunks,
    CutsUnframed,
    DropsLastRows,
    HangsUp,
    HtmlPage,
    Republishes,
    Says,
    Sometimes,
    StaleReplica,
    Stalls,
    refuses_soda2,
)
from local.open_data import OpenData
from local.snapshot import DATASET_ID, SAMPLE, SAMPLE_UPDATED_AT, Snapshot

type Start = Callable[..., OpenData]

ROWS: list[dict[str, str | None]] = [
    {
        "VIN (1-10)": f"VIN{number:07d}",
        "Postal Code": "98103",
        "Electric Range": str(number) if number % 2 else "0",
        "DOL Vehicle ID": str(1000 + number),
        "Vehicle Location": "POINT (-122.34301 47.659185)" if number else None,
        "Electric Utility": 'A "B", C|D' if number == 0 else None,
        "2020 Census Tract": "53033004800",
    }
    for number in range(30)
]
FIELDS = "vin_1_10,zip_code,electric_range,dol_vehicle_id,geocoded_column,electric_utility,_2020_census_tract"


def rows_of(source: OpenData, form: str = "csv", **query: object) -> requests.Response:
    params = {f"${name}": str(value) for name, value in query.items()}
    return requests.get(f"{source.url}/resource/{DATASET_ID}.{form}", params=params, timeout=10)


def table(answer: requests.Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.reader(io.StringIO(answer.text)))


def raw(source: OpenData, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(str(urlsplit(source.url).netloc), timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


# A portal in good health


def test_the_metadata_names_every_column_three_ways_and_the_hidden_ones_too(open_data: Start) -> None:
    source = open_data(ROWS, rows_updated_at=1_700_000_000)
    view = requests.get(f"{source.url}/api/views/{DATASET_ID}.json", timeout=10).json()
    assert view["rowsUpdatedAt"] == 1_700_000_000
    assert view["licenseId"] == "ODBL"
    assert view["attribution"] == "Washington State Department of Licensing"
    columns = {column["name"]: (column["fieldName"], column["dataTypeName"]) for column in view["columns"]}
    assert columns["VIN (1-10)"] == ("vin_1_10", "text")
    assert columns["Postal Code"] == ("zip_code", "text")
    assert columns["Electric Range"] == ("electric_range", "number")
    assert columns["Vehicle Location"] == ("geocoded_column", "point")
    assert columns["2020 Census Tract"] == ("_2020_census_tract", "text")
    assert columns["Counties"] == (":@computed_region_x4ys_rtnd", "number")


def test_the_sample_has_the_field_names_of_the_real_dataset(open_data: Start) -> None:
    view = requests.get(f"{open_data().url}/api/views/{DATASET_ID}.json", timeout=10).json()
    assert [column["fieldName"] for column in view["columns"] if "flags" not in column] == [
        "vin_1_10",
        "county",
        "city",
        "state",
        "zip_code",
        "model_year",
        "make",
        "model",
        "ev_type",
        "cafv_type",
        "electric_range",
        "base_msrp",
        "legislative_district",
        "dol_vehicle_id",
        "geocoded_column",
        "electric_utility",
        "_2020_census_tract",
    ]


def test_the_count_is_a_string(open_data: Start) -> None:
    source = open_data(ROWS)
    assert rows_of(source, "json", select="count(*)").json() == [{"count": "30"}]
    assert rows_of(source, "json", select="count(*) as n").json() == [{"n": "30"}]


def test_csv_is_headed_by_field_names_and_quotes_every_value(open_data: Start) -> None:
    answer = rows_of(open_data(ROWS), select=FIELDS, order=":id", limit=1)
    assert answer.text.splitlines()[0] == ",".join(f'"{field}"' for field in FIELDS.split(","))
    assert answer.text.splitlines()[1] == ('"VIN0000000","98103","0","1000","","A ""B"", C|D","53033004800"'), (
        "a null is an empty value and a quote within one is doubled"
    )
    assert answer.headers["Content-Type"] == "text/csv;charset=utf-8"


def test_select_chooses_and_orders_the_columns(open_data: Start) -> None:
    answer = rows_of(open_data(ROWS), select="dol_vehicle_id, zip_code", order=":id", limit=2)
    assert table(answer) == [["dol_vehicle_id", "zip_code"], ["1000", "98103"], ["1001", "98103"]]


def test_json_leaves_nulls_out_and_gives_numbers_as_strings_and_points_as_geojson(open_data: Start) -> None:
    first, second = rows_of(open_data(ROWS), "json", select=FIELDS, order=":id", limit=2).json()
    assert "geocoded_column" not in first
    assert second["electric_range"] == "1"
    assert second["geocoded_column"] == {"type": "Point", "coordinates": [-122.34301, 47.659185]}


def test_a_page_holds_a_thousand_rows_unless_told_otherwise(open_data: Start) -> None:
    assert len(table(rows_of(open_data(), order=":id"))) == 1 + 1000


def test_ordered_pages_join_into_the_whole_dataset(open_data: Start) -> None:
    source = open_data(ROWS)
    seen = [
        row[3]
        for offset in range(0, 40, 10)
        for row in table(rows_of(source, select=FIELDS, order=":id", limit=10, offset=offset))[1:]
    ]
    assert seen == [row["DOL Vehicle ID"] for row in ROWS]


def test_unordered_pages_overlap_and_miss_rows(open_data: Start) -> None:
    source = open_data(ROWS)
    seen = [
        row[3]
        for offset in range(0, 40, 10)
        for row in table(rows_of(source, select=FIELDS, limit=10, offset=offset))[1:]
    ]
    assert len(seen) > len(set(seen)), "some rows should come twice"
    assert len(set(seen)) < len(ROWS), "and some never"


def test_ordering_hides_the_computed_columns_unless_they_are_named(open_data: Start) -> None:
    source = open_data(ROWS)
    assert ":@computed_region_x4ys_rtnd" in table(rows_of(source, limit=1))[0]
    assert ":@computed_region_x4ys_rtnd" not in table(rows_of(source, limit=1, order=":id"))[0]
    named = rows_of(source, select="dol_vehicle_id,`:@computed_region_x4ys_rtnd`", limit=1, order=":id")
    assert table(named)[1] == ["1000", ""]


def test_rows_can_be_ordered_by_a_column_and_backwards(open_data: Start) -> None:
    answer = rows_of(open_data(ROWS), select="dol_vehicle_id", order="dol_vehicle_id DESC", limit=2)
    assert table(answer)[1:] == [["1029"], ["1028"]]


def test_an_unknown_column_is_refused_by_name(open_data: Start) -> None:
    answer = rows_of(open_data(ROWS), select="dol_vehicle_id,base_msrp", order=":id")
    assert answer.status_code == 400
    assert answer.json()["code"] == "query.soql.no-such-column"
    assert answer.json()["data"]["column"] == "base_msrp"


@pytest.mark.parametrize(
    "path", ["/resource/aaaa-bbbb.json", "/api/views/aaaa-bbbb.json", "/resource/aaaa-bbbb.csv?$limit=1"]
)
def test_an_unknown_dataset_is_404_in_socratas_shape(open_data: Start, path: str) -> None:
    answer = requests.get(open_data(ROWS).url + path, timeout=10)
    assert answer.status_code == 404
    assert answer.json() | {"data": None} == {
        "code": "dataset.missing",
        "error": True,
        "message": "Not found",
        "data": None,
    }


@pytest.mark.parametrize("query", [{"limit": "many"}, {"offset": -1}, {"where": "make = 'TESLA'"}])
def test_a_query_it_does_not_know_is_refused_and_not_guessed_at(open_data: Start, query: dict[str, Any]) -> None:
    assert rows_of(open_data(ROWS), **query).status_code == 400


def test_answers_are_chunked_without_a_length_and_gzip_only_for_who_asks(open_data: Start) -> None:
    source = open_data(ROWS)
    path = f"/resource/{DATASET_ID}.csv?$order=:id"
    plain, text = raw(source, path)
    packed, data = raw(source, path, **{"Accept-Encoding": "gzip"})
    assert plain.getheader("Content-Length") is None
    assert plain.getheader("Transfer-Encoding") == "chunked"
    assert plain.getheader("Content-Encoding") is None
    assert packed.getheader("Content-Encoding") == "gzip"
    assert gzip.decompress(data) == text


def test_the_same_rows_are_the_same_bytes(open_data: Start) -> None:
    path = f"/resource/{DATASET_ID}.csv?$order=:id&$limit=5"
    one = raw(open_data(ROWS), path, **{"Accept-Encoding": "gzip"})[1]
    other = raw(open_data(ROWS), path, **{"Accept-Encoding": "gzip"})[1]
    assert one == other


def test_an_answer_that_has_not_changed_is_304_for_who_has_it(open_data: Start) -> None:
    source = open_data(ROWS)
    path = f"/resource/{DATASET_ID}.csv?$order=:id"
    tag = raw(source, path)[0].getheader("ETag")
    assert tag is not None
    assert raw(source, path, **{"If-None-Match": tag})[0].status == 304
    source.snapshot = Snapshot.of(ROWS, rows_updated_at=SAMPLE_UPDATED_AT + 1)
    assert raw(source, path, **{"If-None-Match": tag})[0].status == 200


def soda3(source: OpenData, token: str | None, query: str, number: int, size: int) -> requests.Response:
    return requests.post(
        f"{source.url}/api/v3/views/{DATASET_ID}/query.csv",
        json={"query": query, "page": {"pageNumber": number, "pageSize": size}},
        headers={"X-App-Token": token} if token else {},
        timeout=10,
    )


def test_soda_3_answers_pages_to_who_has_a_token_and_nobody_else(open_data: Start) -> None:
    source = open_data(ROWS, app_tokens=["right"])
    query = "SELECT dol_vehicle_id, zip_code ORDER BY :id"
    assert table(soda3(source, "right", query, 2, 2)) == [
        ["dol_vehicle_id", "zip_code"],
        ["1002", "98103"],
        ["1003", "98103"],
    ]
    assert soda3(source, None, query, 1, 2).status_code == 403
    assert soda3(source, "wrong", query, 1, 2).status_code == 403
    assert soda3(source, "right", "DROP TABLE x", 1, 2).status_code == 400


def test_a_wrong_token_is_refused_by_soda_2_as_well(open_data: Start) -> None:
    source = open_data(ROWS, app_tokens=["right"])
    url = f"{source.url}/resource/{DATASET_ID}.json"
    assert requests.get(url, headers={"X-App-Token": "wrong"}, timeout=10).status_code == 403
    assert requests.get(url, headers={"X-App-Token": "right"}, timeout=10).status_code == 200
    assert requests.get(url, timeout=10).status_code == 200


def test_it_remembers_what_it_was_asked(open_data: Start) -> None:
    source = open_data(ROWS)
    rows_of(source, "json", select="count(*)")
    rows_of(source, order=":id", limit=3)
    assert [request.kind for request in source.requests] == ["count", "rows"]
    assert source.requests[1].query == {"$order": ":id", "$limit": "3"}


def test_big_pages_of_the_real_dataset_come_quickly(open_data: Start) -> None:
    columns = tuple(Snapshot.sample().columns)
    rows = [*Snapshot.sample().rows] * 10
    source = open_data(Snapshot(columns=columns, rows=rows))
    started = time.monotonic()
    answer = rows_of(source, order=":id", limit=50_000, offset=100_000)
    assert answer.text.count("\n") == 50_001
    assert time.monotonic() - started < 5, "a page of 50,000 rows should take well under a second"


# A portal that misbehaves


def test_a_status_other_than_200_comes_with_or_without_retry_after(open_data: Start) -> None:
    source = open_data(ROWS, behaviours=[Says(status=429, retry_after="7"), Says(status=202, first=1)])
    throttled, computing, well = (rows_of(source, order=":id") for _ in range(3))
    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "7")
    assert (computing.status_code, "Retry-After" in computing.headers) == (202, False)
    assert json.loads(computing.text)["error"] is True
    assert well.status_code == 200


def test_a_behaviour_applies_to_the_requests_it_is_told_to_and_no_others(open_data: Start) -> None:
    source = open_data(ROWS, behaviours=[Says(status=500, on="rows", first=2, times=2)])
    assert rows_of(source, "json", select="count(*)").status_code == 200
    assert [rows_of(source, order=":id").status_code for _ in range(5)] == [200, 500, 500, 200, 200]
    assert rows_of(open_data(ROWS, behaviours=[Sometimes()])).status_code == 200


def test_maintenance_is_an_html_page_that_says_200(open_data: Start) -> None:
    answer = rows_of(open_data(ROWS, behaviours=[HtmlPage()]), order=":id")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_a_connection_can_close_without_a_word(open_data: Start) -> None:
    with pytest.raises(requests.ConnectionError):
        rows_of(open_data(ROWS, behaviours=[HangsUp()]))


def test_an_answer_can_stall(open_data: Start) -> None:
    source = open_data(ROWS, behaviours=[Stalls(seconds=0.3)])
    started = time.monotonic()
    assert len(table(rows_of(source, order=":id"))) == 31
    assert time.monotonic() - started > 0.3


def test_cut_chunks_are_seen_by_a_client_that_looks_for_the_last_chunk(open_data: Start) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        rows_of(open_data(ROWS, behaviours=[CutsChunks()]), order=":id")


@pytest.mark.parametrize("behaviour", [CutsBody(), CutsUnframed()])
def test_a_cut_body_looks_complete_and_only_its_gzip_trailer_is_missing(open_data: Start, behaviour: Any) -> None:
    source = open_data(ROWS, behaviours=[behaviour])
    answer, data = raw(source, f"/resource/{DATASET_ID}.csv?$order=:id", **{"Accept-Encoding": "gzip"})
    assert answer.status == 200
    with pytest.raises(EOFError):
        gzip.decompress(data)


def test_rows_can_be_missing_from_a_perfect_answer(open_data: Start) -> None:
    source = open_data(ROWS, behaviours=[DropsLastRows(on="rows", rows=3)])
    assert len(table(rows_of(source, order=":id"))) == 1 + 27


def test_a_stale_replica_says_so_and_answers_with_old_rows(open_data: Start) -> None:
    older = Snapshot.of(ROWS[:5], rows_updated_at=1)
    source = open_data(ROWS, behaviours=[StaleReplica(on="count", older=older), StaleReplica(on="rows")])
    count = rows_of(source, "json", select="count(*)")
    assert (count.json(), count.headers["X-SODA2-Data-Out-Of-Date"]) == ([{"count": "5"}], "true")
    assert rows_of(source, order=":id").headers["X-SODA2-Data-Out-Of-Date"] == "true"
    assert rows_of(source, order=":id").headers["X-SODA2-Data-Out-Of-Date"] == "false"


def test_a_limit_can_be_capped_without_a_word(open_data: Start) -> None:
    source = open_data(ROWS, behaviours=[CapsLimit(limit=10)])
    assert len(table(rows_of(source, order=":id", limit=25))) == 1 + 10


def test_a_new_version_can_be_published_between_two_pages(open_data: Start) -> None:
    newer = Snapshot.of(ROWS[:20], rows_updated_at=SAMPLE_UPDATED_AT + 60)
    source = open_data(ROWS, behaviours=[Republishes(snapshot=newer, on="rows", first=2)])
    assert len(table(rows_of(source, order=":id"))) == 31
    assert len(table(rows_of(source, order=":id"))) == 21
    view = requests.get(f"{source.url}/api/views/{DATASET_ID}.json", timeout=10).json()
    assert view["rowsUpdatedAt"] == SAMPLE_UPDATED_AT + 60


def test_soda_2_can_be_turned_off_while_soda_3_goes_on(open_data: Start) -> None:
    source = open_data(ROWS, behaviours=refuses_soda2())
    assert rows_of(source, order=":id").status_code == 403
    assert rows_of(source, "json", select="count(*)").status_code == 403
    assert len(table(soda3(source, "any", "SELECT dol_vehicle_id ORDER BY :id", 1, 50))) == 31


# Files


def test_the_bundled_sample_is_small_real_and_the_same_on_every_machine() -> None:
    assert SAMPLE.stat().st_size < 1_000_000
    sample = Snapshot.sample()
    assert len(sample.rows) == 15_214
    place = [column.field for column in sample.columns].index("dol_vehicle_id")
    keys = {row[place] for row in sample.rows}
    assert len(keys) == len(sample.rows), "a vehicle stands in the sample twice"
    assert all(key.endswith("0") for key in keys), "the sample is every vehicle whose id ends in 0"
    assert sample.rows_updated_at == SAMPLE_UPDATED_AT
    assert SAMPLE.read_bytes()[4:8] == bytes(4), "the archive carries a time, so it would differ when made again"


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_is_as_old_as_its_own_time_unless_told(tmp_path: Path, packed: bool) -> None:
    text = b"\xef\xbb\xbfdol_vehicle_id,make\n1,TESLA\n\n2,FORD\n"
    path = tmp_path / "data.csv"
    path.write_bytes(gzip.compress(text) if packed else text)
    snapshot = Snapshot.from_csv(path)
    assert snapshot.rows == [("1", "TESLA"), ("2", "FORD")]
    assert [column.field for column in snapshot.columns] == ["dol_vehicle_id", "make"]
    assert snapshot.rows_updated_at == int(path.stat().st_mtime)
    assert Snapshot.from_csv(path, rows_updated_at=5).rows_updated_at == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\x1f\x8bnot really", "broken gzip file"),
        (gzip.compress(b"DOL Vehicle ID\n1\n" * 99, mtime=0)[:-9], "broken gzip file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is not text: line 3 has a NUL character"),
        (b"PK\x03\x04\0\0\0\0", "is a zip archive; unpack it"),
        (b'{"code": "dataset.missing"}', "is JSON, not CSV"),
        (b"<!DOCTYPE html><html></html>", "is HTML or XML, not CSV"),
        (b"VIN (1-10),County\nA,King\n", "no column 'DOL Vehicle ID' .* VIN \\(1-10\\), County"),
        (b"DOL Vehicle ID,Make\n", "has a heading and no rows"),
        (b"DOL Vehicle ID,Make\n1,TESLA\n2\n", "line 3 has 1 values and the heading 2"),
        (b'DOL Vehicle ID,Make\n1,"TESLA\n', "is not CSV: line 2"),
        (b"DOL Vehicle ID,Make,Make\n1,a,b\n", "two columns named make"),
    ],
)
def test_a_file_that_will_not_do_is_refused_in_one_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "data.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LocalError, match=said) as caught:
        Snapshot.from_csv(path)
    assert "\n" not in str(caught.value)


def test_a_directory_is_not_a_file_of_data(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot be read: Is a directory"):
        Snapshot.from_csv(tmp_path)
