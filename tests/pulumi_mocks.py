"""Runs the Pulumi program under mocks and keeps what it asked the engine for: inputs, wiring and options.

A recording is made whole before anything is asserted, so every assertion on it is an ordinary one that really runs.
"""

import asyncio
import functools
import json
import runpy
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, override

import pulumi
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.settings import get_root_resource
from pulumi.runtime.stack import Stack
from pulumi.runtime.sync_await import _ensure_event_loop

from components import packaging
from components.packaging import Packages
from components.stack_config import load_stack_config

PROJECT: Final = Path(__file__).resolve().parent.parent
ACCOUNT: Final = "123456789012"
REGION: Final = "ap-northeast-1"
IMAGE: Final = "ami-0123456789abcdef0"
EGRESSES: Final = ("nat-gateway", "nat-instance", "lambda-managed")
STACK_VARIANTS: Final = tuple((stack, egress) for stack in ("dev", "prod") for egress in EGRESSES)
ACCESS_VARIANTS: Final = tuple((*variant, access) for variant in STACK_VARIANTS for access in ("none", "ssm"))

COMPONENT: Final = "ev-population:index:"
PROVIDER: Final = "pulumi:providers:aws"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One registration, as the engine got it. `parent` and `depends_on` are URNs; `inputs` have secrets opened."""

    urn: str
    typ: str
    name: str
    inputs: Mapping[str, Any]
    secret_inputs: frozenset[str]
    parent: str
    provider: str
    custom: bool
    protect: bool
    retain_on_delete: bool
    depends_on: frozenset[str]
    ignore_changes: tuple[str, ...]
    delete_timeout: str

    def document(self, key: str) -> dict[str, Any]:
        """Return an input that is JSON."""
        loaded: dict[str, Any] = json.loads(self.inputs[key])
        return loaded


@dataclass(slots=True)
class Recording:
    """Everything that one run of the program asked for."""

    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of(self, typ: str) -> list[Resource]:
        """Return the resources of a type, `aws:ec2/subnet:Subnet`."""
        return [resource for resource in self.resources if resource.typ == typ]

    def one(self, typ: str, name: str | None = None) -> Resource:
        """Return the one resource of a type, by the end of its name where there are several."""
        found = [resource for resource in self.of(typ) if name is None or resource.name.endswith(f"-{name}")]
        assert len(found) == 1, f"{typ} {name or ''}: {[resource.name for resource in found]}"
        return found[0]

    def names(self, typ: str) -> set[str]:
        """Return the logical names of a type's resources."""
        return {resource.name for resource in self.of(typ)}


class Recorder(MockMonitor, Mocks):
    """Mocks that answer plausibly, and the monitor that keeps what was asked."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(self)
        self.recording = recording

    @override
    def RegisterResource(self, request: Any) -> Any:
        if request.type != "pulumi:pulumi:Stack":
            _ensure_event_loop()  # type: ignore[no-untyped-call]
            raw = rpc.deserialize_properties(request.object)
            self.recording.resources.append(
                Resource(
                    urn=self.make_urn(request.parent, request.type, request.name),
                    typ=request.type,
                    name=request.name,
                    inputs=_opened(raw),
                    secret_inputs=frozenset(key for key, value in raw.items() if rpc.is_rpc_secret(value)),
                    parent=request.parent,
                    provider=request.provider,
                    custom=request.custom,
                    protect=request.protect,
                    retain_on_delete=request.retainOnDelete,
                    depends_on=frozenset(request.dependencies),
                    ignore_changes=tuple(request.ignoreChanges),
                    delete_timeout=request.customTimeouts.delete,
                )
            )
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]

    @override
    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return f"{args.name}-id", {**_opened(args.inputs), **_outputs(args)} if args.custom else {}

    @override
    def call(self, args: MockCallArgs) -> dict[str, Any]:  # type: ignore[override]
        answers: dict[str, dict[str, Any]] = {
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT},
            "aws:index/getPartition:getPartition": {"partition": "aws"},
            "aws:ssm/getParameter:getParameter": {"value": IMAGE},
        }
        return answers[args.token]


def _outputs(args: MockResourceArgs) -> dict[str, Any]:
    """Return what AWS would add to a resource's inputs, as far as the program reads it."""
    service, kind = args.typ.split(":")[1].split("/")[0], args.typ.split(":")[2]
    physical = args.inputs.get("name") or f"{args.name}-1a2b3c4"

    def arn(resource: str, service: str = service) -> str:
        return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"

    common = {"name": physical, "arn": arn(f"{kind[0].lower()}{kind[1:]}/{args.name}")}
    special: dict[str, dict[str, Any]] = {
        "aws:s3/bucket:Bucket": {"bucket": physical, "arn": f"arn:aws:s3:::{physical}"},
        "aws:kms/key:Key": {"keyId": "11111111-2222-3333-4444-555555555555", "arn": arn("key/11111111-2222")},
        "aws:iam/role:Role": {"arn": f"arn:aws:iam::{ACCOUNT}:role/{physical}"},
        "aws:sns/topic:Topic": {"arn": arn(physical)},
        "aws:sqs/queue:Queue": {
            "arn": arn(physical),
            "url": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{physical}",
        },
        "aws:lambda/function:Function": {"arn": arn(f"function:{physical}")},
        "aws:lambda/layerVersion:LayerVersion": {"arn": arn(f"layer:{args.inputs.get('layerName')}:1")},
        "aws:sfn/stateMachine:StateMachine": {"arn": arn(f"stateMachine:{physical}", "states")},
        "aws:cloudwatch/logGroup:LogGroup": {"arn": arn(f"log-group:{physical}", "logs")},
        "aws:cloudwatch/metricAlarm:MetricAlarm": {"arn": arn(f"alarm:{physical}")},
        "aws:secretsmanager/secret:Secret": {"arn": arn(f"secret:{physical}-AbCdEf")},
        "aws:ec2/vpcEndpoint:VpcEndpoint": {"prefixListId": "pl-61a54008"},
        "aws:ec2/instance:Instance": {"primaryNetworkInterfaceId": f"eni-{args.name}"},
        "aws:rds/instance:Instance": {
            "address": f"{args.inputs.get('identifier')}.abc.{REGION}.rds.amazonaws.com",
            "endpoint": f"{args.inputs.get('identifier')}.abc.{REGION}.rds.amazonaws.com:5432",
            "masterUserSecrets": [{"secretArn": arn("secret:rds!db-0a1b-AbCdEf", "secretsmanager")}],
        },
    }
    return common | special.get(args.typ, {})


