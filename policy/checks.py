"""What breaks a rule: each check yields a sentence for every way in which a resource does.

Values that a preview does not know yet raise as they are read; the policy pack says so, and judges them once they are
known.
"""

import ipaddress
import json
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from policy import tokens
from policy.model import Props, Resource

REGION: Final = "ap-northeast-1"
RUNTIME: Final = "python3.12"
TAGS: Final = ("Project", "Stack", "ManagedBy", "DataClassification")

_INTERFACE = "Lambda makes its network interfaces itself: they have no name before they exist"
_DELIVERY = "vended log delivery has no resources that could be named"
_CHANNEL = "Session Manager's channels have no resources that could be named"
_TRACE = "X-Ray has no resources for traces"
_SAMPLING = "X-Ray gives out the sampling rules of the account, all or none"
ANY_RESOURCE: Final[Mapping[str, str]] = {
    "ec2:CreateNetworkInterface": _INTERFACE,
    "ec2:DescribeNetworkInterfaces": _INTERFACE,
    "ec2:DescribeSubnets": _INTERFACE,
    "ec2:DeleteNetworkInterface": _INTERFACE,
    "ec2:AssignPrivateIpAddresses": _INTERFACE,
    "ec2:UnassignPrivateIpAddresses": _INTERFACE,
    "logs:CreateLogDelivery": _DELIVERY,
    "logs:GetLogDelivery": _DELIVERY,
    "logs:UpdateLogDelivery": _DELIVERY,
    "logs:DeleteLogDelivery": _DELIVERY,
    "logs:ListLogDeliveries": _DELIVERY,
    "logs:PutResourcePolicy": _DELIVERY,
    "logs:DescribeResourcePolicies": _DELIVERY,
    "logs:DescribeLogGroups": _DELIVERY,
    "ssmmessages:CreateControlChannel": _CHANNEL,
    "ssmmessages:CreateDataChannel": _CHANNEL,
    "ssmmessages:OpenControlChannel": _CHANNEL,
    "ssmmessages:OpenDataChannel": _CHANNEL,
    "xray:PutTraceSegments": _TRACE,
    "xray:PutTelemetryRecords": _TRACE,
    "xray:GetSamplingRules": _SAMPLING,
    "xray:GetSamplingTargets": _SAMPLING,
}
MANAGED_POLICIES: Final[Mapping[str, str]] = {
    "service-role/AmazonRDSEnhancedMonitoringRole": "written by AWS for just this service, and by its log group alone",
    "AmazonSSMManagedInstanceCore": "Session Manager in place of SSH: no key, no open port",
}
# What EC2 accepts in the description of a security group or of a rule. No service model has it.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpRange.html
DESCRIPTION_CHARACTERS: Final = frozenset(f"{string.ascii_letters}{string.digits}. _-:/()#,@[]+=&;{{}}!$*")
DESCRIPTION_LENGTH: Final = 255
SECRET_NAME: Final = re.compile(r"PASSW|SECRET|TOKEN|CREDENTIAL|PRIVATE_?KEY|API_?KEY|ACCESS_?KEY", re.IGNORECASE)
SECRET_VALUE: Final = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|://[^/\s:@]*:[^/\s@]+@|[?&;](password|token)=", re.IGNORECASE
)


