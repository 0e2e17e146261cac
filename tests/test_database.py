"""The database: encrypted, private, recoverable, and reached by one secret."""

import json

import pytest

from components.database import master_secret_arn
from tests.pulumi_mocks import Recording, Resource, record_stack, record_stack_anew

INSTANCE = "aws:rds/instance:Instance"
KEY = "arn:aws:kms:ap-northeast-1:123456789012:key/11111111-2222"
CREDENTIALS = "arn:aws:secretsmanager:ap-northeast-1:123456789012:secret:rds!db-0a1b-AbCdEf"


def instance(stack: str = "dev", **overrides: str) -> Resource:
    """Return a stack's database."""
    return record_stack(stack, **overrides).one(INSTANCE)


def parameters(recording: Recording) -> dict[str, str]:
    """Return the parameter group's parameters."""
    given = recording.one("aws:rds/parameterGroup:ParameterGroup").inputs["parameters"]
    return {parameter["name"]: parameter["value"] for parameter in given}


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_what_would_replace_the_database_is_as_it_was_deployed(stack: str) -> None:
    given = instance(stack).inputs
    assert {
        key: given[key] for key in ("identifier", "dbName", "username", "engine", "storageEncrypted", "kmsKeyId")
    } == {
        "identifier": f"ev-population-{stack}",
        "dbName": "ev_population",
        "username": "ev_admin",
        "engine": "postgres",
        "storageEncrypted": True,
        "kmsKeyId": KEY,
    }


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_nobody_outside_the_isolated_tier_reaches_it(stack: str) -> None:
    recording = record_stack(stack)
    given = recording.one(INSTANCE).inputs
    assert given["publiclyAccessible"] is False
    assert given["vpcSecurityGroupIds"] == [f"ev-population-{stack}-database-id"]
    subnets = recording.one("aws:rds/subnetGroup:SubnetGroup").inputs["subnetIds"]
    assert len(subnets) >= 2
    assert all("-isolated-" in subnet for subnet in subnets)


def test_rds_itself_makes_and_keeps_the_password() -> None:
    given = instance().inputs
    assert given["manageMasterUserPassword"] is True
    assert given["masterUserSecretKmsKeyId"] == KEY
    assert "password" not in given


def test_tls_is_forced_and_what_is_slow_or_changes_the_schema_is_logged() -> None:
    assert parameters(record_stack("dev")) == {
        "rds.force_ssl": "1",
        "log_statement": "ddl",
        "log_min_duration_statement": "10000",
        "log_lock_waits": "1",
        "idle_in_transaction_session_timeout": "300000",
    }
    assert instance().inputs["caCertIdentifier"] == "rds-ca-rsa2048-g1"


@pytest.mark.parametrize(
    ("version", "family", "minor_upgrades", "support"),
    [
        ("13", "postgres13", True, "open-source-rds-extended-support"),
        ("13.20", "postgres13", False, "open-source-rds-extended-support"),
        ("15", "postgres15", True, "open-source-rds-extended-support-disabled"),
        ("16", "postgres16", True, "open-source-rds-extended-support-disabled"),
        ("17", "postgres17", True, "open-source-rds-extended-support-disabled"),
        ("17.9", "postgres17", False, "open-source-rds-extended-support-disabled"),
        ("18", "postgres18", True, "open-source-rds-extended-support-disabled"),
    ],
)
def test_every_version_has_its_parameter_group_and_support_plan(
    version: str, family: str, *, minor_upgrades: bool, support: str
) -> None:
    recording = record_stack("dev", postgresVersion=version)
    group = recording.one("aws:rds/parameterGroup:ParameterGroup")
    assert group.inputs["family"] == family
    assert group.name == f"ev-population-dev-{family}", "an upgrade makes the new group before the old one goes"
    given = recording.one(INSTANCE).inputs
    assert given["engineVersion"] == version
    assert given["autoMinorVersionUpgrade"] is minor_upgrades
    assert given["engineLifecycleSupport"] == support
    assert given["allowMajorVersionUpgrade"] is True


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_change_of_version_is_whole_when_up_is_done(stack: str) -> None:
    database = instance(stack)
    assert database.inputs["applyImmediately"] is True, "the old parameter group is deleted in the same update"
    assert database.ignore_changes == ("engineLifecycleSupport",), "no update can change it, so no preview may ask"


