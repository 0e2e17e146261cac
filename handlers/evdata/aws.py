"""AWS for the handlers: one client a process, and its errors in words."""

from functools import cache
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from evdata.errors import PipelineError, RawDataError, TransientError

if TYPE_CHECKING:  # the stubs are not shipped
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient

# Standard mode backs off with jitter on throttling and 5xx answers; the state machine retries what lasts longer.
_CONFIG: Final = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=10, read_timeout=60)
_FINAL: Final = ("AccessDenied", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDeniedException")


# A client takes longer to make than most of its requests take; a warm function keeps it, and its connections.
@cache
def s3_client() -> "S3Client":
    return boto3.client("s3", config=_CONFIG)


@cache
def secrets_client() -> "SecretsManagerClient":
    return boto3.client("secretsmanager", config=_CONFIG)


def aws_error(error: ClientError | BotoCoreError, doing: str) -> PipelineError:
    """Say what AWS refused. Wrong permissions and names do not pass; anything else may."""
    if isinstance(error, ClientError) and error.response["Error"]["Code"] in _FINAL:
        return RawDataError(f"could not {doing}: {error}. Check the function's role and the names in the event.")
    return TransientError(f"could not {doing}: {error}")
