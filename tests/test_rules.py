"""The rules that hold the stack: every stack keeps them all, and each of them catches what breaks it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from policy import checks, tokens
from policy.model import Resource, Rule
from policy.rules import RULES, STACK_RULES
from tests.pulumi_mocks import ACCESS_VARIANTS, Recording, record_stack

everywhere = pytest.mark.parametrize(("stack", "egress", "access"), ACCESS_VARIANTS)
BY_NAME = {rule.name: rule for rule in RULES}


def seen_by_rules(recording: Recording, stack: str) -> list[Resource]:
    """Return a recording's resources as the rules see them."""
    return [
        Resource(typ=item.typ, name=item.name, props=item.inputs, stack=stack, protect=item.protect)
        for item in recording.resources
    ]


def allow(**statement: Any) -> dict[str, str]:
    """Return the props of a policy with one statement."""
    return {"policy": json.dumps({"Statement": [{"Effect": "Allow", **statement}]})}


def pipeline_database(**changes: Any) -> dict[str, Any]:
    """Return the props of prod's database, with changes."""
    return dict(record_stack("prod").one(tokens.DATABASE).inputs) | changes


PUBLIC_ACCESS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
# Whatever holds a policy, whether the stack has one today or not.
POLICY_HOLDERS = (
    "aws:s3/bucketPolicy:BucketPolicy",
    "aws:sqs/queuePolicy:QueuePolicy",
    "aws:sns/topicPolicy:TopicPolicy",
    "aws:ec2/vpcEndpoint:VpcEndpoint",
    "aws:kms/key:Key",
    "aws:kms/keyPolicy:KeyPolicy",
    "aws:secretsmanager/secret:Secret",
    "aws:secretsmanager/secretPolicy:SecretPolicy",
    "aws:iam/role:Role",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/policy:Policy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
)
# rule -> resources that break it: type, props and (where it matters) stack and protection
type Broken = tuple[str, Mapping[str, Any]] | tuple[str, Mapping[str, Any], str, bool]
BROKEN: dict[str, list[Broken]] = {
    "encrypted": [
        (tokens.DATABASE, {"storageEncrypted": False, "kmsKeyId": "k"}),
        (tokens.LOG_GROUP, {"retentionInDays": 30}),
        (tokens.SECRET, {}),
        (tokens.TOPIC, {"name": "open"}),
        (tokens.QUEUE, {"sqsManagedSseEnabled": False}),
        (tokens.INSTANCE, {"rootBlockDevice": {"volumeSize": 8}}),
        (tokens.BUCKET_ENCRYPTION, {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]}),
    ],
    "key-rotated": [
        (tokens.KEY, {"enableKeyRotation": False, "deletionWindowInDays": 30}),
        (tokens.KEY, {"enableKeyRotation": True, "deletionWindowInDays": 7}),
    ],
    "database-private": [
        (tokens.DATABASE, {"publiclyAccessible": True}),
        (tokens.DATABASE, {}),
        ("aws:rds/clusterInstance:ClusterInstance", {"publiclyAccessible": True}),
    ],
    "database-password": [
        (tokens.DATABASE, {"manageMasterUserPassword": True, "password": "hunter2"}),
        (tokens.DATABASE, {"manageMasterUserPassword": True, "passwordWo": "hunter2"}),
        (tokens.DATABASE, {"username": "ev_admin"}),
    ],
    "database-observed": [
        (tokens.DATABASE, {"performanceInsightsEnabled": True, "enabledCloudwatchLogsExports": []}),
        (tokens.DATABASE, {"enabledCloudwatchLogsExports": ["postgresql", "upgrade"]}),
    ],
    "no-open-ingress": [
        (tokens.INGRESS_RULE, {"cidrIpv4": "0.0.0.0/0"}),
        (tokens.INGRESS_RULE, {"cidrIpv6": "::/0"}),
        (tokens.INGRESS_RULE, {"cidrIpv4": "0.0.0.0/1"}),
        (tokens.INGRESS_RULE, {"cidrIpv4": "203.0.112.0/21"}),
        (tokens.SECURITY_GROUP, {"ingress": [{"cidrBlocks": ["10.0.0.0/8", "0.0.0.0/0"]}]}),
        (tokens.SECURITY_GROUP_RULE, {"type": "ingress", "cidrBlocks": ["0.0.0.0/0"]}),
    ],
    "one-port-one-rule": [
        (tokens.EGRESS_RULE, {"ipProtocol": "-1"}),
        (tokens.INGRESS_RULE, {"ipProtocol": "tcp", "fromPort": 0, "toPort": 65535}),
        (tokens.SECURITY_GROUP, {"egress": [{"protocol": "-1"}]}),
    ],
    "rules-described": [
        (tokens.INGRESS_RULE, {"ipProtocol": "tcp"}),
        (tokens.SECURITY_GROUP, {"description": "Managed by Pulumi"}),
        (tokens.SECURITY_GROUP, {"description": "Analysts' host"}),
        (tokens.INGRESS_RULE, {"description": "HTTPS \u2014 from the load functions"}),
        (tokens.EGRESS_RULE, {"description": "HTTPS\nto anywhere"}),
        (tokens.SECURITY_GROUP_RULE, {"description": "x" * 256}),
    ],
    "default-group-empty": [
        (tokens.DEFAULT_GROUP, {"ingress": [], "egress": [{"protocol": "-1"}]}),
        (tokens.DEFAULT_GROUP, {"ingress": [{"protocol": "-1"}], "egress": []}),
    ],
    "subnet-gives-no-address": [(tokens.SUBNET, {"mapPublicIpOnLaunch": True})],
    "endpoint-limited": [(tokens.ENDPOINT, {"serviceName": "com.amazonaws.ap-northeast-1.s3"})],
    "instance-closed": [
        (tokens.INSTANCE, {"metadataOptions": {"httpTokens": "optional", "httpPutResponseHopLimit": 1}}),
        (tokens.INSTANCE, {}),
        (
            tokens.INSTANCE,
            {"keyName": "mine", "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1}},
        ),
        (
            tokens.INSTANCE,
            {
                "associatePublicIpAddress": True,
                "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
            },
        ),
    ],
    "no-wildcard-action": [
        (tokens.ROLE_POLICY, allow(Action="s3:*", Resource="arn:aws:s3:::b")),
        (tokens.KEY, allow(Action=["kms:Decrypt", "*"], Resource="*")),
        (tokens.ROLE_POLICY, allow(NotAction=["iam:PassRole"], Resource="arn:aws:s3:::b")),
        (tokens.ROLE, {"inlinePolicies": [{"name": "p", **allow(Action="*", Resource="arn:aws:s3:::b")}]}),
    ],
    "no-wildcard-resource": [
        (tokens.ROLE_POLICY, allow(Action="s3:GetObject", Resource="*")),
        (tokens.ROLE_POLICY, allow(Action=["s3:GetObject"], Resource=["arn:aws:s3:::*"])),
        (tokens.ROLE_POLICY, allow(Action=["xray:PutTraceSegments", "sns:Publish"], Resource=["*"])),
        (tokens.ROLE_POLICY, allow(Action="sns:Publish", NotResource="arn:aws:sns:::t")),
    ],
    "principals-closed": [
        (tokens.TOPIC_POLICY, allow(Principal="*", Action="sns:Publish", Resource="t")),
        (tokens.QUEUE_POLICY, allow(Principal={"AWS": ["*"]}, Action="sqs:SendMessage", Resource="q")),
        (tokens.ROLE, {"assumeRolePolicy": allow(Principal={"AWS": "*"}, Action="sts:AssumeRole")["policy"]}),
        (tokens.BUCKET_POLICY, allow(NotPrincipal={"AWS": "arn"}, Action="s3:GetObject", Resource="b")),
    ],
    "managed-policies": [
        (tokens.ROLE_POLICY_ATTACHMENT, {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}),
        (tokens.ROLE_POLICY_ATTACHMENT, {"policyArn": "arn:aws:iam::123456789012:policy/mine"}),
    ],
    "no-long-lived-keys": [
        ("aws:iam/user:User", {}),
        ("aws:iam/accessKey:AccessKey", {"user": "ci"}),
        ("aws:ec2/keyPair:KeyPair", {"publicKey": "k"}),
    ],
    "log-retention": [(tokens.LOG_GROUP, {"kmsKeyId": "k"}), (tokens.LOG_GROUP, {"retentionInDays": 0})],
    "tagged": [
        (tokens.PROVIDER, {"region": "ap-northeast-1"}),
        (tokens.PROVIDER, {"region": "ap-northeast-1", "defaultTags": json.dumps({"tags": {"Project": "p"}})}),
        (
            tokens.PROVIDER,
            {
                "region": "us-east-1",
                "defaultTags": {"tags": dict.fromkeys(("Project", "Stack", "ManagedBy", "DataClassification"), "x")},
            },
        ),
    ],
    "tls-only": [
        (tokens.BUCKET_POLICY, allow(Principal="*", Action="s3:GetObject", Condition={})),
        (tokens.TOPIC_POLICY, allow(Principal="*", Action="sns:Publish", Condition={})),
        (tokens.QUEUE_POLICY, allow(Principal="*", Action="sqs:SendMessage", Condition={})),
        (tokens.DATABASE_PARAMETERS, {"parameters": [{"name": "rds.force_ssl", "value": "0"}]}),
        (tokens.DATABASE_PARAMETERS, {}),
    ],
    "function-verifies-tls": [
        (tokens.FUNCTION, {"environment": {"variables": {"PGSSLMODE": "require"}}}),
        (tokens.FUNCTION, {"environment": {"variables": {"SOURCE_URL": "http://data.wa.gov"}}}),
    ],
    "recoverable": [
        (tokens.DATABASE, {"backupRetentionPeriod": 0}, "dev", False),
        (tokens.DATABASE, pipeline_database(), "prod", False),
        (tokens.DATABASE, pipeline_database(backupRetentionPeriod=1), "prod", True),
        (tokens.DATABASE, pipeline_database(deletionProtection=False), "prod", True),
        (tokens.DATABASE, pipeline_database(skipFinalSnapshot=True), "prod", True),
        (tokens.DATABASE, pipeline_database(deleteAutomatedBackups=True), "prod", True),
        (tokens.DATABASE, pipeline_database(multiAz=False), "prod", True),
        (tokens.BUCKET, {"forceDestroy": True}, "prod", True),
        (tokens.KEY, {}, "prod", False),
    ],
    "public-access-blocked": [
        (tokens.BUCKET_PUBLIC_ACCESS, {other: True for other in PUBLIC_ACCESS if other != key}) for key in PUBLIC_ACCESS
    ],
    "bucket-owned": [(tokens.BUCKET_OWNERSHIP, {"rule": {"objectOwnership": "ObjectWriter"}})],
    "bucket-versioned": [(tokens.BUCKET_VERSIONING, {"versioningConfiguration": {"status": "Suspended"}})],
    "bucket-expires": [
        (tokens.BUCKET_LIFECYCLE, {"rules": [{"status": "Enabled", "expiration": {"days": 1}}]}),
        (
            tokens.BUCKET_LIFECYCLE,
            {
                "rules": [
                    {
                        "status": "Disabled",
                        "expiration": {"days": 1},
                        "noncurrentVersionExpiration": {"noncurrentDays": 1},
                        "abortIncompleteMultipartUpload": {"daysAfterInitiation": 1},
                    }
                ]
            },
        ),
    ],
    "function-runtime": [(tokens.FUNCTION, {"runtime": "python3.9"})],
    "function-traced": [(tokens.FUNCTION, {"tracingConfig": {"mode": "PassThrough"}}), (tokens.FUNCTION, {})],
    "function-without-secrets": [
        (tokens.FUNCTION, {"environment": {"variables": {"DB_PASSWORD": "x"}}}),
        (tokens.FUNCTION, {"environment": {"variables": {"APP_TOKEN": "x"}}}),
        (tokens.FUNCTION, {"environment": {"variables": {"DSN": "postgresql://me:hunter2@db/ev"}}}),
        (tokens.FUNCTION, {"environment": {"variables": {"WHO": "AKIAIOSFODNN7EXAMPLE"}}}),
    ],
    "function-without-url": [
        (tokens.FUNCTION_URL, {"authorizationType": "NONE"}),
        ("aws:lambda/permission:Permission", {"principal": "*"}),
    ],
    "state-machine-traced": [(tokens.STATE_MACHINE, {"name": "m"})],
    "state-machine-log": [
        (tokens.STATE_MACHINE, {"loggingConfiguration": {"level": "ALL", "includeExecutionData": True}}),
        (tokens.STATE_MACHINE, {"loggingConfiguration": {"level": "OFF", "includeExecutionData": False}}),
        (tokens.STATE_MACHINE, {}),
    ],
    "start-not-lost": [
        (tokens.SCHEDULE, {"target": {"retryPolicy": {"maximumRetryAttempts": 5}}}),
        (tokens.SCHEDULE, {"target": {"deadLetterConfig": {"arn": "q"}}}),
    ],
    "alarm-speaks": [
        (tokens.ALARM, {"alarmActions": [], "alarmDescription": "More: docs/operate.md#stale"}),
        (tokens.ALARM, {"alarmActions": ["t"], "alarmDescription": "Something is wrong."}),
    ],
}


