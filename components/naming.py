"""Names and ARNs: every name carries project and stack, so that two stacks can live in one account."""

import re
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

# Every role, function and schedule is `<project>-<stack>-<role>` and may have 64 characters, the tightest limit met.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-entities
LONGEST_STACK_NAME: Final = 20
# What a role adds at most; tests hold the names to it.
LONGEST_ROLE_NAME: Final = 28

FUNCTIONS: Final = ("extract", "stage", "publish")
DATABASE_LOGS: Final = ("postgresql", "upgrade")


class StackNameError(ValueError):
    """The stack's name cannot be part of AWS names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Where a stack lives and what its names begin with."""

    prefix: str
    stack: str
    region: str
    account_id: pulumi.Output[str]
    partition: pulumi.Output[str]

    def arn(self, service: str, resource: str) -> pulumi.Output[str]:
        """Return the ARN of a resource of this account; of this region too, unless the service is global."""
        region = "" if service == "iam" else self.region
        return pulumi.Output.format("arn:{}:{}:{}:{}:{}", self.partition, service, region, self.account_id, resource)


def prefix(project: str, stack: str) -> str:
    """Return what every name begins with; raise StackNameError for a name that some AWS service would refuse."""
    if len(stack) > LONGEST_STACK_NAME or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", stack):
        raise StackNameError(
            f"Stack name {stack!r} cannot stand in AWS names: it must begin with a lower-case letter, hold lower-case "
            f"letters, digits and single hyphens (S3 and RDS take no more) and have at most {LONGEST_STACK_NAME} "
            f"characters (got {len(stack)}; an IAM role's name ends at 64). Rename it: pulumi stack rename dev"
        )
    return f"{project}-{stack}"


def scope_of_this_run(name_prefix: str, region: str, provider: aws.Provider) -> Scope:
    """Ask AWS who deploys: the account's number and the partition stand in policies."""
    options = pulumi.InvokeOutputOptions(provider=provider)
    return Scope(
        prefix=name_prefix,
        stack=pulumi.get_stack(),
        region=region,
        account_id=aws.get_caller_identity_output(opts=options).account_id,
        partition=aws.get_partition_output(opts=options).partition,
    )


def function_log_group(name_prefix: str, function: str) -> str:
    """Return the log group that Lambda writes to by default for a function of this stack."""
    return f"/aws/lambda/{name_prefix}-{function}"


def state_machine_log_group(name_prefix: str) -> str:
    """Return the state machine's log group.

    Below /aws/vendedlogs/, so that log delivery does not outgrow the account's one resource policy:
    https://docs.aws.amazon.com/step-functions/latest/dg/bp-cwl.html
    """
    return f"/aws/vendedlogs/states/{name_prefix}"


def flow_log_group(name_prefix: str) -> str:
    """Return the log group of the VPC's flow logs."""
    return f"/aws/vpc/{name_prefix}"


def database_log_group(name_prefix: str, log: str) -> str:
    """Return the log group that RDS writes an exported log to; the instance is named by the prefix alone."""
    return f"/aws/rds/instance/{name_prefix}/{log}"


def log_groups(name_prefix: str) -> list[str]:
    """Return every log group of the stack: the key's policy lets CloudWatch Logs use it for these."""
    return [
        *(function_log_group(name_prefix, function) for function in FUNCTIONS),
        *(database_log_group(name_prefix, log) for log in DATABASE_LOGS),
        state_machine_log_group(name_prefix),
        flow_log_group(name_prefix),
    ]
