"""The raw bucket: what the source said, version by version, as it said it; and the reports about it."""

from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from components import iam
from components.settings import Settings

RAW_PREFIX: Final = "raw_data/"
PUBLISHED_KEY: Final = "published.json"
REPORT_PREFIX: Final = "reports/"
# An overwritten or deleted object can be brought back for this long.
OLD_VERSION_DAYS: Final = 7
ABANDONED_UPLOAD_DAYS: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageArgs:
    """What the bucket depends on."""

    settings: Settings
    key_arn: pulumi.Input[str]


class Storage(pulumi.ComponentResource):
    """A private, encrypted, versioned bucket whose raw data expires."""

    bucket_name: pulumi.Output[str]
    bucket_arn: pulumi.Output[str]

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the bucket and everything that guards it."""
        super().__init__("ev-population:index:Storage", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings = args.settings

        # Named by Pulumi, `<project>-<stack>-raw-<7 hex>`: bucket names are taken world-wide.
        bucket = aws.s3.Bucket(
            f"{name}-raw",
            force_destroy=not settings.durable,
            opts=pulumi.ResourceOptions(parent=self, protect=settings.deletion_protection),
        )
        public_access = aws.s3.BucketPublicAccessBlock(
            f"{name}-raw",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            f"{name}-raw", bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=child
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-raw",
            bucket=bucket.id,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {
                        "sse_algorithm": "aws:kms",
                        "kms_master_key_id": args.key_arn,
                    },
                    "bucket_key_enabled": True,  # one request to the key for many objects
                }
            ],
            opts=child,
        )
        versioning = aws.s3.BucketVersioning(
            f"{name}-raw", bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=child
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-raw",
            bucket=bucket.id,
            rules=[
                {
                    "id": "raw-data-expires",
                    "status": "Enabled",
                    "filter": {"prefix": RAW_PREFIX},
                    "expiration": {"days": settings.raw_retention_days},
                },
                {
                    # Each goes with the raw version that it is about: what it said stands in the database for good.
                    # reports/latest.html stays, however long the source rests.
                    "id": "reports-of-old-versions-expire",
                    "status": "Enabled",
                    "filter": {"prefix": f"{REPORT_PREFIX}version="},
                    "expiration": {"days": settings.raw_retention_days},
                },
                {
                    "id": "leftovers-expire",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "noncurrent_version_expiration": {"noncurrent_days": OLD_VERSION_DAYS},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": ABANDONED_UPLOAD_DAYS},
                },
            ],
            # Rules for old versions mean nothing before there can be any.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )
        aws.s3.BucketPolicy(
            f"{name}-raw",
            bucket=bucket.id,
            policy=iam.policy(iam.tls_only("s3:*", bucket.arn, pulumi.Output.concat(bucket.arn, "/*"))),
            # AWS takes one change of a bucket's access at a time.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[public_access]),
        )

        self.bucket_name = bucket.bucket
        self.bucket_arn = bucket.arn
        self.register_outputs({"bucketName": self.bucket_name, "bucketArn": self.bucket_arn})
