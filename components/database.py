"""PostgreSQL on RDS, and the secret that says how to reach it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from components import iam, naming
from components.naming import Scope
from components.settings import STORAGE_GROWTH, Settings

DATABASE_NAME: Final = "ev_population"
MASTER_USER: Final = "ev_admin"
# Verified by the functions with the bundle they carry; valid until 2061.
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html
CERTIFICATE_AUTHORITY: Final = "rds-ca-rsa2048-g1"
# UTC; 02:00 and Monday 03:00 in Tokyo, away from the default schedule at 06:00 there.
BACKUP_WINDOW: Final = "17:00-17:30"
MAINTENANCE_WINDOW: Final = "sun:18:00-sun:19:00"
SECRET_RECOVERY_DAYS: Final = 7
# The oldest minor version of 13 under extended support, and so the oldest that RDS still creates.
# https://docs.aws.amazon.com/AmazonRDS/latest/PostgreSQLReleaseNotes/postgresql-release-calendar.html
OLDEST_13: Final = 23

# name, value, apply method, and why it is not left at its default
PARAMETERS: Final = (
    ("rds.force_ssl", "1", "pending-reboot"),  # no connection without TLS; the default only from 15 on
    ("log_statement", "ddl", "immediate"),  # who changed the schema, and when; never rows
    ("log_min_duration_statement", "10000", "immediate"),  # ms: what took longer than ten seconds
    ("log_lock_waits", "1", "immediate"),  # whoever waited for the publishing lock
    # A function that was killed amid its transaction holds its locks until then, not for RDS' default of a day.
    ("idle_in_transaction_session_timeout", "300000", "immediate"),  # ms
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseArgs:
    """What the database depends on; `bucket_name` goes into the secret, so that one reference tells a function all."""

    scope: Scope
    settings: Settings
    key_arn: pulumi.Input[str]
    subnet_ids: list[pulumi.Output[str]]
    security_group_id: pulumi.Input[str]
    bucket_name: pulumi.Input[str]


class Database(pulumi.ComponentResource):
    """An encrypted, private instance whose master password RDS itself makes, keeps and rotates."""

    identifier: pulumi.Output[str]
    address: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    secret_arn: pulumi.Output[str]
    credentials_arn: pulumi.Output[str]

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the instance and the pipeline's secret."""
        super().__init__("ev-population:index:Database", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings = args.settings
        if warning := version_warning(settings.postgres_version):
            pulumi.log.warn(warning, self)

        subnet_group = aws.rds.SubnetGroup(
            f"{name}-db", description=f"Isolated subnets of {name}", subnet_ids=args.subnet_ids, opts=child
        )
        # Named by its major version: an upgrade makes the new group before the old one goes.
        parameter_group = aws.rds.ParameterGroup(
            f"{name}-postgres{settings.postgres_major}",
            family=f"postgres{settings.postgres_major}",
            description=f"PostgreSQL {settings.postgres_major} of {name}",
            parameters=[{"name": key, "value": value, "apply_method": how} for key, value, how in PARAMETERS],
            opts=child,
        )
        # RDS would make them itself, kept for ever.
        log_groups = [
            aws.cloudwatch.LogGroup(
                f"{name}-{log}-log",
                name=naming.database_log_group(name, log),
                retention_in_days=settings.log_retention_days,
                kms_key_id=args.key_arn,
                opts=child,
            )
            for log in naming.DATABASE_LOGS
        ]
        monitoring = self._monitoring_role(name, args.scope) if settings.durable else None
        instance = aws.rds.Instance(
            f"{name}-db",
            # A fixed name, as people, log groups and alarms go by it. What would replace the instance therefore fails
            # before anything is deleted.
            identifier=name,
            engine="postgres",
            engine_version=settings.postgres_version,
            # A major version takes minor upgrades by itself; a minor version stays where it is. State keeps a major
            # version as it is written (compareActualEngineVersion, provider v6.47, internal/service/rds/verify.go), so
            # no later update sends RDS back to an older minor version. The fault behind
            # https://github.com/hashicorp/terraform-provider-aws/pull/49496 takes a minor version in state: after an
            # import, or on the way from 17.9 back to 17. docs/operate.md#upgrade-postgresql says what to do.
            auto_minor_version_upgrade="." not in settings.postgres_version,
            allow_major_version_upgrade=True,  # only ever by a change of postgresVersion
            engine_lifecycle_support=lifecycle_support(settings.postgres_major),
            instance_class=settings.database_instance_class,
            db_name=DATABASE_NAME,
            username=MASTER_USER,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=args.key_arn,
            # People log in as themselves, with a token of minutes in place of a password: docs/analysts.md
            iam_database_authentication_enabled=settings.analyst_access == "ssm",
            allocated_storage=settings.database_storage_gb,
            max_allocated_storage=settings.database_storage_gb * STORAGE_GROWTH,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=args.key_arn,
            multi_az=settings.database_multi_az,
            db_subnet_group_name=subnet_group.name,
            vpc_security_group_ids=[args.security_group_id],
            publicly_accessible=False,
            port=5432,
            ca_cert_identifier=CERTIFICATE_AUTHORITY,
            parameter_group_name=parameter_group.name,
            backup_retention_period=settings.backup_retention_days,
            backup_window=BACKUP_WINDOW,
            maintenance_window=MAINTENANCE_WINDOW,
            copy_tags_to_snapshot=True,
            delete_automated_backups=not settings.durable,
            deletion_protection=settings.deletion_protection,
            skip_final_snapshot=not settings.durable,
            # The subnet group's name has a suffix that is new with every stack, so an older snapshot is not in the way.
            final_snapshot_identifier=pulumi.Output.concat(subnet_group.name, "-final"),
            # A change that waits for the maintenance window breaks the next `up`: the parameter group of the old major
            # version is deleted while the instance still runs on it.
            apply_immediately=True,
            performance_insights_enabled=True,
            performance_insights_kms_key_id=args.key_arn,
            performance_insights_retention_period=7,  # days, free of charge
            enabled_cloudwatch_logs_exports=list(naming.DATABASE_LOGS),
            monitoring_interval=60 if monitoring else 0,  # seconds between operating system metrics
            monitoring_role_arn=monitoring.arn if monitoring else None,
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=settings.deletion_protection,
                # The provider cannot change it on a live instance, so leaving 13 would show a diff for ever.
                # https://github.com/hashicorp/terraform-provider-aws/issues/40870
                ignore_changes=["engine_lifecycle_support"],
                depends_on=[*log_groups, *([monitoring.permissions] if monitoring else [])],
            ),
        )

        secret = aws.secretsmanager.Secret(
            f"{name}-pipeline",  # named by Pulumi: a deleted secret's name is taken until its recovery days are over
            description=f"Where {name} keeps its data: bucket, database and the secret with the credentials",
            kms_key_id=args.key_arn,
            recovery_window_in_days=SECRET_RECOVERY_DAYS,
            opts=child,
        )
        self.credentials_arn = instance.master_user_secrets.apply(master_secret_arn)
        aws.secretsmanager.SecretVersion(
            f"{name}-pipeline",
            secret_id=secret.id,
            secret_string=pulumi.Output.json_dumps(
                {
                    "bucket_name": args.bucket_name,
                    "host": instance.address,
                    "port": instance.port,
                    "db_name": instance.db_name,
                    "credentials_arn": self.credentials_arn,
                }
            ),
            opts=child,
        )

        self.identifier = instance.identifier
        self.address = instance.address
        self.endpoint = instance.endpoint
        self.secret_arn = secret.arn
        self.register_outputs({"endpoint": self.endpoint, "secretArn": self.secret_arn})

    def _monitoring_role(self, name: str, scope: Scope) -> iam.ServiceRole:
        return iam.managed_role(
            f"{name}-db-monitoring",
            service="monitoring.rds.amazonaws.com",
            managed_policy="service-role/AmazonRDSEnhancedMonitoringRole",
            scope=scope,
            description="RDS enhanced monitoring: write operating system metrics",
            trust_conditions={
                "StringEquals": {"aws:SourceAccount": scope.account_id},
                "ArnEquals": {"aws:SourceArn": scope.arn("rds", f"db:{name}")},
            },
            opts=pulumi.ResourceOptions(parent=self),
        )


def master_secret_arn(secrets: Sequence[aws.rds.outputs.InstanceMasterUserSecret]) -> str:
    """Return the ARN of the secret that RDS made for the master user.

    Empty after a creation that was cut short: raising here would stop the very `pulumi up` that mends it.
    """
    return str(secrets[0].secret_arn) if secrets else ""


def version_warning(postgres_version: str) -> str | None:
    """Return what to say about a version that RDS runs but no longer creates, None for every other."""
    major, _, minor = postgres_version.partition(".")
    if major != "13" or not minor or int(minor) >= OLDEST_13:
        return None
    return (
        f"ev-population:postgresVersion is {postgres_version}, and RDS creates no new PostgreSQL instance before "
        f"13.{OLDEST_13}. For a new stack, set 18. A stack that runs {postgres_version} keeps working; upgrade it in a "
        "quiet hour: docs/operate.md#upgrade-postgresql"
    )


def lifecycle_support(postgres_major: int) -> str:
    """Return the support plan: 13 runs on paid extended support or not at all, the others never slide into it."""
    plan = "open-source-rds-extended-support"
    return plan if postgres_major < 14 else f"{plan}-disabled"
