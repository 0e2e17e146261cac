"""The program under the Pulumi CLI: moto is AWS, and the `aws` plugin is the one that the CLI has. `make test-engine`.

The CLI and its plugin find moto by AWS_ENDPOINT_URL, and buckets by path, as the endpoint is an IP address:
https://registry.terraform.io/providers/hashicorp/aws/latest/docs/guides/custom-service-endpoints
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from moto.core.responses import ActionResult
from moto.stepfunctions.responses import StepFunctionResponse

from local.cloud import Cloud
from tests import state_machines
from tests.pulumi_mocks import PROJECT, REGION, record_stack

pytestmark = pytest.mark.engine

NOT_COPIED: Final = (".git", ".venv", ".build", ".local", ".hypothesis", "__pycache__", ".*_cache")
NOT_PASSED_ON: Final = ("PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_STACK", "PULUMI_PROJECT")

# What lives in an account: service, operation, list in the answer, name of an item.
KINDS: Final = {
    "bucket": ("s3", "list_buckets", "Buckets", "Name"),
    "queue": ("sqs", "list_queues", "QueueUrls", ""),
    "topic": ("sns", "list_topics", "Topics", "TopicArn"),
    "role": ("iam", "list_roles", "Roles", "RoleName"),
    "function": ("lambda", "list_functions", "Functions", "FunctionName"),
    "layer": ("lambda", "list_layers", "Layers", "LayerName"),
    "state machine": ("stepfunctions", "list_state_machines", "stateMachines", "name"),
    "schedule": ("scheduler", "list_schedules", "Schedules", "Name"),
    "secret": ("secretsmanager", "list_secrets", "SecretList", "Name"),
    "log group": ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    "alarm": ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    "rule": ("events", "list_rules", "Rules", "Name"),
    "database": ("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
    "snapshot": ("rds", "describe_db_snapshots", "DBSnapshots", "DBSnapshotIdentifier"),
    "VPC": ("ec2", "describe_vpcs", "Vpcs", "VpcId"),
    "endpoint": ("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    "address": ("ec2", "describe_addresses", "Addresses", "AllocationId"),
}
# docs/deploy.md, Teardown: what remains of a durable stack. Automated backups are not among what moto keeps.
DOCUMENTED_REMAINS: Final = {"dev": set(), "prod": {"key", "snapshot"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The CLI in a copy of the project, with one stack selected."""

    folder: Path
    stack: str
    environment: dict[str, str]
    cloud: Cloud
    before: set[tuple[str, str]]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the CLI and return what it said."""
        command = ["pulumi", "--non-interactive", "--color", "never", *arguments, "--stack", self.stack]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def succeed(self, *arguments: str) -> str:
        """Run the CLI and return its output; fail with all that it said when it does."""
        done = self.run(*arguments)
        assert done.returncode == 0, (
            f"pulumi {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def resources(self) -> set[tuple[str, str]]:
        """Return type and name of everything in the stack's state, but the stack itself."""
        state = json.loads(self.succeed("stack", "export"))["deployment"].get("resources", [])
        named = {(resource["type"], resource["urn"].rpartition("::")[2]) for resource in state}
        return {(typ, name) for typ, name in named if typ != "pulumi:pulumi:Stack"}

    def made(self) -> set[tuple[str, str]]:
        """Return kind and name of everything in the account that was not there at first.

        A bucket whose name is not the project's is the plugin's own.
        """
        made = account(self.cloud) - self.before
        return {(kind, name) for kind, name in made if kind != "bucket" or name.startswith("ev-population-")}


def account(cloud: Cloud) -> set[tuple[str, str]]:
    """Return kind and name of what lives in an account. A key that is to be deleted lives no more."""
    found = set()
    for kind, (service, operation, key, name) in KINDS.items():
        answer = getattr(cloud.client(service), operation)()
        found |= {(kind, item[name] if name else item) for item in answer.get(key, [])}
    kms = cloud.client("kms")
    for key in kms.list_keys()["Keys"]:
        if kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] != "PendingDeletion":
            found.add(("key", key["KeyId"]))
    return found