@everywhere
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_stack_keeps_every_rule(stack: str, egress: str, access: str, rule: Rule) -> None:
    resources = seen_by_rules(record_stack(stack, egress=egress, analystAccess=access), stack)
    broken = [f"{item.name}: {what}" for item in resources for what in rule.violations(item)]
    assert not broken, f"{rule.says}"


@everywhere
def test_every_stack_keeps_the_rules_of_what_stands_beside_what(stack: str, egress: str, access: str) -> None:
    present = [(item.typ, item.name) for item in record_stack(stack, egress=egress, analystAccess=access).resources]
    for rule in STACK_RULES:
        assert list(rule.violations(present)) == [], rule.says


def test_the_app_token_changes_nothing_about_it() -> None:
    resources = seen_by_rules(record_stack("dev", appToken="token-of-somebody"), "dev")
    assert [what for item in resources for rule in RULES for what in rule.violations(item)] == []


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        pytest.param(name, case, id=f"{name}-{number}")
        for name, cases in BROKEN.items()
        for number, case in enumerate(cases)
    ],
)
def test_a_rule_catches_what_breaks_it(name: str, broken: Broken) -> None:
    typ, props, *rest = broken
    stack, protect = rest or ("dev", False)
    resource = Resource(typ=typ, name="broken", props=props, stack=str(stack), protect=bool(protect))
    found = list(BY_NAME[name].violations(resource))
    assert found, f"{BY_NAME[name].says} The rule let this pass: {typ} {props}"
    assert all(what.endswith((".", ").")) for what in found), "a violation is a sentence"


