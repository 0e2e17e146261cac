"""The policy pack: `pulumi preview --policy-pack policy` judges every resource by the rules that the tests judge by."""

import sys
from collections.abc import Callable
from pathlib import Path

import pulumi
from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)

# Pulumi runs this folder, not the project that it is a package of.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from policy.model import Resource, Rule, StackRule
from policy.rules import RULES, STACK_RULES


def judge(rule: Rule) -> Callable[[ResourceValidationArgs, ReportViolation], None]:
    """Return what judges one resource by `rule`."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        resource = Resource(
            typ=args.resource_type,
            name=args.name,
            props=args.props,
            stack=pulumi.get_stack(),
            protect=args.opts.protect,
        )
        for violation in rule.violations(resource):
            report(violation, None)

    return validate


def judge_stack(rule: StackRule) -> Callable[[StackValidationArgs, ReportViolation], None]:
    """Return what judges the whole stack by `rule`."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for violation in rule.violations((resource.resource_type, resource.name) for resource in args.resources):
            report(violation, None)

    return validate


policies: list[Policy] = [
    *(ResourceValidationPolicy(rule.name, rule.says, judge(rule)) for rule in RULES),
    *(StackValidationPolicy(rule.name, rule.says, judge_stack(rule)) for rule in STACK_RULES),
]
PolicyPack("ev-population", policies, EnforcementLevel.MANDATORY)
