"""Stack config, made one typed object or refused, before any resource exists. Pure.

Every wrong value is reported in one error, each with its key, what was got, the rule and a right example; a secret's
value is never shown. Defaults stand in Pulumi.yaml alone. `components/stack_config.py` reads what is parsed here.
"""

import difflib
import ipaddress
import json
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from components import database_class, schedule, subnets

NAMESPACE: Final = "ev-population"

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LOG_RETENTION_DAYS: Final = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
# gp3 for PostgreSQL is 20 GB to 64 TiB; autoscaling goes to five times the start and must stay below that.
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html#gp3-storage
STORAGE_GROWTH: Final = 5
SMALLEST_STORAGE_GB: Final = 20
LARGEST_STORAGE_GB: Final = 10_000
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithAutomatedBackups.BackupRetention.html
LONGEST_BACKUP_DAYS: Final = 35

type Egress = Literal["nat-gateway", "nat-instance", "lambda-managed"]
type AnalystAccess = Literal["none", "ssm"]
type NotifyOn = Literal["every-run", "changes", "failures"]

RUNBOOK: Final = "docs/operate.md"
LONGEST_RUNBOOK_URL: Final = (
    300  # CloudWatch takes descriptions of 1024 characters, and the alarm's own words come first
)


class SettingsError(Exception):
    """The stack's config has wrong values; the message names every one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a key asks for, in words, and a value that follows it, as it stands in a stack file."""

    text: str
    example: str


def _whole_number(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"-?\d+", value):
        raise ValueError("it is not a whole number")
    return value


def _decimal(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"-?\d+(\.\d+)?", value):
        raise ValueError("it is not a decimal number")
    return value


def _quoted_version(value: str) -> str:
    # Minor versions 1 and 2 of every major are years old, so nothing is lost by taking them for what they mostly are.
    if value.endswith((".1", ".2")):
        raise ValueError(f"a stack file without quotes turns {value}0 into {value}")
    return value


def _true_or_false(value: Any) -> bool:
    if value not in ("true", "false"):
        raise ValueError("it is neither true nor false")
    return bool(value == "true")


def _json_list(value: Any) -> Any:
    try:
        items = json.loads(value)
    except ValueError:
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("it is not a list of strings")
    if len(set(items)) != len(items):
        raise ValueError("it names something twice")
    return items


def _time_zone(value: str) -> str:
    # Scheduler takes any IANA name; the set is that of the machine's or Python's own copy of the database.
    if value not in zoneinfo.available_timezones():
        near = difflib.get_close_matches(value, zoneinfo.available_timezones(), n=1)
        raise ValueError(f"there is no such time zone{f'; is {near[0]} meant?' if near else ''}")
    return value


def _emails(values: list[str]) -> list[str]:
    for value in values:
        if not re.fullmatch(r"[^@\s\"'<>,;]+@([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]{2,}", value):
            raise ValueError(f"{value!r} is no e-mail address")
    return values


def _source_url(value: str) -> str:
    url = urlsplit(value)
    local = url.scheme == "http" and url.hostname in ("127.0.0.1", "localhost")
    if not url.hostname or not (url.scheme == "https" or local):
        raise ValueError("it is not an https address (plain http goes to this machine only, as the local run does)")
    if url.username or url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError("it has more than a scheme and a host")
    if not local and url.port not in (None, 443):
        raise ValueError("it names a port, and only 443 leaves the VPC")
    return value.removesuffix("/")


def _runbook_url(value: str) -> str:
    # Quotes, braces and angle brackets mean something in the templates that the address stands in.
    if not re.fullmatch(r"(https://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~%!$&()*+,;=:@/?-]*)?)?", value):
        raise ValueError("it is not an https address without a fragment")
    if len(value) > LONGEST_RUNBOOK_URL:
        raise ValueError(f"it has {len(value)} characters")
    return value


def _app_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"([!-~]{8,200})?", value.get_secret_value()):
        raise ValueError("it has spaces or other characters that a header cannot carry, or not 8 to 200 of them")
    return value


type WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
type Fraction = Annotated[float, BeforeValidator(_decimal), Field(ge=0, lt=1)]
type Switch = Annotated[bool, BeforeValidator(_true_or_false)]
type Texts = Annotated[tuple[str, ...], BeforeValidator(_json_list)]