@pytest.mark.parametrize("description", ["x", "x" * 255, "09AZaz. _-:/()#,@[]+=&;{}!$*"])
def test_a_description_that_ec2_accepts_passes(description: str) -> None:
    group = Resource(typ=tokens.SECURITY_GROUP, name="g", props={"description": description}, stack="dev")
    assert list(BY_NAME["rules-described"].violations(group)) == []


@pytest.mark.parametrize("typ", POLICY_HOLDERS)
@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("no-wildcard-action", {"Action": "s3:*", "Resource": "arn:aws:s3:::b"}),
        ("no-wildcard-resource", {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::*"}),
        ("principals-closed", {"Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b"}),
    ],
)
def test_a_rule_about_policies_looks_into_whatever_holds_one(typ: str, name: str, statement: dict[str, str]) -> None:
    resource = Resource(typ=typ, name="broken", props=allow(**statement), stack="dev")
    assert list(BY_NAME[name].violations(resource))


@pytest.mark.parametrize("typ", ["aws:kms/key:Key", "aws:kms/keyPolicy:KeyPolicy"])
def test_in_a_keys_own_policy_every_resource_is_the_key(typ: str) -> None:
    resource = Resource(typ=typ, name="key", props=allow(Action="kms:Decrypt", Resource="*"), stack="dev")
    assert list(BY_NAME["no-wildcard-resource"].violations(resource)) == []


