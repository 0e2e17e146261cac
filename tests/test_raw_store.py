"""The bucket's objects as others find them: keys, types and bytes, and what is said when they are not as written."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from evdata.aws import s3_client
from evdata.errors import RawDataError, TransientError
from evdata.raw_store import RawStore
from tests.handler_tools import BUCKET, REGION

VERSION = datetime(2023, 6, 1, tzinfo=UTC)


@pytest.fixture
def store(aws: None) -> RawStore:
    boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return RawStore(BUCKET)


def test_a_report_lies_under_its_version_and_as_the_latest_and_a_browser_shows_it(store: RawStore) -> None:
    assert store.put_report(VERSION, b"<html>") == "reports/latest.html"
    s3 = boto3.client("s3")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert len(keys) == 2
    for key in keys:
        found = s3.get_object(Bucket=BUCKET, Key=key)
        assert (found["ContentType"], found["Body"].read()) == ("text/html; charset=utf-8", b"<html>")


def test_a_part_that_is_gone_is_named(store: RawStore) -> None:
    part = store.put_part(VERSION, 3, b"bytes", rows=1)
    assert store.part(part) == b"bytes"
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=part.key)
    with pytest.raises(RawDataError) as raised:
        store.part(part)
    assert str(raised.value) == f"part 3 is gone: s3://{BUCKET}/{part.key}. Run again with force."


@pytest.mark.parametrize("content", [b"bytez", b"byte", b"bytes and more"])
def test_a_part_that_was_changed_is_refused_with_both_sizes(store: RawStore, content: bytes) -> None:
    part = store.put_part(VERSION, 3, b"bytes", rows=1)
    boto3.client("s3").put_object(Bucket=BUCKET, Key=part.key, Body=content)
    with pytest.raises(RawDataError) as raised:
        store.part(part)
    said = str(raised.value)
    assert said.startswith(f"part 3 was changed after it was extracted: s3://{BUCKET}/{part.key} has {len(content)} ")
    assert f" bytes with sha256 {hashlib.sha256(content).hexdigest()[:12]}..., " in said
    assert f"the manifest says 5 bytes with {part.sha256[:12]}... Run again with force" in said


def test_a_manifest_that_is_not_there_says_that_the_next_run_extracts_it(store: RawStore) -> None:
    with pytest.raises(RawDataError, match=f"^there is no manifest at s3://{BUCKET}/raw_data/x.json: .*extracts it"):
        store.manifest("raw_data/x.json")


def test_what_was_published_last_is_nothing_at_first_and_nothing_when_unreadable(store: RawStore) -> None:
    assert store.published() is None
    boto3.client("s3").put_object(Bucket=BUCKET, Key="published.json", Body=b"{")
    assert store.published() is None


@pytest.mark.parametrize("code", ["404", "NoSuchKey", "NotFound"])
def test_every_name_for_missing_means_missing(aws: None, code: str) -> None:
    client = s3_client()
    with Stubber(client) as answers:
        answers.add_client_error("get_object", code)
        assert RawStore(BUCKET, client).published() is None


CALLS: dict[str, tuple[str, Callable[[RawStore], object]]] = {
    "read": ("get_object", lambda store: store.published()),
    "write": ("put_object", lambda store: store.put_part(VERSION, 0, b"", rows=0)),
    "list": ("get_paginator", lambda store: store._sizes("raw_data")),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_failing_call_says_what_it_was_for(store: RawStore, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fails(*_: object, **__: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://s3.example")

    name, use = CALLS[call]
    monkeypatch.setattr(store._s3, name, fails)
    with pytest.raises(TransientError, match=f"could not {call} s3://{BUCKET}/"):
        use(store)


def test_a_refused_read_is_no_missing_object(aws: None) -> None:
    client = s3_client()
    with Stubber(client) as answers:
        answers.add_client_error("get_object", "AccessDenied", http_status_code=403)
        with pytest.raises(Exception, match="read s3://") as raised:
            RawStore(BUCKET, client).published()
    assert isinstance(raised.value.__cause__, ClientError)
