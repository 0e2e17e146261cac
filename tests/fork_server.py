"""The handlers, each invocation in a process of its own, without the second that importing them takes.

`python -m tests.fork_server` imports them once and forks for every invocation it reads from its standard input; what
is done to a fork (a SIGKILL, say) touches nobody else. `ForkServer` is its other end.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

from tests.failpoints import Point, Points, install

ROOT: Final = Path(__file__).parents[1]
# Everything ends within a minute; what does not hangs, and the test must not.
PATIENCE_SECONDS: Final = 60
# What libraries read when they are imported.
IMPORTED_WITH: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "POWERTOOLS_SERVICE_NAME": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "ev-population-test",
}

type Handler = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What came of one: an `answer`, or the name of an `error` and its message; a killed process has neither."""

    points: tuple[Point, ...]
    answer: dict[str, Any] | None = None
    error: str | None = None
    message: str = ""

    @property
    def killed(self) -> bool:
        return self.answer is None and self.error is None


class ForkServer:
    """Starts the server with `environment`, which names the cloud; `log` gets what the handlers print."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"],
            cwd=ROOT,
            env={"PATH": os.defpath, "PYTHONPATH": f"{ROOT}:{ROOT / 'handlers'}", **IMPORTED_WITH, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._log.close()

    def invoke(
        self,
        function: str,
        event: Mapping[str, Any],
        environment: Mapping[str, str],
        faults: Mapping[int, str],
    ) -> Invocation:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([function, event, environment, list(faults.items())]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the fork server ended; see {self._log.name}"
        told: dict[str, Any] = json.loads(line)
        points = tuple(Point(number, name, tuple(kinds)) for number, name, kinds in told.pop("points"))
        return Invocation(points=points, **told)


def _serve() -> None:
    # Standard output is for the handlers' logs from here on; what was it is for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    handlers = _handlers()
    for line in sys.stdin:
        function, event, environment, faults = json.loads(line)
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receive)
            signal.alarm(PATIENCE_SECONDS)
            os.environ |= environment
            with os.fdopen(send, "w") as told:
                _invoke(handlers[function], event, dict(faults), told)
            os._exit(0)
        os.close(send)
        with os.fdopen(receive) as told:
            lines = [json.loads(line) for line in told]
        os.waitpid(child, 0)
        outcome = lines.pop() if lines and isinstance(lines[-1], dict) else {}
        answers.write(json.dumps({"points": lines, **outcome}) + "\n")
        answers.flush()


def _invoke(handler: Handler, event: dict[str, Any], faults: Mapping[int, str], told: IO[str]) -> None:
    install(Points(told, faults))
    try:
        outcome: dict[str, Any] = {"answer": handler(event)}
    except Exception as error:  # noqa: BLE001 - as the Lambda runtime does
        outcome = {"error": type(error).__name__, "message": str(error)}
    told.write(json.dumps(outcome) + "\n")


def _handlers() -> dict[str, Handler]:
    """Import what the handlers import, and warm up what they would do first in every process."""
    import extract
    import load
    from evdata import portal
    from evdata.aws import s3_client, secrets_client
    from tests.handler_tools import Context

    s3_client()
    secrets_client()
    # Faults need no rests in between: neither the handlers' nor botocore's.
    portal.FIRST_WAIT_SECONDS = 0  # type: ignore[misc]
    time.sleep = lambda _: None
    gc.collect()
    gc.freeze()  # a fork that collects garbage copies every page it looks at
    context = Context("test")
    return {
        "extract": lambda event: extract.handler(event, context),
        "stage": lambda event: load.stage(event, context),
        "publish": lambda event: load.publish(event, context),
    }


if __name__ == "__main__":
    _serve()