@pytest.mark.parametrize(("version", "warned"), [("13.20", True), ("13.22", True), ("13.23", False), ("13", False)])
def test_a_version_that_rds_no_longer_creates_is_deployed_with_a_warning(
    version: str, *, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    recording = record_stack_anew("dev", {"postgresVersion": version})
    assert recording.one(INSTANCE).inputs["engineVersion"] == version
    expected = (
        f"ev-population:postgresVersion is {version}, and RDS creates no new PostgreSQL instance before 13.23. For a "
        f"new stack, set 18. A stack that runs {version} keeps working; upgrade it in a quiet hour: "
        "docs/operate.md#upgrade-postgresql"
    )
    assert [item.message for item in caplog.records] == ([expected] if warned else [])


@pytest.mark.parametrize("gb", [20, 10_000])
def test_storage_grows_by_itself_but_not_for_ever(gb: int) -> None:
    given = instance(databaseStorageGb=str(gb)).inputs
    assert given["storageType"] == "gp3"
    assert given["allocatedStorage"] == gb
    assert gb * 1.1 <= given["maxAllocatedStorage"] <= 65_536, "RDS asks for a tenth more at least, gp3 ends at 64 TiB"


def test_prod_has_a_standby_backups_and_a_last_snapshot_and_cannot_be_deleted() -> None:
    database = instance("prod")
    assert database.protect
    given = database.inputs
    assert given["multiAz"] is given["deletionProtection"] is True
    assert given["skipFinalSnapshot"] is given["deleteAutomatedBackups"] is False
    assert given["backupRetentionPeriod"] == 35
    assert given["copyTagsToSnapshot"] is True
    assert given["monitoringInterval"] == 60


def test_dev_goes_without_a_trace() -> None:
    database = instance("dev")
    assert not database.protect
    given = database.inputs
    assert given["multiAz"] is given["deletionProtection"] is False
    assert given["skipFinalSnapshot"] is given["deleteAutomatedBackups"] is True
    assert given["backupRetentionPeriod"] == 1
    assert given["monitoringInterval"] == 0


def test_the_first_step_of_a_teardown_does_not_lose_the_last_snapshot() -> None:
    given = instance("prod", deletionProtection="false").inputs
    assert given["deletionProtection"] is False
    assert given["skipFinalSnapshot"] is False


def test_a_stack_that_is_built_again_does_not_meet_its_own_old_snapshot() -> None:
    assert instance("prod").inputs["finalSnapshotIdentifier"] == "ev-population-prod-db-1a2b3c4-final"


def test_backups_and_maintenance_keep_away_from_the_default_schedule_and_each_other() -> None:
    given = instance().inputs
    assert given["backupWindow"] == "17:00-17:30"
    assert given["maintenanceWindow"] == "sun:18:00-sun:19:00"  # UTC; the schedule is at 21:00


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_logs_are_exported_to_groups_that_are_there_before_rds_would_make_them(stack: str) -> None:
    recording = record_stack(stack)
    database = recording.one(INSTANCE)
    assert database.inputs["enabledCloudwatchLogsExports"] == ["postgresql", "upgrade"]
    for log in ("postgresql", "upgrade"):
        group = recording.one("aws:cloudwatch/logGroup:LogGroup", f"{log}-log")
        assert group.inputs["name"] == f"/aws/rds/instance/ev-population-{stack}/{log}"
        assert group.urn in database.depends_on


def test_performance_insights_are_kept_a_week_and_encrypted() -> None:
    given = instance().inputs
    assert given["performanceInsightsEnabled"] is True
    assert given["performanceInsightsRetentionPeriod"] == 7
    assert given["performanceInsightsKmsKeyId"] == KEY


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_one_secret_tells_a_function_all_that_it_needs_and_no_password(stack: str) -> None:
    recording = record_stack(stack)
    version = recording.one("aws:secretsmanager/secretVersion:SecretVersion")
    assert version.inputs["secretId"] == f"ev-population-{stack}-pipeline-id"
    assert json.loads(version.inputs["secretString"]) == {
        "bucket_name": f"ev-population-{stack}-raw-1a2b3c4",
        "host": f"ev-population-{stack}.abc.ap-northeast-1.rds.amazonaws.com",
        "port": 5432,
        "db_name": "ev_population",
        "credentials_arn": CREDENTIALS,
    }
    secret = recording.one("aws:secretsmanager/secret:Secret").inputs
    assert secret["kmsKeyId"] == KEY
    assert "name" not in secret, "a deleted secret's name is taken for days"


def test_an_instance_that_was_not_created_whole_stops_no_update() -> None:
    assert master_secret_arn([]) == ""
