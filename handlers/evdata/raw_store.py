"""The bucket: raw versions, and which of them was published last."""

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from evdata.aws import aws_error, s3_client
from evdata.errors import RawDataError
from evdata.manifest import (
    LATEST_REPORT_KEY,
    PUBLISHED_KEY,
    Manifest,
    Part,
    Published,
    key_of,
    part_key,
    prefix,
    report_key,
)

if TYPE_CHECKING:  # the stubs are not shipped
    from mypy_boto3_s3 import S3Client

_MISSING = ("404", "NoSuchKey", "NotFound")


class RawStore:
    """The objects of one bucket. Errors that may pass come as `TransientError`, others say what to mend."""

    def __init__(self, bucket: str, client: "S3Client | None" = None) -> None:
        self.bucket = bucket
        self._s3 = client or s3_client()

    def published(self) -> Published | None:
        """Return what was published last, or None at first."""
        content = self._get(PUBLISHED_KEY)
        try:
            return None if content is None else Published.from_json(content.decode())
        except ValueError:
            return None  # unreadable is as good as absent: the version is extracted and compared again

    def put_published(self, published: Published) -> None:
        self._put(PUBLISHED_KEY, published.to_json().encode())

    def put_report(self, version: datetime, page: bytes) -> str:
        """Store the report of the version that stands; return the key under which the newest is found."""
        for key in (report_key(version), LATEST_REPORT_KEY):
            self._put(key, page, content_type="text/html; charset=utf-8")
        return LATEST_REPORT_KEY

    def put_part(self, version: datetime, number: int, content: bytes, rows: int) -> Part:
        """Store a part's gzip-compressed CSV and return its entry for the manifest."""
        key = part_key(version, number)
        self._put(key, content)
        return Part(part=number, key=key, rows=rows, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    def part(self, part: Part) -> bytes:
        """Return a part's bytes as stored. Raises `RawDataError` unless they are those that the manifest names."""
        content = self._get(part.key)
        if content is None:
            raise RawDataError(f"part {part.part} is gone: s3://{self.bucket}/{part.key}. Run again with force.")
        digest = hashlib.sha256(content).hexdigest()
        if len(content) != part.bytes or digest != part.sha256:
            raise RawDataError(
                f"part {part.part} was changed after it was extracted: s3://{self.bucket}/{part.key} has "
                f"{len(content)} bytes with sha256 {digest[:12]}..., the manifest says {part.bytes} bytes with "
                f"{part.sha256[:12]}... Run again with force to extract anew."
            )
        return content

    def manifest(self, key: str) -> Manifest:
        """Return the manifest at `key`. Raises `RawDataError` when there is none."""
        content = self._get(key)
        if content is None:
            raise RawDataError(
                f"there is no manifest at s3://{self.bucket}/{key}: that version was never whole in S3, or its copy "
                "was withdrawn. The next run extracts it."
            )
        return Manifest.from_json(content.decode(errors="replace"), key)

    def put_manifest(self, manifest: Manifest) -> None:
        """Make a version exist: `parts.json` for the Map, then, last of all, `manifest.json`."""
        self._put(manifest.parts_key, manifest.parts_to_json().encode())
        self._put(manifest.key, manifest.to_json().encode())

    def withdraw(self, manifest: Manifest) -> None:
        """Make a version not exist: its parts stay until they are overwritten or expire."""
        try:
            self._s3.delete_object(Bucket=self.bucket, Key=manifest.key)
        except (ClientError, BotoCoreError) as error:
            raise aws_error(error, f"delete s3://{self.bucket}/{manifest.key}") from error

    def whole_version(self, version: datetime) -> Manifest | None:
        """Return the manifest of a version that lies whole in S3, or None: an earlier run may have come that far.

        A version that an earlier release copied, without `:id`, is not whole.
        """
        key = key_of(version)
        content = self._get(key)
        if content is None:
            return None
        try:
            manifest = Manifest.from_json(content.decode(errors="replace"), key)
        except RawDataError:
            return None
        sizes = self._sizes(prefix(version))
        whole = manifest.has_row_ids and all(sizes.get(part.key) == part.bytes for part in manifest.parts)
        return manifest if whole else None

    def _sizes(self, folder: str) -> dict[str, int]:
        try:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{folder}/")
            return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}
        except (ClientError, BotoCoreError) as error:
            raise aws_error(error, f"list s3://{self.bucket}/{folder}/") from error

    def _get(self, key: str) -> bytes | None:
        try:
            return self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise aws_error(error, f"read s3://{self.bucket}/{key}") from error
        except BotoCoreError as error:
            raise aws_error(error, f"read s3://{self.bucket}/{key}") from error

    def _put(self, key: str, content: bytes, content_type: str = "binary/octet-stream") -> None:
        try:
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType=content_type)
        except (ClientError, BotoCoreError) as error:
            raise aws_error(error, f"write s3://{self.bucket}/{key}") from error
