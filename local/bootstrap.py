"""What starts inside a function's process: a small stand-in for Lambda's runtime. Nothing but Python itself is at hand.

Called as `python -I -S bootstrap.py FOLDER` with an invocation (`invocation.json`) in the folder; leaves the answer in
`result.json` there: `{"payload", "failed", "peak_kb"}`. Errors have the shape that Lambda gives them:
https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
"""

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any


class Context:
    """https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    def __init__(self, invocation: dict[str, Any]) -> None:
        self.aws_request_id: str = invocation["request_id"]
        self.function_name: str = invocation["function_name"]
        self.function_version = "$LATEST"
        self.invoked_function_arn: str = invocation["function_arn"]
        self.memory_limit_in_mb: str = str(invocation["memory_mb"])
        self.log_group_name: str = f"/aws/lambda/{self.function_name}"
        self.log_stream_name: str = f"local/{self.aws_request_id}"
        self.identity = None
        self.client_context = None
        self._deadline: float = invocation["deadline"]

    def get_remaining_time_in_millis(self) -> int:
        """How long until the process is killed."""
        return max(0, int((self._deadline - time.time()) * 1000))


class BootstrapError(Exception):
    """The function could not be started; `kind` is Lambda's name for it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def error(kind: str, text: str, request_id: str, trace: TracebackType | None = None) -> dict[str, Any]:
    """An error as Lambda answers it, its stack without our own frames."""
    frames = [frame for frame in traceback.extract_tb(trace) if frame.filename != __file__]
    return {
        "errorMessage": text,
        "errorType": kind,
        "requestId": request_id,
        "stackTrace": traceback.format_list(frames),
    }


def load(handler: str) -> Any:
    """The handler that `module.function` names."""
    module_name, _, function_name = handler.rpartition(".")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as problem:
        raise BootstrapError(
            "Runtime.ImportModuleError", f"Unable to import module '{module_name}': {problem}"
        ) from problem
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise BootstrapError(
            "Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_name}'"
        ) from None


def run(invocation: dict[str, Any]) -> tuple[str, bool]:
    """The handler's answer as JSON, and whether it is an error."""
    request_id = invocation["request_id"]
    try:
        answer = load(os.environ["_HANDLER"])(invocation["event"], Context(invocation))
        try:
            return json.dumps(answer), False
        except (TypeError, ValueError) as problem:
            raise BootstrapError("Runtime.MarshalError", f"Unable to marshal response: {problem}") from problem
    except BootstrapError as problem:
        failure = error(problem.kind, str(problem), request_id, (problem.__cause__ or problem).__traceback__)
    except SystemExit as problem:
        failure = error(
            "Runtime.ExitError",
            f"RequestId: {request_id} Error: Runtime exited with error: exit status {problem.code}",
            request_id,
        )
    except Exception as problem:  # noqa: BLE001 - whatever a handler raises is an answer
        traceback.print_exc()
        failure = error(type(problem).__name__, str(problem), request_id, problem.__traceback__)
    return json.dumps(failure), True


def peak_kilobytes() -> int:
    """The most memory that this process has had resident. Linux counts an ancestor's into getrusage, so not that."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        import resource  # noqa: PLC0415 - only where there is no /proc

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(folder: Path) -> None:
    """Run one invocation and leave at once: Lambda freezes a process, it does not wind it down."""
    invocation = json.loads((folder / "invocation.json").read_text())
    sys.path[:0] = invocation["path"]
    payload, failed = run(invocation)
    sys.stdout.flush()
    sys.stderr.flush()
    result = {"payload": payload, "failed": failed, "peak_kb": peak_kilobytes()}
    (folder / "result.json").write_text(json.dumps(result))
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
