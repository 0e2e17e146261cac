"""Deploys the Pulumi program itself, `__main__.py` unchanged, onto the local cloud: here, with no Pulumi CLI.

The engine is Pulumi's own mock monitor; `provider.py` is its AWS. The database instance is the local PostgreSQL.
"""

import asyncio
import os
import platform
import runpy
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, override

import pulumi
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockMonitor, Mocks, MockSettings
from pulumi.runtime.settings import configure
from pulumi.runtime.stack import run_in_stack
from pulumi.runtime.sync_await import _ensure_event_loop

from local.cloud import Cloud
from local.postgres import Database
from local.provider import Provider
from local.state import PROJECT

PROJECT_NAME: Final = "ev-population"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What came of the program: its outputs, and how many resources it has."""

    outputs: Mapping[str, Any]
    resources: int


def architecture() -> str:
    """This machine's processor, by Lambda's name for it."""
    machine = platform.machine().lower()
    return {"aarch64": "arm64", "amd64": "x86_64"}.get(machine, machine)


def deploy(cloud: Cloud, database: Database, *, stack: str, config: Mapping[str, str]) -> Deployment:
    """Run the program for `stack` with `config` (full keys, as `load_stack_config` gives them).

    Raises what the program raises: pulumi.RunError for wrong config or a wrong stack name, before anything exists.
    """
    monitor = _Monitor(Provider(cloud, database))
    configure(
        MockSettings(
            monitor=monitor,
            monitor_features=set(monitor.GetDeploymentInfo(None).supportedFeatures),  # type: ignore[no-untyped-call]
            engine=_Quiet(),
            project=PROJECT_NAME,
            stack=stack,
            dry_run=False,
            organization="local",
            callbacks=None,
        )
    )
    pulumi.runtime.set_all_config(dict(config))
    here = Path.cwd()
    os.chdir(PROJECT)  # as the Pulumi CLI does
    try:
        with asyncio.Runner() as runner, ThreadPoolExecutor(16) as pool:
            runner.get_loop().set_default_executor(pool)
            runner.run(run_in_stack(_run_program))
    finally:
        os.chdir(here)
    return Deployment(outputs=monitor.outputs, resources=monitor.count)


def _run_program() -> None:
    runpy.run_path(str(PROJECT / "__main__.py"), run_name="__main__")


class _Quiet:
    """An engine's log, without a word: what goes wrong is raised too."""

    def Log(self, request: Any) -> None:  # noqa: N802 - gRPC's name
        """Say nothing."""


class _Monitor(MockMonitor):
    """The mock monitor, which also keeps the stack's outputs."""

    def __init__(self, mocks: Mocks) -> None:
        super().__init__(mocks)
        self.outputs: dict[str, Any] = {}
        self.count = 0

    @override
    def RegisterResource(self, request: Any) -> Any:
        self.count += request.custom
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]

    @override
    def RegisterResourceOutputs(self, request: Any) -> Any:
        if request.urn.split("::")[2] == "pulumi:pulumi:Stack":
            _ensure_event_loop()  # type: ignore[no-untyped-call]
            self.outputs = {
                name: "(secret)" if rpc.is_rpc_secret(value) else value
                for name, value in rpc.deserialize_properties(request.outputs).items()
            }
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]