def _list(value: Any) -> list[Any]:
    """Return what JSON lets be one thing or a list of them as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, (str, Mapping)) else list(value)


def _statements(resource: Resource) -> Iterator[Mapping[str, Any]]:
    for key in ("policy", "assumeRolePolicy"):
        if text := resource.props.get(key):
            yield from _list(json.loads(text).get("Statement"))
    for inline in _list(resource.props.get("inlinePolicies")):
        yield from _list(json.loads(inline["policy"]).get("Statement"))


def _allowed(resource: Resource) -> Iterator[Mapping[str, Any]]:
    return (statement for statement in _statements(resource) if statement["Effect"] == "Allow")


def _open_ranges(props: Props) -> Iterator[str]:
    """Yield the address ranges that a security group rule names and that hold a public address."""
    ranges = [props.get("cidrIpv4"), props.get("cidrIpv6")]
    ranges += [*_list(props.get("cidrBlocks")), *_list(props.get("ipv6CidrBlocks"))]
    for cidr in ranges:
        if cidr and ipaddress.ip_network(cidr).is_global:
            yield cidr


def must(wanted: Mapping[str, Any]) -> Callable[[Resource], Iterator[str]]:
    """Return a check of plain values, by path (`a.b`)."""

    def check(resource: Resource) -> Iterator[str]:
        for path, value in wanted.items():
            got: Any = resource.props
            for step in path.split("."):
                got = got.get(step) if got is not None else None
            if isinstance(got, Sequence) and not isinstance(got, str):
                got = list(got)
            if got != value:
                yield f"{path} is {got!r}, it must be {value!r}."

    return check


def encrypted(resource: Resource) -> Iterator[str]:
    props = resource.props
    for key in ENCRYPTED_BY[resource.typ]:
        if not props.get(key):
            yield f"{key} names no key of ours."
    if resource.typ == tokens.DATABASE and props.get("storageEncrypted") is not True:
        yield "storageEncrypted is not true."
    if resource.typ == tokens.QUEUE and not (props.get("sqsManagedSseEnabled") or props.get("kmsMasterKeyId")):
        yield "neither sqsManagedSseEnabled nor kmsMasterKeyId is set."
    if resource.typ == tokens.INSTANCE and not (props.get("rootBlockDevice") or {}).get("encrypted"):
        yield "rootBlockDevice.encrypted is not true."
    if resource.typ == tokens.BUCKET_ENCRYPTION:
        for rule in props["rules"]:
            default = rule.get("applyServerSideEncryptionByDefault") or {}
            if default.get("sseAlgorithm") != "aws:kms" or not default.get("kmsMasterKeyId"):
                yield "objects are not encrypted with a key of ours (aws:kms and kmsMasterKeyId)."


ENCRYPTED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    tokens.DATABASE: ("kmsKeyId", "masterUserSecretKmsKeyId", "performanceInsightsKmsKeyId"),
    tokens.LOG_GROUP: ("kmsKeyId",),
    tokens.SECRET: ("kmsKeyId",),
    tokens.TOPIC: ("kmsMasterKeyId",),
    tokens.QUEUE: (),
    tokens.INSTANCE: (),
    tokens.BUCKET_ENCRYPTION: (),
}


def no_open_ingress(resource: Resource) -> Iterator[str]:
    if resource.typ == tokens.SECURITY_GROUP_RULE and resource.props.get("type") == "egress":
        return
    holders = _list(resource.props.get("ingress")) if resource.typ == tokens.SECURITY_GROUP else [resource.props]
    for holder in holders:
        for cidr in _open_ranges(holder):
            yield f"it lets {cidr} in."


def one_port_one_rule(resource: Resource) -> Iterator[str]:
    props = resource.props
    if resource.typ == tokens.SECURITY_GROUP:
        for direction in ("ingress", "egress"):
            if props.get(direction):
                yield f"{direction} is written in the group; a rule is a resource of its own, so that a change shows."
        return
    if props.get("ipProtocol") != "tcp" or props.get("fromPort") is None or props["fromPort"] != props.get("toPort"):
        yield "it opens more than one TCP port."


def described(resource: Resource) -> Iterator[str]:
    description = resource.props.get("description") or ""
    if not description or description.startswith("Managed by"):
        yield "it has no description."
    elif len(description) > DESCRIPTION_LENGTH:
        yield f"its description has {len(description)} characters; EC2 accepts 1 to {DESCRIPTION_LENGTH}."
    if refused := sorted(set(description) - DESCRIPTION_CHARACTERS):
        yield f"EC2 rejects {' '.join(refused)} in its description ({description!r})."


def no_wildcard_action(resource: Resource) -> Iterator[str]:
    for statement in _allowed(resource):
        for action in _list(statement.get("Action")):
            if "*" in action:
                yield f"{action} is allowed; name the actions."
        if "NotAction" in statement:
            yield "everything but NotAction is allowed; name the actions."


def no_wildcard_resource(resource: Resource) -> Iterator[str]:
    for statement in _allowed(resource):
        if "NotResource" in statement:
            yield "everything but NotResource is allowed; name the resources."
        wide = [
            arn for arn in _list(statement.get("Resource")) if re.fullmatch(r"\*|arn:[^:]+:[^:]+:[^:]*:[^:]*:\*", arn)
        ]
        if resource.typ in (tokens.KEY, "aws:kms/keyPolicy:KeyPolicy") and wide == ["*"]:
            continue  # in a key's own policy "*" is the key
        for action in _list(statement.get("Action")):
            if wide and action not in ANY_RESOURCE:
                yield f"{action} is allowed on {wide[0]}; name the resources, or its reason in ANY_RESOURCE."


def closed_principals(resource: Resource) -> Iterator[str]:
    for statement in _allowed(resource):
        if "NotPrincipal" in statement:
            yield "everybody but NotPrincipal is let in."
        principal = statement.get("Principal")
        named = (
            [name for names in principal.values() for name in _list(names)]
            if isinstance(principal, Mapping)
            else _list(principal)
        )
        if "*" in named and not statement.get("Condition"):
            yield "everybody is let in, without a condition."


def managed_policy(resource: Resource) -> Iterator[str]:
    name = resource.props["policyArn"].partition(":policy/")[2]
    if name not in MANAGED_POLICIES:
        yield f"{name or resource.props['policyArn']} is not among MANAGED_POLICIES, which gives each its reason."


def long_lived(resource: Resource) -> Iterator[str]:
    yield f"{resource.typ} gives a key that does not end; use a role."


def retention(resource: Resource) -> Iterator[str]:
    if not resource.props.get("retentionInDays"):
        yield "retentionInDays is not set: logs would be kept, and paid for, for ever."


def tags(resource: Resource) -> Iterator[str]:
    given = resource.props.get("defaultTags")
    found = (json.loads(given) if isinstance(given, str) else given or {}).get("tags") or {}
    for tag in TAGS:
        if not found.get(tag):
            yield f"defaultTags has no {tag}."
    if resource.props.get("region") != REGION:
        yield f"the region is {resource.props.get('region')!r}, it must be {REGION}."


def tls_only(resource: Resource) -> Iterator[str]:
    if resource.typ == tokens.DATABASE_PARAMETERS:
        parameters = {item["name"]: item["value"] for item in _list(resource.props.get("parameters"))}
        if parameters.get("rds.force_ssl") != "1":
            yield "rds.force_ssl is not 1."
    elif not any(
        statement["Effect"] == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in _statements(resource)
    ):
        yield "no statement denies everybody who comes without TLS (aws:SecureTransport)."


def recoverable(resource: Resource) -> Iterator[str]:
    props = resource.props
    if resource.typ == tokens.DATABASE and not props.get("backupRetentionPeriod"):
        yield "backupRetentionPeriod is 0: there would be no backups."
    if not resource.durable:
        return
    if not resource.protect:
        yield "it is not protected."
    if resource.typ == tokens.BUCKET and props.get("forceDestroy"):
        yield "forceDestroy would delete the data with the bucket."
    if resource.typ == tokens.DATABASE:
        if (props.get("backupRetentionPeriod") or 0) < 7:
            yield "backups are kept for less than 7 days."
        kept = {"deletionProtection": True, "skipFinalSnapshot": False, "deleteAutomatedBackups": False}
        yield from must({**kept, "multiAz": True})(resource)


def instance_is_closed(resource: Resource) -> Iterator[str]:
    options = resource.props.get("metadataOptions") or {}
    if options.get("httpTokens") != "required" or options.get("httpPutResponseHopLimit") != 1:
        yield "metadataOptions do not ask for IMDSv2 within one hop (httpTokens required, httpPutResponseHopLimit 1)."
    if resource.props.get("keyName"):
        yield "it has an SSH key; Session Manager needs none."
    # Lambda's traffic must come from an address that the source can answer; nothing else needs one.
    if resource.props.get("associatePublicIpAddress") and resource.props.get("sourceDestCheck") is not False:
        yield "it has a public address and is no NAT."


def no_secret_in_environment(resource: Resource) -> Iterator[str]:
    for name, value in ((resource.props.get("environment") or {}).get("variables") or {}).items():
        if (SECRET_NAME.search(name) and not name.endswith("_ARN")) or SECRET_VALUE.search(value):
            yield f"the variable {name} looks like a secret; keep it in Secrets Manager and give the function its ARN."


def function_verifies_tls(resource: Resource) -> Iterator[str]:
    variables = (resource.props.get("environment") or {}).get("variables") or {}
    if variables.get("PGSSLMODE", "verify-full") != "verify-full":
        yield f"PGSSLMODE is {variables['PGSSLMODE']!r}: without verify-full anybody could pass for the database."
    if not variables.get("SOURCE_URL", "https://").startswith("https://"):
        yield "SOURCE_URL is not https."


def endpoint_is_limited(resource: Resource) -> Iterator[str]:
    if not resource.props.get("policy"):
        yield "it has no policy, so it leads to every bucket or secret of every account."


def bucket_expires(resource: Resource) -> Iterator[str]:
    rules = [rule for rule in resource.props["rules"] if rule.get("status") == "Enabled"]
    for what in ("expiration", "noncurrentVersionExpiration", "abortIncompleteMultipartUpload"):
        if not any(rule.get(what) for rule in rules):
            yield f"no enabled rule has {what}."


def alarm_speaks(resource: Resource) -> Iterator[str]:
    if not resource.props.get("alarmActions"):
        yield "it tells nobody (alarmActions)."
    if not re.search(r"(docs/operate\.md|https://\S+)#[a-z-]+$", resource.props.get("alarmDescription") or ""):
        yield "its description leads to no place in the runbook (docs/operate.md#... or https://...#...)."


def start_is_not_lost(resource: Resource) -> Iterator[str]:
    target = resource.props["target"]
    if not target.get("deadLetterConfig"):
        yield "a start that fails leaves no dead letter (target.deadLetterConfig)."
    if not (target.get("retryPolicy") or {}).get("maximumRetryAttempts"):
        yield "a start that fails is not tried again (target.retryPolicy)."


def logs_tell_no_data(resource: Resource) -> Iterator[str]:
    logging = resource.props.get("loggingConfiguration") or {}
    if logging.get("level") in (None, "OFF"):
        yield "it logs nothing."
    if logging.get("includeExecutionData") is not False:
        yield "includeExecutionData is not false: what goes in and out would stand in the log."
