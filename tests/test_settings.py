"""Stack config: what is taken, what is refused, and how the refusal reads."""

import json
from typing import Any

import pytest
import yaml

from components.settings import Settings, SettingsError
from components.stack_config import load_stack_config
from tests.pulumi_mocks import PROJECT

DECLARED: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]

SECRETS = frozenset({"appToken"})
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
TAKEN_BY_CLOUDWATCH = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)


def parse(**overrides: str | list[str]) -> Settings:
    """Return dev's settings with some keys changed, lists as JSON, as Pulumi gives them."""
    given = {key: value if isinstance(value, str) else json.dumps(value) for key, value in overrides.items()}
    return Settings.parse(load_stack_config(PROJECT, "dev", given))


def refusal(**overrides: str | list[str]) -> str:
    """Return what the refusal of some values says."""
    with pytest.raises(SettingsError) as refused:
        parse(**overrides)
    return str(refused.value)


class TestPulumiYaml:
    def test_declares_exactly_the_keys_that_settings_know(self) -> None:
        known = {field.alias for field in Settings.model_fields.values()} - {"aws:region"}
        assert set(DECLARED) == known

    @pytest.mark.parametrize("key", DECLARED)
    def test_says_type_meaning_and_default_of_every_key(self, key: str) -> None:
        assert {"type", "description", "default"} <= set(DECLARED[key])

    @pytest.mark.parametrize("key", DECLARED)
    def test_has_only_types_that_pulumi_knows_and_says_what_lists_hold(self, key: str) -> None:
        assert DECLARED[key]["type"] in {"string", "boolean", "integer", "array"}
        assert ("items" in DECLARED[key]) == (DECLARED[key]["type"] == "array")

    @pytest.mark.parametrize("key", DECLARED)
    def test_has_defaults_of_the_declared_type(self, key: str) -> None:
        python = {"string": str, "boolean": bool, "integer": int, "array": list}[DECLARED[key]["type"]]
        assert type(DECLARED[key]["default"]) is python, (
            "Pulumi refuses a default of another type before our program runs"
        )

    def test_marks_no_key_secret_as_pulumi_would_demand_it_in_every_stack(self) -> None:
        assert not any("secret" in declared for declared in DECLARED.values())

    def test_alone_has_the_defaults(self) -> None:
        assert all(field.is_required() for field in Settings.model_fields.values())

    def test_defaults_alone_make_a_valid_stack(self) -> None:
        defaults = {
            f"ev-population:{key}": value if isinstance(value := declared["default"], str) else json.dumps(value)
            for key, declared in DECLARED.items()
        }
        assert Settings.parse({**defaults, "aws:region": "ap-northeast-1"}).deletion_protection, "safe unless told not"


def test_dev_is_cheap_and_holds_nothing_back() -> None:
    settings = Settings.parse(load_stack_config(PROJECT, "dev"))
    assert settings.model_dump(include={"region", "egress", "database_instance_class", "database_multi_az"}) == {
        "region": "ap-northeast-1",
        "egress": "nat-instance",
        "database_instance_class": "db.t4g.micro",
        "database_multi_az": False,
    }
    assert not settings.durable
    assert settings.resilient_zones == ("ap-northeast-1a",), "one NAT is enough for dev"


def test_prod_survives_the_loss_of_a_zone_and_keeps_its_data() -> None:
    settings = Settings.parse(load_stack_config(PROJECT, "prod"))
    assert settings.region == "ap-northeast-1"
    assert settings.database_multi_az
    assert settings.deletion_protection
    assert settings.durable
    assert settings.backup_retention_days == 35
    assert settings.resilient_zones == ("ap-northeast-1a", "ap-northeast-1c", "ap-northeast-1d")