class Settings(BaseModel):
    """The stack's config, typed and valid. Names are the config keys' in snake_case."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    region: Annotated[
        str,
        Field(alias="aws:region", pattern=r"^[a-z]{2}(-[a-z]+)+-\d$"),
        Rule("the AWS region to deploy to", "ap-northeast-1"),
    ]
    schedule: Annotated[
        str,
        AfterValidator(schedule.validate),
        Rule("an EventBridge Scheduler expression: rate(...), cron(...) with six fields, or at(...)", "rate(1 day)"),
    ]
    schedule_timezone: Annotated[str, AfterValidator(_time_zone), Rule("an IANA time zone", "Asia/Tokyo")]
    alert_emails: Annotated[
        Texts, AfterValidator(_emails), Rule("a list of e-mail addresses, none twice", "[ops@example.com]")
    ]
    notify_on: Annotated[NotifyOn, Rule("every-run, changes or failures", "changes")]
    runbook_url: Annotated[
        str,
        AfterValidator(_runbook_url),
        Rule(
            f"the https address of a rendered {RUNBOOK}, at most {LONGEST_RUNBOOK_URL} characters and without a "
            "fragment, or empty for none",
            f"https://github.com/example/ev-population/blob/main/{RUNBOOK}",
        ),
    ]
    vpc_cidr: Annotated[
        ipaddress.IPv4Network,
        BeforeValidator(subnets.parse_vpc_cidr),
        Rule(
            f"a private IPv4 network from /{subnets.WIDEST_VPC} to /{subnets.NARROWEST_VPC}: AWS takes no wider one, "
            f"and a narrower one has no room for three subnets in each of {len(subnets.ZONE_LETTERS)} zones",
            "10.42.0.0/16",
        ),
    ]
    availability_zones: Annotated[
        Texts,
        Rule(
            "zones of aws:region, none twice, two at least: RDS wants its subnets in two, and a standby needs another",
            "[ap-northeast-1a, ap-northeast-1c]",
        ),
    ]
    egress: Annotated[Egress, Rule("nat-gateway, nat-instance or lambda-managed", "nat-gateway")]
    analyst_access: Annotated[AnalystAccess, Rule("none or ssm", "ssm")]
    postgres_version: Annotated[
        str,
        Field(pattern=r"^(13|15|16|17|18)(\.\d{1,2})?$"),
        AfterValidator(_quoted_version),
        Rule(
            "a major version that the load supports (13, 15, 16, 17, 18) or a minor version of one (17.9), in quotes",
            '"18"',
        ),
    ]
    database_instance_class: Annotated[
        str,
        AfterValidator(database_class.validate),
        Rule("an RDS instance class that runs PostgreSQL", "db.t4g.micro"),
    ]
    database_storage_gb: Annotated[
        WholeNumber,
        Field(ge=SMALLEST_STORAGE_GB, le=LARGEST_STORAGE_GB),
        Rule(f"whole GB from {SMALLEST_STORAGE_GB}, the least that gp3 has, to {LARGEST_STORAGE_GB}", "20"),
    ]
    database_multi_az: Annotated[Switch, Rule("true or false", "true")]
    deletion_protection: Annotated[Switch, Rule("true or false", "true")]
    backup_retention_days: Annotated[
        WholeNumber,
        Field(ge=1, le=LONGEST_BACKUP_DAYS),
        Rule(f"whole days from 1 to {LONGEST_BACKUP_DAYS}, the most that RDS keeps", "7"),
    ]
    raw_retention_days: Annotated[WholeNumber, Field(ge=1, le=3650), Rule("whole days from 1 to 3650", "90")]
    log_retention_days: Annotated[
        WholeNumber,
        Rule(f"a number of days that CloudWatch Logs takes: {', '.join(map(str, LOG_RETENTION_DAYS))}", "30"),
    ]
    lambda_architecture: Annotated[Literal["arm64", "x86_64"], Rule("arm64 or x86_64", "arm64")]
    part_rows: Annotated[
        WholeNumber,
        Field(ge=1_000, le=100_000),
        Rule("whole rows from 1000 to 100000, so that a part fits in memory", "25000"),
    ]
    load_concurrency: Annotated[
        WholeNumber, Field(ge=1, le=40), Rule("from 1 to 40: each part loaded holds a database connection", "4")
    ]
    max_rejected_fraction: Annotated[Fraction, Rule("a share from 0 up to, but not, 1", '"0.01"')]
    max_shrink_fraction: Annotated[Fraction, Rule("a share from 0 up to, but not, 1", '"0.10"')]
    max_source_age_days: Annotated[WholeNumber, Field(ge=1, le=3650), Rule("whole days from 1 to 3650", "90")]
    source_url: Annotated[
        str,
        AfterValidator(_source_url),
        Rule("the https address of a Socrata server, with no path", "https://data.wa.gov"),
    ]
    dataset_id: Annotated[
        str,
        Field(pattern=r"^[a-z0-9]{4}-[a-z0-9]{4}$"),
        Rule("a Socrata dataset's identifier, two groups of four lower-case letters or digits", "f6w7-q2d2"),
    ]
    app_token: Annotated[
        SecretStr,
        AfterValidator(_app_token),
        Rule("a Socrata app token, or empty for none", "set by: pulumi config set --secret appToken"),
    ]

    @field_validator("availability_zones")
    @classmethod
    def _zones_of_the_region(cls, zones: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(zones) < 2:
            raise ValueError(f"it names {len(zones)}")
        for zone in zones:
            subnets.zone_letter(zone)
            region = info.data.get("region", zone[:-1])  # a wrong region is reported as itself
            if zone[:-1] != region:
                raise ValueError(f"{zone!r} is not in {region}")
        return zones

    @field_validator("log_retention_days")
    @classmethod
    def _taken_by_cloudwatch(cls, days: int) -> int:
        if days not in LOG_RETENTION_DAYS:
            raise ValueError("it is not one of them")
        return days

    @classmethod
    def parse(cls, config: Mapping[str, str], *, clear_secrets: frozenset[str] = frozenset()) -> Self:
        """Return the settings in `config` (full keys, `ev-population:schedule`, and values as Pulumi gives them).

        `clear_secrets` are keys of secrets that the stack holds unencrypted; a value there is refused. Keys of other
        namespaces are left alone, but for `aws:region`. Raises SettingsError, which names every wrong value.
        """
        prefix = f"{NAMESPACE}:"
        values = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
        if "aws:region" in config:
            values["aws:region"] = config["aws:region"]
        problems = [
            _problem(f"{prefix}{key}", "(not shown)", "it is stored in the clear", "a secret is stored encrypted",
                     f"set by: pulumi config set --secret {key}")
            for key in sorted(clear_secrets) if values.get(key)
        ]  # fmt: skip
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            problems += [_explain(details) for details in error.errors()]
        if problems:
            count = "a wrong value" if len(problems) == 1 else f"{len(problems)} wrong values"
            raise SettingsError(f"The stack's config has {count}; nothing was changed.\n\n" + "\n\n".join(problems))
        return settings

    @property
    def postgres_major(self) -> int:
        """The major version: parameter groups and support plans go by it."""
        return int(self.postgres_version.partition(".")[0])

    @property
    def runbook(self) -> str:
        """Where people read on: the configured address of the runbook, or its place in the repository."""
        return self.runbook_url or RUNBOOK

    @property
    def resilient_zones(self) -> tuple[str, ...]:
        """Zones with what is paid for by the zone (NAT, endpoint): all if the database has a standby, else one."""
        return self.availability_zones if self.database_multi_az else self.availability_zones[:1]

    @property
    def durable(self) -> bool:
        """Whether data must outlive a mistake: a last snapshot is taken, the key and automated backups are kept.

        Not `deletion_protection` alone: a teardown turns that off first, and must not lose the last snapshot by it.
        """
        return self.deletion_protection or self.database_multi_az

    @property
    def extract_in_vpc(self) -> bool:
        """Whether the extract function runs in the VPC, behind a NAT."""
        return self.egress != "lambda-managed"


def _explain(details: ErrorDetails) -> str:
    key = str(details["loc"][0])
    full_key = key if ":" in key else f"{NAMESPACE}:{key}"
    fields = {field.alias: field for field in Settings.model_fields.values()}
    if key not in fields:
        near = difflib.get_close_matches(key, [name for name in fields if name], n=1)
        meant = f"{NAMESPACE}:{near[0]}" if near else f"pulumi config rm {key}"
        return _problem(full_key, None, "there is no such key", "Pulumi.yaml declares every key", meant)
    field = fields[key]
    rule = next(item for item in field.metadata if isinstance(item, Rule))
    if details["type"] == "missing":
        return _problem(full_key, None, "it has no value", rule.text, f"{full_key}: {rule.example}")
    secret = field.annotation is SecretStr
    got = "(not shown)" if secret else repr(details["input"])
    why = str(details["ctx"]["error"]) if details["type"] == "value_error" else details["msg"].replace("Input", "it")
    return _problem(full_key, got, why, rule.text, rule.example if secret else f"{full_key}: {rule.example}")


def _problem(key: str, got: str | None, why: str, rule: str, example: str) -> str:
    return f"{key}{f' = {got}' if got else ''}\n  refused: {why}\n  rule:    {rule}\n  example: {example}"
