"""The stack's key. Everything that is stored under this stack's name is encrypted with it."""

from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from components import iam, naming
from components.naming import Scope
from components.settings import Settings

# What the account's administrators may do, through their own IAM policies. AWS' default is kms:*.
ADMINISTRATION: Final = (
    *("kms:DescribeKey", "kms:EnableKey", "kms:DisableKey", "kms:UpdateKeyDescription"),
    *("kms:GetKeyPolicy", "kms:PutKeyPolicy", "kms:ListKeyPolicies"),
    *("kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias"),
    *("kms:TagResource", "kms:UntagResource", "kms:ListResourceTags"),
    *("kms:EnableKeyRotation", "kms:DisableKeyRotation", "kms:GetKeyRotationStatus", "kms:ListKeyRotations"),
    *("kms:RotateKeyOnDemand", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"),
    *("kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant", "kms:RetireGrant"),
)
USE: Final = (
    *("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
    *("kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"),
)
DELETION_WINDOW_DAYS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionArgs:
    """What the key depends on."""

    scope: Scope
    settings: Settings


class Encryption(pulumi.ComponentResource):
    """One customer-managed key a stack: alarms cannot publish to a topic under an AWS-managed one."""

    key_arn: pulumi.Output[str]

    def __init__(self, name: str, args: EncryptionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the key, rotated yearly, and an alias to find it by."""
        super().__init__("ev-population:index:Encryption", name, None, opts)
        settings = args.settings
        key = aws.kms.Key(
            f"{name}-key",
            description=f"Everything that {name} stores: raw data, database, secrets, logs, notifications",
            enable_key_rotation=True,
            deletion_window_in_days=DELETION_WINDOW_DAYS,
            policy=iam.policy(*key_policy(args.scope)),
            # The last snapshot of a durable stack is of no use without its key, so the key outlives the stack.
            opts=pulumi.ResourceOptions(
                parent=self, protect=settings.deletion_protection, retain_on_delete=settings.durable
            ),
        )
        aws.kms.Alias(
            f"{name}-key",
            name=f"alias/{name}",
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.key_arn = key.arn
        self.register_outputs({"keyArn": self.key_arn})


def key_policy(scope: Scope) -> list[iam.Statement]:
    """Return who may use the key: the account through IAM, and three services, each for this stack's things alone."""
    log_groups = [scope.arn("logs", f"log-group:{group}") for group in naming.log_groups(scope.prefix)]
    # By the topic, not by aws:SourceArn: EventBridge does not send that when it publishes to an encrypted topic.
    # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services
    this_topic = {"StringEquals": {"kms:EncryptionContext:aws:sns:topicArn": scope.arn("sns", scope.prefix)}}
    return [
        iam.Statement(
            sid="AccountThroughIam",
            principal={"AWS": scope.arn("iam", "root")},
            actions=[*ADMINISTRATION, *USE],
            resources=[iam.THIS_KEY],
        ),
        iam.Statement(
            sid="LogGroupsOfThisStack",
            principal={"Service": f"logs.{scope.region}.amazonaws.com"},
            actions=USE,  # and not kms:DescribeKey, which has no encryption context for the condition to match
            resources=[iam.THIS_KEY],
            conditions={"ArnEquals": {"kms:EncryptionContext:aws:logs:arn": log_groups}},
        ),
        *(
            iam.Statement(
                sid=sid,
                principal={"Service": service},
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=[iam.THIS_KEY],
                conditions=this_topic,
            )
            for sid, service in (
                ("AlarmsToTheTopic", "cloudwatch.amazonaws.com"),
                ("EventsToTheTopic", "events.amazonaws.com"),
            )
        ),
    ]