def test_a_teardown_that_turns_deletion_protection_off_keeps_the_last_snapshot() -> None:
    assert parse(databaseMultiAz="true", deletionProtection="false").durable


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schedule", "rate(5 minutes)"),
        ("schedule", "at(2027-01-31T06:00:00)"),
        ("scheduleTimezone", "UTC"),
        ("scheduleTimezone", "America/Los_Angeles"),
        ("alertEmails", ["ops+ev@example.co.jp", "a@b.io"]),
        ("vpcCidr", "10.0.0.0/16"),
        ("vpcCidr", "192.168.2.0/23"),
        ("vpcCidr", "100.64.0.0/20"),
        ("availabilityZones", ["ap-northeast-1d", "ap-northeast-1a"]),
        *(("egress", value) for value in ("nat-gateway", "nat-instance", "lambda-managed")),
        *(("analystAccess", value) for value in ("none", "ssm")),
        *(("postgresVersion", value) for value in ("13", "13.20", "15", "16", "17", "17.9", "18", "18.10")),
        ("databaseInstanceClass", "db.r8g.48xlarge"),
        ("databaseStorageGb", "20"),
        ("databaseStorageGb", "10000"),
        ("databaseMultiAz", "true"),
        ("deletionProtection", "true"),
        ("backupRetentionDays", "1"),
        ("backupRetentionDays", "35"),
        ("rawRetentionDays", "1"),
        ("rawRetentionDays", "3650"),
        *(("logRetentionDays", str(days)) for days in TAKEN_BY_CLOUDWATCH),
        ("lambdaArchitecture", "x86_64"),
        ("partRows", "1000"),
        ("partRows", "100000"),
        ("loadConcurrency", "1"),
        ("loadConcurrency", "40"),
        ("maxRejectedFraction", "0"),
        ("maxShrinkFraction", "0.999"),
        ("sourceUrl", "https://data.wa.gov/"),
        ("sourceUrl", "https://data.wa.gov:443"),
        ("sourceUrl", "http://127.0.0.1:8080"),
        ("datasetId", "abcd-1234"),
        ("appToken", ""),
        ("appToken", "ExampleExampleExample0000"),
    ],
)
def test_a_right_value_is_taken(key: str, value: str | list[str]) -> None:
    parse(**{key: value})


