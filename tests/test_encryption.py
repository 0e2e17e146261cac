"""The stack's key: rotated, kept where data is kept, and used by nobody else."""

import pytest

from tests.pulumi_mocks import ACCOUNT, REGION, record_stack

KEY = "aws:kms/key:Key"


def test_the_key_rotates_and_is_found_by_the_stacks_name() -> None:
    recording = record_stack("dev")
    assert recording.one(KEY).inputs["enableKeyRotation"] is True
    alias = recording.one("aws:kms/alias:Alias")
    assert alias.inputs["name"] == "alias/ev-population-dev"
    assert alias.inputs["targetKeyId"] == "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(("stack", "kept"), [("dev", False), ("prod", True)])
def test_the_key_outlives_a_durable_stack_whose_last_snapshot_needs_it(stack: str, *, kept: bool) -> None:
    key = record_stack(stack).one(KEY)
    assert key.retain_on_delete is kept
    assert key.protect is kept


def test_nobody_uses_the_key_but_the_account_through_iam_and_three_services_for_this_stacks_things() -> None:
    policy = record_stack("dev").one(KEY).document("policy")
    users = {statement["Sid"]: statement for statement in policy["Statement"]}
    assert {sid: statement["Principal"] for sid, statement in users.items()} == {
        "AccountThroughIam": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "LogGroupsOfThisStack": {"Service": f"logs.{REGION}.amazonaws.com"},
        "AlarmsToTheTopic": {"Service": "cloudwatch.amazonaws.com"},
        "EventsToTheTopic": {"Service": "events.amazonaws.com"},
    }
    topic = {
        "StringEquals": {"kms:EncryptionContext:aws:sns:topicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:ev-population-dev"}
    }
    assert users["AlarmsToTheTopic"]["Condition"] == topic
    assert users["EventsToTheTopic"]["Condition"] == topic
    assert not any("*" in action for statement in policy["Statement"] for action in statement["Action"])


USE = {
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
}
# Without one of these, `pulumi up`, `destroy` or a person could do no more what the key needs.
ADMINISTRATION = {
    "kms:DescribeKey",
    "kms:EnableKey",
    "kms:DisableKey",
    "kms:UpdateKeyDescription",
    "kms:GetKeyPolicy",
    "kms:PutKeyPolicy",
    "kms:ListKeyPolicies",
    "kms:CreateAlias",
    "kms:UpdateAlias",
    "kms:DeleteAlias",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:ListResourceTags",
    "kms:EnableKeyRotation",
    "kms:DisableKeyRotation",
    "kms:GetKeyRotationStatus",
    "kms:ListKeyRotations",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion",
    "kms:CreateGrant",
    "kms:ListGrants",
    "kms:RevokeGrant",
    "kms:RetireGrant",
}


def test_the_account_administers_and_uses_the_key_services_only_use_it() -> None:
    policy = record_stack("dev").one(KEY).document("policy")
    topic = {"kms:Decrypt", "kms:GenerateDataKey"}
    assert {statement["Sid"]: set(statement["Action"]) for statement in policy["Statement"]} == {
        "AccountThroughIam": ADMINISTRATION | USE,
        "LogGroupsOfThisStack": USE,
        "AlarmsToTheTopic": topic,
        "EventsToTheTopic": topic,
    }


def test_no_condition_on_an_encryption_context_stands_over_an_action_that_has_none() -> None:
    # https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-encryption-context
    for statement in record_stack("dev").one(KEY).document("policy")["Statement"]:
        keys = [key for tests in statement.get("Condition", {}).values() for key in tests]
        if any(key.startswith("kms:EncryptionContext") for key in keys):
            assert set(statement["Action"]) <= USE, statement["Sid"]


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_logs_may_use_the_key_for_exactly_the_log_groups_that_there_are(stack: str) -> None:
    recording = record_stack(stack)
    policy = recording.one(KEY).document("policy")
    logs = next(statement for statement in policy["Statement"] if statement["Sid"] == "LogGroupsOfThisStack")
    assert set(logs["Condition"]["ArnEquals"]["kms:EncryptionContext:aws:logs:arn"]) == {
        f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group.inputs['name']}"
        for group in recording.of("aws:cloudwatch/logGroup:LogGroup")
    }
