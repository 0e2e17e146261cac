"""A moto cloud in this process, with keys that open nothing anywhere."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto import mock_aws

REGION = "ap-northeast-1"


@contextmanager
def moto_cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand in for AWS, empty, until the end."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.setenv(name, REGION)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws():
        yield