@contextmanager
def definitions_validated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have moto answer what the genuine plugin asks before it plans a state machine, and moto 5.2 does not know.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_ValidateStateMachineDefinition.html
    """

    def validate(self: Any) -> ActionResult:
        faults = state_machines.faults(json.loads(self._get_param("definition")))
        diagnostics = [{"severity": "ERROR", "code": "FAULT", "message": fault} for fault in faults]
        return ActionResult({"result": "FAIL" if faults else "OK", "diagnostics": diagnostics})

    def versions(self: Any) -> ActionResult:
        return ActionResult({"stateMachineVersions": []})

    with monkeypatch.context() as patch:
        patch.setattr(StepFunctionResponse, "validate_state_machine_definition", validate, raising=False)
        patch.setattr(StepFunctionResponse, "list_state_machine_versions", versions, raising=False)
        yield


@pytest.fixture(scope="module", params=["dev", "prod"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A stack that is not up yet, in an empty account and a backend of its own."""
    if shutil.which("pulumi") is None:
        pytest.skip("the pulumi CLI is not on the PATH: https://www.pulumi.com/docs/iac/download-install/")
    home = tmp_path_factory.mktemp("engine")
    folder = home / "project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    (PROJECT / ".build").mkdir(exist_ok=True)
    for shared in (".venv", ".build"):
        (folder / shared).symlink_to(PROJECT / shared)
    (home / "state").mkdir()
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        definitions_validated(monkeypatch),
        Cloud(region=REGION, log=home / "moto.log") as cloud,
    ):
        environment = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON} | {
            "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "not-a-secret",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        stack = Engine(folder=folder, stack=request.param, environment=environment, cloud=cloud, before=account(cloud))
        # Not `--stack`, which init takes as an argument.
        subprocess.run(
            ["pulumi", "--non-interactive", "stack", "init", request.param], cwd=folder, env=environment, check=True
        )
        stack.succeed("up", "--yes", "--skip-preview")
        yield stack


def test_up_creates_everything(engine: Engine) -> None:
    asked_for = {(resource.typ, resource.name) for resource in record_stack(engine.stack).resources}
    assert engine.resources() == asked_for
    outputs = json.loads(engine.succeed("stack", "output", "--json"))
    assert ("bucket", outputs["bucketName"]) in engine.made()
    assert ("topic", outputs["topicArn"]) in engine.made()
    machine = engine.cloud.client("stepfunctions").describe_state_machine(stateMachineArn=outputs["stateMachineArn"])
    assert ("state machine", machine["name"]) in engine.made()


@pytest.mark.parametrize(
    "command",
    [
        ("up", "--yes", "--skip-preview"),
        ("preview",),
        ("refresh", "--yes", "--skip-preview"),
    ],
    ids=lambda command: command[0],
)
def test_a_second_time_nothing_changes(engine: Engine, command: tuple[str, ...]) -> None:
    before = engine.resources(), engine.made()
    assert len(before[0]) > 100
    said = engine.succeed(*command, "--expect-no-changes")
    assert f"{len(before[0]) + 1} unchanged" in said  # the stack itself is counted, too
    assert (engine.resources(), engine.made()) == before


@pytest.mark.parametrize("engine", ["prod"], indirect=True)
def test_a_protected_stack_refuses_to_be_destroyed(engine: Engine) -> None:
    before = engine.resources(), engine.made()
    refused = engine.run("destroy", "--yes")
    assert refused.returncode != 0
    assert "protected" in refused.stdout + refused.stderr
    assert (engine.resources(), engine.made()) == before


def test_destroy_leaves_only_what_is_documented(engine: Engine) -> None:
    if engine.stack == "prod":
        engine.succeed("config", "set", "deletionProtection", "false")
        engine.succeed("up", "--yes", "--skip-preview")
    engine.succeed("destroy", "--yes", "--skip-preview")
    assert engine.resources() == set()
    remains = {kind for kind, _ in engine.made()}
    assert remains <= DOCUMENTED_REMAINS[engine.stack], engine.made()
    assert ("key" in remains) == (engine.stack == "prod"), "what prod stored can be read only with its key"
