"""AWS on this machine: moto's server on a free port, state machines executed, functions run by our own runtime."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, cast

import boto3
import requests
from botocore.config import Config
from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.core.config import default_user_config
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from local.runtime import Function, Invocation

ACCOUNT_ID: Final = "123456789012"

# Whatever the machine's user has set up for the real AWS must not be found by anything that runs here.
_HIDDEN: Final = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_CA_BUNDLE")
_LOOPBACK: Final = "127.0.0.1,localhost"


class Cloud:
    """An empty AWS account in `region`, at `url`, between `with` and its end; the environment leads every client to it.

    moto keeps its account in this process, so there is one at a time. `log` takes what moto has to say.
    """

    def __init__(self, *, region: str, log: Path) -> None:
        self.region = region
        self._log = log
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._undo: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        self._quieten()
        self._server.start()
        self._undo.append(self._server.stop)
        self.url = f"http://127.0.0.1:{self._server.get_host_and_port()[1]}"
        self._lead(self.environment | {"MOTO_PORT": self.url.rpartition(":")[2]})
        self._session = boto3.Session()
        requests.post(f"{self.url}/moto-api/reset", timeout=10).raise_for_status()
        machines = default_user_config["stepfunctions"]
        before = machines["execute_state_machine"]
        machines["execute_state_machine"] = True
        self._undo.append(lambda: machines.__setitem__("execute_state_machine", before))
        return self

    def __exit__(self, *_: object) -> None:
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    @property
    def environment(self) -> dict[str, str]:
        """What a process must have in its environment to find this cloud and no other."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        """A boto3 client of this cloud, made once."""
        with self._lock:  # making one is not safe in several threads, using one is
            if service not in self._clients:
                config = Config(retries={"total_max_attempts": 1}, max_pool_connections=50)
                self._clients[service] = self._session.client(
                    cast("Any", service), endpoint_url=self.url, region_name=self.region, config=config
                )
            return self._clients[service]

    def _lead(self, wanted: Mapping[str, str]) -> None:
        before = dict(os.environ)

        def restore() -> None:
            os.environ.clear()
            os.environ.update(before)

        self._undo.append(restore)
        for name in _HIDDEN:
            os.environ.pop(name, None)
        for name in ("NO_PROXY", "no_proxy"):
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), _LOOPBACK)))
        os.environ.update(wanted)

    def _quieten(self) -> None:
        """Send what moto and its server log to a file: the screen is for the run."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(self._log, mode="w", delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        self._undo.append(handler.close)
        for name, level in (("moto", logging.WARNING), ("werkzeug", logging.ERROR)):
            logger = logging.getLogger(name)
            logger.setLevel(level)
            logger.propagate, logger.handlers = False, [handler]
            # Threads of an execution that was stopped outlive the server; what they log is nobody's concern.
            self._undo.append(lambda logger=logger: _silence(logger))  # type: ignore[misc]


def _silence(logger: logging.Logger) -> None:
    logger.handlers = [logging.NullHandler()]


@contextmanager
def functions_run_by(invoke: Callable[[Function, object], Invocation]) -> Iterator[None]:
    """Have moto run functions with `invoke` instead of Docker."""

    def run(function: Any, event: object = None) -> tuple[str, bool, str]:
        done = invoke(_deployed(function), event)
        return done.payload, done.failed, ""

    seam = "_invoke_lambda"  # the one place where moto starts a container
    docker = getattr(LambdaFunction, seam)
    setattr(LambdaFunction, seam, run)
    try:
        yield
    finally:
        setattr(LambdaFunction, seam, docker)


def _deployed(function: Any) -> Function:
    backend: Any = lambda_backends[function.account_id][function.region]
    return Function(
        name=function.function_name,
        arn=function.function_arn,
        handler=function.handler,
        code=function.code_bytes,
        layers=[backend.layers_versions_by_arn(layer["Arn"]).code_bytes for layer in function.layers],
        environment=function.environment_vars,
        timeout_seconds=int(function.timeout),
        memory_mb=int(function.memory_size),
    )
