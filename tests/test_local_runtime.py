"""Functions run from their archives as in Lambda: alone, limited, and answering in its shapes."""

import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from local.runtime import Function, Invocation, Runtime


def archive(**files: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as target:
        for name, text in files.items():
            target.writestr(name.replace("__", "/") + ".py", text)
    return data.getvalue()


def function(code: str, *, layers: tuple[bytes, ...] = (), **rest: Any) -> Function:
    settings: dict[str, Any] = {"timeout_seconds": 20, "handler": "app.handler"} | rest
    return Function(
        name="demo", arn="arn:aws:lambda:x:1:function:demo", code=archive(app=code), layers=layers, **settings
    )


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    found = Runtime(home=tmp_path / "functions", logs=tmp_path / "logs", environment={"AWS_REGION": "ap-northeast-1"})
    yield found
    found.close()


def answer(invocation: Invocation) -> Any:
    assert not invocation.failed, invocation.payload
    return json.loads(invocation.payload)


def failure(invocation: Invocation) -> Mapping[str, Any]:
    assert invocation.failed, f"expected an error, got {invocation.payload}"
    found: Mapping[str, Any] = json.loads(invocation.payload)
    return found


def test_an_event_goes_in_as_json_and_the_answer_comes_out_as_json(runtime: Runtime) -> None:
    code = "def handler(event, context): return {'got': event, 'none': None}"
    assert answer(runtime.invoke(function(code), {"a": [1, "ü"]})) == {"got": {"a": [1, "ü"]}, "none": None}


def test_a_function_sees_its_archives_and_python_and_nothing_else(runtime: Runtime) -> None:
    code = "import sys\ndef handler(event, context): return sys.path"
    path = answer(runtime.invoke(function(code, layers=(archive(python__one="x = 1"),)), {}))
    assert path[0].startswith(str(runtime._home))
    assert path[1].endswith("/python")
    assert not [place for place in path if "site-packages" in place], "the project's own packages leak in"
    assert str(Path(__file__).parent.parent) not in path, "the project itself leaks in"
    code = "def handler(event, context):\n    import pulumi"
    assert failure(runtime.invoke(function(code), {}))["errorType"] == "ModuleNotFoundError"


def test_a_later_layer_lies_over_an_earlier_one_and_the_code_over_both(runtime: Runtime) -> None:
    first, second = archive(python__a="v = 1", python__b="v = 1"), archive(python__b="v = 2", python__app="v = 3")
    code = "import a, b\ndef handler(event, context): return [a.v, b.v]"
    assert answer(runtime.invoke(function(code, layers=(first, second)), {})) == [1, 2]


def test_a_function_gets_its_own_environment_and_not_ours(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    code = "import os\ndef handler(event, context): return dict(os.environ)"
    seen = answer(runtime.invoke(function(code, environment={"STACK": "dev", "AWS_REGION": "elsewhere"}), {}))
    assert seen["STACK"] == "dev"
    assert seen["AWS_REGION"] == "ap-northeast-1", "what the run sets must win over the function's own"
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == "demo"
    assert "AWS_PROFILE" not in seen
    assert "PGPASSWORD" not in seen
    assert seen["HOME"] != os.environ.get("HOME"), "configuration files of this machine's user would be found"


def test_a_path_below_var_task_leads_to_the_unpacked_code(runtime: Runtime) -> None:
    code = "import os, pathlib\ndef handler(event, context): return pathlib.Path(os.environ['CERT']).read_text()"
    assert answer(runtime.invoke(function(code, environment={"CERT": "/var/task/app.py"}), {})) == code


def test_the_context_tells_name_memory_request_and_time_left(runtime: Runtime) -> None:
    code = """
def handler(event, context):
    said = [context.function_name, context.memory_limit_in_mb, context.invoked_function_arn, context.aws_request_id]
    return [*said, context.get_remaining_time_in_millis()]
"""
    name, memory, arn, request_id, left = answer(runtime.invoke(function(code, memory_mb=300), {}))
    assert (name, memory, arn) == ("demo", "300", "arn:aws:lambda:x:1:function:demo")
    assert len(request_id) == 36
    assert 15_000 < left <= 20_000


def test_an_exception_is_answered_in_lambdas_shape_with_the_stack_of_the_handler(runtime: Runtime) -> None:
    code = "class TransientError(Exception): pass\ndef handler(event, context): raise TransientError('try again')"
    error = failure(runtime.invoke(function(code), {}))
    assert (error["errorType"], error["errorMessage"]) == ("TransientError", "try again")
    assert len(error["stackTrace"]) == 1
    assert "app.py" in error["stackTrace"][0]


@pytest.mark.parametrize(
    ("code", "handler", "kind"),
    [
        ("import nowhere", "app.handler", "Runtime.ImportModuleError"),
        ("x = 1", "app.handler", "Runtime.HandlerNotFound"),
        ("x = 1", "missing.handler", "Runtime.ImportModuleError"),
        ("def handler(event, context): return {1, 2}", "app.handler", "Runtime.MarshalError"),
        ("import sys\ndef handler(event, context): sys.exit(3)", "app.handler", "Runtime.ExitError"),
        ("import os\ndef handler(event, context): os._exit(3)", "app.handler", "Runtime.ExitError"),
        ("import os\ndef handler(event, context): os.kill(os.getpid(), 9)", "app.handler", "Runtime.ExitError"),
    ],
)
def test_what_is_not_an_answer_has_lambdas_name_for_it(runtime: Runtime, code: str, handler: str, kind: str) -> None:
    assert failure(runtime.invoke(function(code, handler=handler), {}))["errorType"] == kind


def test_a_function_that_takes_too_long_is_killed_with_all_it_started(runtime: Runtime, tmp_path: Path) -> None:
    code = """
import subprocess, sys, time
def handler(event, context):
    subprocess.Popen([sys.executable, "-c", f"import time, pathlib; time.sleep(1.5); pathlib.Path({event!r}).touch()"])
    time.sleep(60)
"""
    started = time.monotonic()
    error = failure(runtime.invoke(function(code, timeout_seconds=0.7), str(tmp_path / "alive")))
    assert time.monotonic() - started < 5
    assert error["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 0.70 seconds" in error["errorMessage"]
    time.sleep(1.5)
    assert not (tmp_path / "alive").exists(), "what it started lives on"


def test_memory_is_measured_for_the_process_alone(runtime: Runtime) -> None:
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    small = runtime.invoke(function("def handler(event, context): return 1"), {})
    code = "def handler(event, context):\n    x = bytearray(80_000_000); x[::4096] = b'x' * len(x[::4096]); return 1"
    big = runtime.invoke(function(code), {})
    assert small.peak_mb is not None
    assert big.peak_mb is not None
    assert small.peak_mb < 60, "our own memory was counted as the function's"
    # 80,000,000 bytes are 76.3 MiB; the small process has some pages of its own that the big one has not.
    assert 72 < big.peak_mb - small.peak_mb < 100
    del ballast


def test_a_function_that_outgrows_its_memory_fails(runtime: Runtime) -> None:
    code = "def handler(event, context):\n    x = bytearray(80_000_000); x[::4096] = b'x' * len(x[::4096]); return 1"
    assert failure(runtime.invoke(function(code, memory_mb=64), {}))["errorType"] == "Runtime.OutOfMemory"


def test_what_a_function_prints_is_kept_in_its_log(runtime: Runtime, tmp_path: Path) -> None:
    code = (
        "import sys\ndef handler(event, context): print('out'); print('err', file=sys.stderr); raise ValueError('why')"
    )
    runtime.invoke(function(code), {})
    log = (tmp_path / "logs" / "demo.log").read_text()
    for expected in ("START RequestId", "out\n", "err\n", "ValueError: why", "REPORT RequestId", "Max Memory Used"):
        assert expected in log


def test_an_archive_is_unpacked_once(runtime: Runtime, tmp_path: Path) -> None:
    demo = function("def handler(event, context): return 1")
    for _ in range(2):
        runtime.invoke(demo, {})
    folders = list((tmp_path / "functions").iterdir())
    assert len(folders) == 1
    assert not folders[0].name.startswith("unfinished")


def test_at_the_end_whatever_runs_is_killed_and_nothing_starts_any_more(runtime: Runtime) -> None:
    results: list[Invocation] = []
    slow = function("import time\ndef handler(event, context): time.sleep(60)")
    thread = threading.Thread(target=lambda: results.append(runtime.invoke(slow, {})))
    started = time.monotonic()
    thread.start()
    time.sleep(0.5)
    runtime.close()
    thread.join(10)
    assert time.monotonic() - started < 10
    assert results[0].failed
    assert failure(runtime.invoke(slow, {}))["errorType"] == "Runtime.ExitError"
