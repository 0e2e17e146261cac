"""Permissions as data, made JSON at the edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components.naming import Scope

# Where AWS takes nothing narrower than every resource. Each is used by name, so that a search finds its uses.
ANY_NETWORK_INTERFACE: Final = "*"  # Lambda makes its interfaces in the VPC: they have no name before they exist
ANY_TRACE: Final = "*"  # X-Ray has no resources to name for traces
ANY_LOG_DELIVERY: Final = "*"  # vended log delivery has no resources to name
ANY_CHANNEL: Final = "*"  # Session Manager's channels have no resources to name
THIS_KEY: Final = "*"  # in a key's own policy this is the key, and nothing else can stand there

# https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html#cloudwatch-iam-policy
LOG_DELIVERY_ACTIONS: Final = (
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
)
# https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html
TRACE_ACTIONS: Final = ("xray:PutTraceSegments", "xray:PutTelemetryRecords")
# Step Functions samples by the account's rules itself. https://docs.aws.amazon.com/step-functions/latest/dg/xray-iam.html
SAMPLED_TRACE_ACTIONS: Final = (*TRACE_ACTIONS, "xray:GetSamplingRules", "xray:GetSamplingTargets")

type Conditions = Mapping[str, Mapping[str, pulumi.Input[str] | Sequence[pulumi.Input[str]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement of a policy. `principal` only in policies of resources and in trust policies."""

    actions: Sequence[str]
    resources: Sequence[pulumi.Input[str]] = ()
    effect: str = "Allow"
    sid: str = ""
    principal: Mapping[str, pulumi.Input[str]] | str | None = None
    conditions: Conditions = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the statement as IAM writes it, without what is empty."""
        parts = {
            "Sid": self.sid,
            "Effect": self.effect,
            "Principal": self.principal,
            "Action": list(self.actions),
            "Resource": list(self.resources),
            "Condition": {operator: dict(tests) for operator, tests in self.conditions.items()},
        }
        return {key: value for key, value in parts.items() if value}


def policy(*statements: Statement) -> pulumi.Output[str]:
    """Return a policy document."""
    return pulumi.Output.json_dumps(
        {"Version": "2012-10-17", "Statement": [statement.to_dict() for statement in statements]}
    )


def tls_only(action: str, *resources: pulumi.Input[str]) -> Statement:
    """Return the statement that refuses whoever comes without TLS."""
    return Statement(
        sid="TlsOnly",
        effect="Deny",
        principal="*",
        actions=[action],
        resources=resources,
        conditions={"Bool": {"aws:SecureTransport": "false"}},
    )


def key_use(
    scope: Scope, key_arn: pulumi.Input[str], *, via: Sequence[str], write: bool = False, sid: str = "StackKey"
) -> Statement:
    """Return the permission to read (and write) what the stack's key encrypts, through the services `via` alone."""
    return Statement(
        sid=sid,
        actions=["kms:Decrypt", "kms:GenerateDataKey"] if write else ["kms:Decrypt"],
        resources=[key_arn],
        conditions={"StringEquals": {"kms:ViaService": [f"{service}.{scope.region}.amazonaws.com" for service in via]}},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRole:
    """A role that one AWS service may assume. What uses it depends on `permissions`, not on the role alone."""

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    permissions: pulumi.Resource


def service_role(
    name: str,
    *,
    service: str,
    statements: Sequence[Statement],
    description: str,
    opts: pulumi.ResourceOptions,
    trust_conditions: Conditions | None = None,
) -> ServiceRole:
    """Create a role that only `service` may assume, with exactly `statements`."""
    role = _role(name, service, description, trust_conditions, opts)
    permissions = aws.iam.RolePolicy(name, name="permissions", role=role.name, policy=policy(*statements), opts=opts)
    return ServiceRole(name=role.name, arn=role.arn, permissions=permissions)


def managed_role(
    name: str,
    *,
    service: str,
    managed_policy: str,
    scope: Scope,
    description: str,
    opts: pulumi.ResourceOptions,
    trust_conditions: Conditions | None = None,
) -> ServiceRole:
    """Create a role that only `service` may assume, with a policy that AWS keeps for just that service."""
    role = _role(name, service, description, trust_conditions, opts)
    arn = pulumi.Output.format("arn:{}:iam::aws:policy/{}", scope.partition, managed_policy)
    permissions = aws.iam.RolePolicyAttachment(name, role=role.name, policy_arn=arn, opts=opts)
    return ServiceRole(name=role.name, arn=role.arn, permissions=permissions)


def _role(
    name: str, service: str, description: str, trust_conditions: Conditions | None, opts: pulumi.ResourceOptions
) -> aws.iam.Role:
    trust = Statement(principal={"Service": service}, actions=["sts:AssumeRole"], conditions=trust_conditions or {})
    return aws.iam.Role(name, name=name, description=description, assume_role_policy=policy(trust), opts=opts)