WRONG: list[tuple[str, str | list[str], str]] = [
    ("schedule", "every day", "not of the form"),
    ("schedule", "cron(0 6 * * *)", "got 5"),
    ("schedule", "cron(0 6 * * * *)", "exactly one"),
    ("schedule", "cron(0 25 * * ? *)", "hours '25' is not in 0-23"),
    ("schedule", "cron(0 6 31 2 ? *)", "never fires"),
    ("schedule", "rate(1 days)", "rate(1 days)"),
    ("schedule", "rate(0 hours)", "positive"),
    ("schedule", "", "not of the form"),
    ("scheduleTimezone", "Asia/Tokio", "is Asia/Tokyo meant?"),
    ("scheduleTimezone", "JST", "no such time zone"),
    ("scheduleTimezone", "../../etc/passwd", "no such time zone"),
    ("alertEmails", ["nobody"], "'nobody' is no e-mail address"),
    ("alertEmails", ["a@b"], "'a@b'"),
    ("alertEmails", ["a b@example.com"], "'a b@example.com'"),
    ("alertEmails", ["ops@example.com", "ops@example.com"], "twice"),
    ("alertEmails", "ops@example.com", "not a list"),
    ("alertEmails", "[1]", "not a list of strings"),
    ("notifyOn", "always", "'every-run', 'changes' or 'failures'"),
    ("notifyOn", "", "'every-run', 'changes' or 'failures'"),
    ("runbookUrl", "docs/operate.md", "not an https address"),
    ("runbookUrl", "http://example.com/operate.md", "not an https address"),
    ("runbookUrl", "https://", "not an https address"),
    ("runbookUrl", "https://example.com/operate.md#errors", "without a fragment"),
    ("runbookUrl", "https://example.com/operate.md here", "not an https address"),
    ("runbookUrl", "https://example.com/{}", "not an https address"),
    ("runbookUrl", "https://example.com/it's", "not an https address"),
    ("runbookUrl", "https://user@example.com/", "not an https address"),
    ("runbookUrl", "https://example.com/".ljust(301, "x"), "it has 301 characters"),
    ("vpcCidr", "10.0.0.0/15", "a /15"),
    ("vpcCidr", "10.0.0.0/24", "a /24"),
    ("vpcCidr", "10.0.0.1/16", "host bits"),
    ("vpcCidr", "8.8.0.0/16", "outside the private ranges"),
    ("vpcCidr", "172.0.0.0/16", "outside the private ranges"),
    ("vpcCidr", "10.0.0.0", "a /32"),
    ("vpcCidr", "fd00::/16", "no IPv4 network"),
    ("vpcCidr", "ten", "no IPv4 network"),
    ("availabilityZones", [], "names 0"),
    ("availabilityZones", ["ap-northeast-1a"], "names 1"),
    ("availabilityZones", ["ap-northeast-1a", "ap-northeast-1a"], "twice"),
    ("availabilityZones", ["ap-northeast-1a", "us-west-2b"], "'us-west-2b' is not in ap-northeast-1"),
    ("availabilityZones", ["ap-northeast-1a", "ap-northeast-1z"], "'ap-northeast-1z' is no availability zone"),
    ("availabilityZones", ["ap-northeast-1a", "us-west-2-lax-1a"], "'us-west-2-lax-1a' is no availability zone"),
    ("availabilityZones", ["apne1-az4", "ap-northeast-1a"], "'apne1-az4' is no availability zone"),
    ("egress", "nat", "'nat-gateway', 'nat-instance' or 'lambda-managed'"),
    ("analystAccess", "ssh", "'none' or 'ssm'"),
    ("analystAccess", "true", "'none' or 'ssm'"),
    ("analystAccess", "", "'none' or 'ssm'"),
    *(
        ("postgresVersion", value, f"a stack file without quotes turns {value}0 into {value}")
        for value in ("13.2", "17.1")
    ),
    *(("postgresVersion", value, "match pattern") for value in ("14", "19", "13.", "18.x", "18.1.2", "latest", "")),
    ("databaseInstanceClass", "t4g.micro", "not of the form"),
    ("databaseInstanceClass", "db.t2.micro", "family t2"),
    ("databaseInstanceClass", "db.t4g.16xlarge", "not 16xlarge"),
    ("databaseInstanceClass", "db.m7g.micro", "not micro"),
    ("databaseInstanceClass", "db.r6g.24xlarge", "ends at 16xlarge"),
    ("databaseStorageGb", "19", "greater than or equal to 20"),
    ("databaseStorageGb", "10001", "less than or equal to 10000"),
    ("databaseStorageGb", "20.5", "whole number"),
    ("databaseStorageGb", "20 GB", "whole number"),
    ("databaseMultiAz", "yes", "neither true nor false"),
    ("databaseMultiAz", "1", "neither true nor false"),
    ("databaseMultiAz", "True", "neither true nor false"),
    ("deletionProtection", "", "neither true nor false"),
    ("backupRetentionDays", "0", "greater than or equal to 1"),
    ("backupRetentionDays", "36", "less than or equal to 35"),
    ("rawRetentionDays", "0", "greater than or equal to 1"),
    ("rawRetentionDays", "3651", "less than or equal to 3650"),
    ("logRetentionDays", "0", "not one of them"),
    ("logRetentionDays", "31", "not one of them"),
    ("lambdaArchitecture", "amd64", "'arm64' or 'x86_64'"),
    ("partRows", "999", "greater than or equal to 1000"),
    ("partRows", "100001", "less than or equal to 100000"),
    ("partRows", "50_000", "whole number"),
    ("loadConcurrency", "0", "greater than or equal to 1"),
    ("loadConcurrency", "41", "less than or equal to 40"),
    ("maxRejectedFraction", "1", "less than 1"),
    ("maxRejectedFraction", "-0.01", "greater than or equal to 0"),
    ("maxRejectedFraction", "1%", "decimal number"),
    ("maxShrinkFraction", "1.0", "less than 1"),
    ("maxShrinkFraction", "nan", "decimal number"),
    ("maxSourceAgeDays", "0", "greater than or equal to 1"),
    ("maxSourceAgeDays", "3651", "less than or equal to 3650"),
    ("maxSourceAgeDays", "a month", "whole number"),
    ("sourceUrl", "http://data.wa.gov", "not an https address"),
    ("sourceUrl", "data.wa.gov", "not an https address"),
    ("sourceUrl", "https://", "not an https address"),
    ("sourceUrl", "https://data.wa.gov/resource", "more than a scheme and a host"),
    ("sourceUrl", "https://data.wa.gov?x=1", "more than a scheme and a host"),
    ("sourceUrl", "https://user@data.wa.gov", "more than a scheme and a host"),
    ("sourceUrl", "https://data.wa.gov:8443", "only 443 leaves the VPC"),
    ("datasetId", "f6w7q2d2", "match pattern"),
    ("datasetId", "F6W7-Q2D2", "match pattern"),
    ("datasetId", "f6w7-q2d2-x", "match pattern"),
    ("appToken", "short", "8 to 200"),
    ("appToken", "with a space in it", "a header cannot carry"),
    ("appToken", "line\r\nX-Evil: 1", "a header cannot carry"),
    ("aws:region", "Tokyo", "match pattern"),
]