def _opened(value: Any) -> Any:
    """Return `value` with every secret in it opened, and archives by their path."""
    if rpc.is_rpc_secret(value):
        return _opened(rpc.unwrap_rpc_secret(value))
    if isinstance(value, dict):
        return {key: _opened(item) for key, item in value.items()}
    if isinstance(value, pulumi.FileArchive):
        return value.path  # comparable, and all that we give
    return [_opened(item) for item in value] if isinstance(value, list) else value


def record(
    program: Callable[[], object],
    *,
    stack: str = "dev",
    config: Mapping[str, str] | None = None,
    secret_keys: tuple[str, ...] = (),
    recording: Recording | None = None,
) -> Recording:
    """Return what `program` asks for when it is run as `stack` with `config`; raise what it, or an `apply`, raises.

    Give a `recording` to see what was asked for before it raised.
    """
    recording = recording or Recording()
    recorder = Recorder(recording)
    with event_loops():
        pulumi.runtime.set_mocks(recorder, project="ev-population", stack=stack, monitor=recorder)
        pulumi.runtime.set_all_config(dict(config or {}), list(secret_keys))
        root = get_root_resource()
        assert isinstance(root, Stack)
        root.outputs.clear()

        def run() -> pulumi.Output[None]:
            program()
            return pulumi.Output.all(**root.outputs).apply(recording.outputs.update)

        wait_for_all = pulumi.runtime.test(run)  # type: ignore[no-untyped-call] # every registration, every apply
        with warnings.catch_warnings():
            # pulumi_aws deprecates classes of its own as they are imported; what we use of it still warns.
            warnings.filterwarnings("ignore", r"\S+ has been deprecated in favor of", DeprecationWarning)
            wait_for_all()
    return recording


@contextmanager
def event_loops() -> Iterator[None]:
    """Give Pulumi event loops that are closed again: one here, and one in each thread that answers registrations."""
    in_threads: list[asyncio.AbstractEventLoop] = []

    def begin_thread() -> None:
        in_threads.append(asyncio.new_event_loop())
        asyncio.set_event_loop(in_threads[-1])

    try:
        with asyncio.Runner() as runner, ThreadPoolExecutor(8, initializer=begin_thread) as pool:
            runner.get_loop().set_default_executor(pool)
            asyncio.set_event_loop(runner.get_loop())
            yield
    finally:
        for loop in in_threads:
            loop.close()


def run_program() -> None:
    """Run `__main__.py` as Pulumi does, with archives that hold nothing: what is in them is packaging's concern."""
    build = packaging.build
    packaging.build = empty_packages
    try:
        runpy.run_path(str(PROJECT / "__main__.py"), run_name="__main__")
    finally:
        packaging.build = build


@functools.cache
def empty_packages(_architecture: str) -> Packages:
    """Return archives with nothing in them."""
    folder = Path(tempfile.mkdtemp(prefix="ev-packages-"))
    for name in ("handlers", "extract", "load"):
        zipfile.ZipFile(folder / f"{name}.zip", "w").close()
    return Packages(
        handlers=folder / "handlers.zip", extract_layer=folder / "extract.zip", load_layer=folder / "load.zip"
    )


def record_stack(stack: str = "dev", **overrides: str) -> Recording:
    """Return the recording of `stack`, with config keys overridden by name; the same call is answered from memory."""
    return _record_stack(stack, tuple(sorted(overrides.items())))


@functools.cache
def _record_stack(stack: str, overrides: tuple[tuple[str, str], ...]) -> Recording:
    return record_stack_anew(stack, dict(overrides))


def record_stack_anew(
    stack: str, overrides: Mapping[str, str] | None = None, recording: Recording | None = None
) -> Recording:
    """Return the recording of `stack`, made now."""
    return record(
        run_program,
        stack=stack,
        config=load_stack_config(PROJECT, stack, overrides),
        secret_keys=("ev-population:appToken",),
        recording=recording,
    )


def statements(document: Mapping[str, Any], effect: str = "Allow") -> list[dict[str, Any]]:
    """Return a policy's statements of one effect."""
    return [statement for statement in document["Statement"] if statement["Effect"] == effect]


def granted(document: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return what a policy allows: action -> resources, each with its condition as `under` writes it."""
    allowed: dict[str, set[str]] = {}
    for statement in statements(document):
        condition = statement.get("Condition")
        resources = [under(arn, condition) if condition else arn for arn in statement["Resource"]]
        for action in statement["Action"]:
            allowed.setdefault(action, set()).update(resources)
    return allowed


def under(resource: str, condition: Mapping[str, Any]) -> str:
    """Return a resource as `granted` names it when it is allowed under a condition only."""
    return f"{resource} if {json.dumps(condition, sort_keys=True)}"


def via(resource: str, *services: str) -> str:
    """Return a key as `granted` names it when it may be used through these services only."""
    return under(
        resource, {"StringEquals": {"kms:ViaService": [f"{service}.{REGION}.amazonaws.com" for service in services]}}
    )