def test_every_rule_has_something_that_it_is_seen_to_catch_of_every_type_that_it_watches() -> None:
    about_policies = {"no-wildcard-action", "no-wildcard-resource", "principals-closed"}
    seen = {
        name: {case[0] for case in cases} | (set(POLICY_HOLDERS) if name in about_policies else set())
        for name, cases in BROKEN.items()
    }
    assert seen == {name: set(rule.types) for name, rule in BY_NAME.items()}


@pytest.mark.parametrize("rule", STACK_RULES, ids=lambda rule: rule.name)
def test_what_lacks_any_one_of_its_companions_is_caught(rule: Any) -> None:
    whole = [(rule.typ, "x"), *((companion, "x") for companion in rule.beside)]
    assert list(rule.violations(whole)) == []
    for companion in rule.beside:
        lacking = [item for item in whole if item != (companion, "x")]
        (found,) = rule.violations([*lacking, (companion, "of another")])
        assert companion in found


def test_every_rule_finds_something_to_judge_in_some_stack() -> None:
    present = {
        item.typ
        for stack, egress, access in ACCESS_VARIANTS
        for item in record_stack(stack, egress=egress, analystAccess=access).resources
    }
    forbidding = {"no-long-lived-keys", "function-without-url"}
    for rule in RULES:
        assert rule.name in forbidding or present & set(rule.types), f"{rule.name} watches types that are never used"
    assert {rule.typ for rule in STACK_RULES} <= present


def test_every_rule_has_a_name_of_its_own() -> None:
    names = [*(rule.name for rule in RULES), *(rule.name for rule in STACK_RULES)]
    assert len(set(names)) == len(names)
    assert "all" not in names, "the policy pack reserves it"


def test_whatever_is_allowed_to_be_wide_has_its_reason_and_is_used() -> None:
    used = {
        action
        for stack, egress, access in ACCESS_VARIANTS
        for item in record_stack(stack, egress=egress, analystAccess=access).of(tokens.ROLE_POLICY)
        for statement in item.document("policy")["Statement"]
        if statement["Resource"] == ["*"]
        for action in statement["Action"]
    }
    assert used == set(checks.ANY_RESOURCE), "an exception that nobody needs is a hole"
    assert all(len(reason) > 20 for reason in (*checks.ANY_RESOURCE.values(), *checks.MANAGED_POLICIES.values()))
