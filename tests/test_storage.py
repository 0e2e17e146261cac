"""The raw bucket: private, encrypted, versioned, and emptied in time."""

import pytest

from tests.pulumi_mocks import record_stack

BUCKET = "ev-population-dev-raw-1a2b3c4"
ARN = f"arn:aws:s3:::{BUCKET}"


def test_pulumi_names_the_bucket_for_its_name_is_taken_world_wide() -> None:
    bucket = record_stack("dev").one("aws:s3/bucket:Bucket")
    assert bucket.name == "ev-population-dev-raw", "another logical name would replace the bucket"
    assert "bucket" not in bucket.inputs


def test_nothing_in_the_bucket_can_be_public() -> None:
    block = record_stack("dev").one("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock").inputs
    assert block == {
        "bucket": "ev-population-dev-raw-id",
        "blockPublicAcls": True,
        "blockPublicPolicy": True,
        "ignorePublicAcls": True,
        "restrictPublicBuckets": True,
    }
    ownership = record_stack("dev").one("aws:s3/bucketOwnershipControls:BucketOwnershipControls").inputs
    assert ownership["rule"] == {"objectOwnership": "BucketOwnerEnforced"}, "access lists do nothing any more"


def test_objects_are_encrypted_with_the_stacks_key() -> None:
    typ = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    (rule,) = record_stack("dev").one(typ).inputs["rules"]
    key = "arn:aws:kms:ap-northeast-1:123456789012:key/11111111-2222"
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key}
    assert rule["bucketKeyEnabled"] is True


def test_whoever_comes_without_tls_is_refused() -> None:
    (statement,) = record_stack("dev").one("aws:s3/bucketPolicy:BucketPolicy").document("policy")["Statement"]
    assert statement == {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:*"],
        "Resource": [ARN, f"{ARN}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_an_overwritten_object_can_be_brought_back_for_a_week() -> None:
    recording = record_stack("dev")
    versioning = recording.one("aws:s3/bucketVersioning:BucketVersioning")
    assert versioning.inputs["versioningConfiguration"] == {"status": "Enabled"}
    lifecycle = recording.one("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
    assert versioning.urn in lifecycle.depends_on, "rules for old versions mean nothing before there can be any"


@pytest.mark.parametrize("days", ["30", "365"])
def test_raw_data_old_versions_and_abandoned_uploads_expire_but_not_what_says_the_published_version(days: str) -> None:
    typ = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    raw, reports, leftovers = record_stack("dev", rawRetentionDays=days).one(typ).inputs["rules"]
    assert raw["filter"] == {"prefix": "raw_data/"}
    assert raw["expiration"] == {"days": int(days)}
    assert reports["filter"] == {"prefix": "reports/version="}, "reports/latest.html must stay, however old"
    assert reports["expiration"] == raw["expiration"], "a report goes with the version that it is about"
    assert raw["status"] == reports["status"] == leftovers["status"] == "Enabled"
    assert leftovers["noncurrentVersionExpiration"] == {"noncurrentDays": 7}
    assert leftovers["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 1}
    assert "expiration" not in leftovers, "published.json must stay, or every run would load everything anew"


@pytest.mark.parametrize(("stack", "kept"), [("dev", False), ("prod", True)])
def test_a_durable_bucket_cannot_be_deleted_with_what_is_in_it(stack: str, *, kept: bool) -> None:
    bucket = record_stack(stack).one("aws:s3/bucket:Bucket")
    assert bucket.protect is kept
    assert bucket.inputs["forceDestroy"] is not kept