@pytest.mark.parametrize(("key", "value", "reason"), WRONG)
def test_a_wrong_value_is_refused_with_key_value_reason_rule_and_example(
    key: str, value: str | list[str], reason: str
) -> None:
    message = refusal(**{key: value})
    got = "(not shown)" if key == "appToken" else repr(value if isinstance(value, str) else json.dumps(value))
    full_key = key if ":" in key else f"ev-population:{key}"
    assert f"{full_key} = {got}\n  refused: " in message
    assert reason in message.split("refused: ")[1].split("\n")[0]
    assert "\n  rule:    " in message
    assert "\n  example: " in message


@pytest.mark.parametrize("key", sorted({key for key, _, _ in WRONG} - {"appToken"}))
def test_the_example_that_a_refusal_gives_is_right(key: str) -> None:
    wrong = next(value for name, value, _ in WRONG if name == key)
    example = yaml.safe_load(refusal(**{key: wrong}).split("example: ")[1].split("\n")[0])
    (full_key, value), *_ = example.items()
    assert full_key == (key if ":" in key else f"ev-population:{key}")
    parse(**{key: value if isinstance(value, str | list) else json.dumps(value)})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://example.com",
        "https://example.com:8443/runbook/",
        "https://github.com/example/ev-population/blob/main/docs/operate.md?plain=0",
        "https://example.com/".ljust(300, "x"),
    ],
)
def test_an_address_of_the_runbook_is_taken_and_none_is_too(url: str) -> None:
    assert parse(runbookUrl=url).runbook == (url or "docs/operate.md")


def test_people_hear_of_every_run_in_dev_and_of_changes_elsewhere() -> None:
    notify_on = {stack: load_stack_config(PROJECT, stack)["ev-population:notifyOn"] for stack in ("dev", "prod")}
    assert notify_on == {"dev": "every-run", "prod": "changes"}


def test_every_key_has_a_wrong_value_in_these_tests() -> None:
    assert {key for key, _, _ in WRONG} == {field.alias for field in Settings.model_fields.values()}


def test_several_wrong_values_are_reported_together() -> None:
    message = refusal(schedule="daily", vpcCidr="10.0.0.0/28", egress="none", partRows="1", alertEmails=["x"])
    assert message.startswith("The stack's config has 5 wrong values; nothing was changed.")
    for key in ("schedule", "vpcCidr", "egress", "partRows", "alertEmails"):
        assert f"\nev-population:{key} = " in message


def test_a_standby_in_a_single_zone_is_refused_by_the_zones() -> None:
    message = refusal(databaseMultiAz="true", availabilityZones=["ap-northeast-1a"])
    assert "a standby needs another" in message


def test_a_wrong_region_does_not_make_the_zones_wrong_too() -> None:
    assert refusal(**{"aws:region": "tokyo"}).startswith("The stack's config has a wrong value")


def test_an_unknown_key_is_refused_by_name_with_the_likely_one() -> None:
    message = refusal(partRow="5")
    assert "ev-population:partRow\n  refused: there is no such key" in message
    assert "example: ev-population:partRows" in message


def test_the_value_of_an_unknown_key_is_not_shown_as_it_may_be_a_secret() -> None:
    assert "hunter22" not in refusal(apToken="hunter22")


def test_keys_of_other_namespaces_are_left_alone() -> None:
    parse(**{"aws:profile": "somebody", "pulumi:tags": "{}"})


def test_a_missing_value_is_refused_by_name() -> None:
    config = load_stack_config(PROJECT, "dev")
    del config["ev-population:egress"], config["aws:region"]
    with pytest.raises(SettingsError, match="ev-population:egress\n  refused: it has no value") as refused:
        Settings.parse(config)
    assert "aws:region\n  refused: it has no value" in str(refused.value)


@pytest.mark.parametrize("token", ["has a blank in it", "toolong" * 100])
def test_a_secret_is_never_shown(token: str) -> None:
    assert token not in refusal(appToken=token)
    assert "12345678" not in repr(parse(appToken="12345678"))


def test_a_secret_stored_in_the_clear_is_refused_even_if_it_is_well_formed() -> None:
    config = load_stack_config(PROJECT, "dev", {"appToken": "example-app-token"})
    with pytest.raises(SettingsError, match="stored in the clear") as refused:
        Settings.parse(config, clear_secrets=SECRETS)
    assert "pulumi config set --secret appToken" in str(refused.value)
    assert "example-app-token" not in str(refused.value)


def test_no_token_at_all_is_no_secret_in_the_clear() -> None:
    Settings.parse(load_stack_config(PROJECT, "dev"), clear_secrets=SECRETS)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse().egress = "nat-gateway"
