"""Lambda on this machine: every invocation is a process of its own that sees its archives, Python and nothing else.

What a function finds there is what it finds in AWS: `/var/task` first and then its layers on the path, its own
environment, its time limit, its memory limit. What it must not find is this project's virtual environment.
"""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

BOOTSTRAP: Final = Path(__file__).with_name("bootstrap.py")
KEPT_ARCHIVES: Final = 12
TASK_ROOT: Final = "/var/task"

# What reaches a function from the machine's own environment: how to get out to the internet, and nothing more.
_PASSED_ON: Final = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A Lambda function as it was deployed; `code` and `layers` are zip archives."""

    name: str
    arn: str
    handler: str
    code: bytes = field(repr=False)
    layers: Sequence[bytes] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 3
    memory_mb: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What came of one: `payload` is JSON, an error's when `failed`. `peak_mb` is None when nothing could tell."""

    function: str
    payload: str
    failed: bool
    seconds: float
    peak_mb: float | None


class Runtime:
    """Runs functions; `home` keeps unpacked archives from run to run, `logs` gets one file a function.

    `environment` is added to every function's own and wins over it: that is where the local endpoints come in.
    """

    def __init__(self, *, home: Path, logs: Path, environment: Mapping[str, str]) -> None:
        self._home = home.resolve()
        self._logs = logs.resolve()
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        self.invocations: list[Invocation] = []

    def invoke(self, function: Function, event: object) -> Invocation:
        """Run the function once, to its end or to its time limit."""
        request_id = str(uuid.uuid4())
        task = self._unpacked(function.code)
        # Later layers lie over earlier ones in /opt, so they come first here.
        layers = [self._unpacked(layer) / "python" for layer in reversed(function.layers)]
        self._logs.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="ev-lambda-") as folder,
            (self._logs / f"{function.name}.log").open("ab", buffering=0) as log,
        ):
            started = time.time()
            invocation = {
                "request_id": request_id,
                "function_name": function.name,
                "function_arn": function.arn,
                "memory_mb": function.memory_mb,
                "deadline": started + function.timeout_seconds,
                "path": [str(place) for place in (task, *layers)],
                "event": event,
            }
            (Path(folder) / "invocation.json").write_text(json.dumps(invocation))
            log.write(f"START RequestId: {request_id} Version: $LATEST\n".encode())
            timed_out, status, peak_kb = self._run(function, task, Path(folder), log.fileno())
            seconds = time.time() - started
            result = self._result(Path(folder))
            payload, failed = result.get("payload"), bool(result.get("failed"))
            peak_kb = result.get("peak_kb", peak_kb)
            peak_mb = None if peak_kb is None else round(peak_kb / 1024, 1)
            if timed_out:
                limit = f"Task timed out after {function.timeout_seconds:.2f} seconds"
                payload, failed = _error("Sandbox.Timedout", limit, request_id), True
            elif payload is None:
                payload, failed = _error("Runtime.ExitError", f"Runtime exited with error: {status}", request_id), True
            elif peak_mb is not None and peak_mb > function.memory_mb:
                # AWS would have killed it on the way; here it is found out afterwards.
                killed = f"Runtime exited with error: signal: killed ({peak_mb:.0f} of {function.memory_mb} MB used)"
                payload, failed = _error("Runtime.OutOfMemory", killed, request_id), True
            log.write(
                f"END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: {seconds * 1000:.2f} ms\t"
                f"Memory Size: {function.memory_mb} MB\tMax Memory Used: {peak_mb or 0:.0f} MB\n".encode()
            )
        done = Invocation(function=function.name, payload=payload, failed=failed, seconds=seconds, peak_mb=peak_mb)
        self.invocations.append(done)
        return done

    def close(self) -> None:
        """Kill what still runs, and let nothing start any more."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            _kill(process)

    def _run(self, function: Function, task: Path, folder: Path, log: int) -> tuple[bool, str, int | None]:
        """Run the process: whether it ran out of time, how it ended, and its memory if it was killed."""
        command = [_python(), "-I", "-S", "-X", "utf8", str(BOOTSTRAP), str(folder)]
        with self._lock:
            if self._closed:
                return False, "the local run is over", None
            process = subprocess.Popen(
                command,
                cwd=task,
                env=self._environment_of(function, task, folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._running.add(process)
        try:
            process.wait(function.timeout_seconds)
        except subprocess.TimeoutExpired:
            peak_kb = _resident_peak(process.pid)
            _kill(process)
            return True, "", peak_kb
        finally:
            with self._lock:
                self._running.discard(process)
        code = process.returncode
        return False, f"exit status {code}" if code >= 0 else f"signal: {signal.Signals(-code).name}", None

    def _environment_of(self, function: Function, task: Path, folder: Path) -> dict[str, str]:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        environment |= {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            # A function's /tmp and home are its own, and hold no configuration of this machine's user.
            "TMPDIR": str(folder),
            "HOME": str(folder),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "_HANDLER": function.handler,
            "LAMBDA_TASK_ROOT": str(task),
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        }
        environment |= {**function.environment, **self._environment}
        return {
            name: value.replace(TASK_ROOT, str(task), 1) if value.startswith(f"{TASK_ROOT}/") else value
            for name, value in environment.items()
        }

    def _unpacked(self, archive: bytes) -> Path:
        """The folder that holds the archive's files, unpacked once and kept for the next run."""
        folder = self._home / hashlib.sha256(archive).hexdigest()[:16]
        with self._lock:
            if folder.exists():
                os.utime(folder)
                return folder
            self._home.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(dir=self._home, prefix="unfinished-"))
            try:
                with zipfile.ZipFile(io.BytesIO(archive)) as source:
                    source.extractall(unfinished)
                # Another run may have been quicker; then its copy is as good.
                with suppress(OSError):
                    unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            kept = sorted(self._home.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for old in kept[KEPT_ARCHIVES:]:
                shutil.rmtree(old, ignore_errors=True)
        return folder

    @staticmethod
    def _result(folder: Path) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((folder / "result.json").read_text())
        except (OSError, ValueError):
            return {}
        return found


def _python() -> str:
    """The Python that this environment was made from: a virtual environment's own would find its packages."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    return base


def _error(kind: str, text: str, request_id: str) -> str:
    return json.dumps({"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {text}"})


def _resident_peak(pid: int) -> int | None:
    """The process's peak of resident memory so far, in kB, where the system tells it."""
    try:
        return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
