"""The stack, readable top to bottom. `pulumi up` runs it against AWS, `make local` against this machine."""

import pulumi
import pulumi_aws as aws

from components import naming, packaging
from components.analyst_access import AnalystAccess, AnalystAccessArgs
from components.database import Database, DatabaseArgs
from components.encryption import Encryption, EncryptionArgs
from components.functions import Functions, FunctionsArgs, Place
from components.monitoring import Monitoring, MonitoringArgs
from components.network import Network, NetworkArgs
from components.notifications import Notifications, NotificationsArgs
from components.orchestration import Orchestration, OrchestrationArgs
from components.settings import SettingsError
from components.stack_config import settings_of_this_run
from components.storage import Storage, StorageArgs

try:
    settings = settings_of_this_run()
    name = naming.prefix(pulumi.get_project(), pulumi.get_stack())
    packages = packaging.build(settings.lambda_architecture)
except (SettingsError, naming.StackNameError, packaging.PackagingError) as error:
    # The CLI shows a RunError as its message; any other exception as a traceback above it.
    raise pulumi.RunError(str(error)) from error

# A provider of our own: its tags are computed, so no stack file can forget them, and they stand in the resource graph,
# where tests and policies see them. Components hand it down to their children.
provider = aws.Provider(
    name,
    region=settings.region,
    default_tags={
        "tags": {
            "Project": pulumi.get_project(),
            "Stack": pulumi.get_stack(),
            "ManagedBy": "pulumi",
            "DataClassification": "public",
        }
    },
)
opts = pulumi.ResourceOptions(providers=[provider])
scope = naming.scope_of_this_run(name, settings.region, provider)

encryption = Encryption(name, EncryptionArgs(scope=scope, settings=settings), opts=opts)
storage = Storage(name, StorageArgs(settings=settings, key_arn=encryption.key_arn), opts=opts)
network = Network(
    name,
    NetworkArgs(scope=scope, settings=settings, key_arn=encryption.key_arn, bucket_arn=storage.bucket_arn),
    opts=opts,
)
database = Database(
    name,
    DatabaseArgs(
        scope=scope,
        settings=settings,
        key_arn=encryption.key_arn,
        subnet_ids=network.isolated_subnet_ids,
        security_group_id=network.database_security_group_id,
        bucket_name=storage.bucket_name,
    ),
    opts=opts,
)
notifications = Notifications(
    name, NotificationsArgs(scope=scope, settings=settings, key_arn=encryption.key_arn), opts=opts
)
functions = Functions(
    name,
    FunctionsArgs(
        scope=scope,
        settings=settings,
        packages=packages,
        key_arn=encryption.key_arn,
        bucket_arn=storage.bucket_arn,
        secret_arn=database.secret_arn,
        credentials_arn=database.credentials_arn,
        load_place=Place(
            subnet_ids=network.isolated_subnet_ids,
            security_group_id=network.load_security_group_id,
            parking_security_group_id=network.default_security_group_id,
        ),
        extract_place=Place(
            subnet_ids=network.private_subnet_ids,
            security_group_id=network.extract_security_group_id,
            parking_security_group_id=network.default_security_group_id,
        )
        if network.extract_security_group_id is not None
        else None,
    ),
    opts=opts,
)
orchestration = Orchestration(
    name,
    OrchestrationArgs(
        scope=scope,
        settings=settings,
        key_arn=encryption.key_arn,
        bucket_name=storage.bucket_name,
        bucket_arn=storage.bucket_arn,
        secret_arn=database.secret_arn,
        topic_arn=notifications.topic_arn,
        function_arns=functions.arns,
    ),
    opts=opts,
)
analyst_access = (
    AnalystAccess(
        name,
        AnalystAccessArgs(scope=scope, settings=settings, network=network, database_address=database.address),
        opts=opts,
    )
    if settings.analyst_access == "ssm"
    else None
)
monitoring = Monitoring(
    name,
    MonitoringArgs(
        scope=scope,
        settings=settings,
        topic_arn=notifications.topic_arn,
        state_machine_arn=orchestration.state_machine_arn,
        dead_letter_queue_name=orchestration.dead_letter_queue_name,
        function_names=functions.names,
        database_identifier=database.identifier,
        nat_instance_ids=network.nat_instance_ids,
        analyst_host_id=analyst_access.instance_id if analyst_access is not None else None,
    ),
    opts=opts,
)
pulumi.export("bucketName", storage.bucket_name)
pulumi.export("secretArn", database.secret_arn)
pulumi.export("databaseEndpoint", database.endpoint)
pulumi.export("stateMachineArn", orchestration.state_machine_arn)
pulumi.export("scheduleName", orchestration.schedule_name)
pulumi.export("topicArn", notifications.topic_arn)
pulumi.export("dashboardUrl", monitoring.dashboard_url)
pulumi.export("vpcId", network.vpc_id)
if analyst_access is not None:
    pulumi.export("analystCommand", analyst_access.command)
