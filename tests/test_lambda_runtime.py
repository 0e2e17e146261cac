"""The built archives under Lambda's own runtime client and emulator, without Docker: they boot, and they answer.

As in Lambda: the handlers' archive is the working folder, the layer lies on the path, Python 3.12 has nothing else but
the runtime's client, and the environment is what the program gives the function.
"""

import hashlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uv

from components import packaging
from components.packaging import Architecture
from tests.pulumi_mocks import PROJECT, record_stack

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.xdist_group("lambda-runtime"),
    pytest.mark.skipif(sys.platform != "linux", reason="Lambda's emulator is a Linux program"),
]

HERE: Architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
CLIENT = "awslambdaric==4.2.2"
EMULATOR = "aws-sam-cli==1.170.0"  # its wheel carries the emulator; nothing else of it is used
FUNCTION = "aws:lambda/function:Function"
LAYER_OF = {"extract": "extract_layer", "stage": "load_layer", "publish": "load_layer"}
BOOT_SECONDS = 60.0


@pytest.fixture(scope="module")
def runtime() -> tuple[Path, Path]:
    """Return the emulator and the folder of the runtime's client; fetched once."""
    name = hashlib.sha256(f"{CLIENT} {EMULATOR} {HERE} {sys.version_info[:2]}".encode()).hexdigest()[:16]
    folder = PROJECT / ".build" / f"lambda-runtime-{name}"
    if not (folder / "ready").exists():
        install = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--no-build"]
        subprocess.run([*install, "--target", folder / "client", CLIENT], check=True)
        subprocess.run([*install, "--target", folder / "sam", "--no-deps", EMULATOR], check=True)
        (folder / "ready").touch()
    return folder / "sam" / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{HERE}", folder / "client"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def booted(function: str, runtime: tuple[Path, Path], folder: Path) -> Iterator[str]:
    """Start a function of stack dev from its archives and give the address that invokes it."""
    packages = packaging.build(HERE)
    for archive, place in ((packages.handlers, "task"), (getattr(packages, LAYER_OF[function]), "opt")):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder / place)
    emulator, client = runtime
    deployed = record_stack("dev").one(FUNCTION, function).inputs
    port, api = free_port(), free_port()
    command = [
        *(str(emulator), "--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{api}", "--log-level", "error"),
        *(sys.executable, "-S", "-m", "awslambdaric", deployed["handler"]),  # -S: nothing installed here is in reach
    ]
    environment = {
        **deployed["environment"]["variables"],
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join(map(str, (folder / "task", folder / "opt" / "python", client))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_REGION": "ap-northeast-1",
        "AWS_DEFAULT_REGION": "ap-northeast-1",
        "AWS_LAMBDA_FUNCTION_NAME": deployed["name"],
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(int(deployed["timeout"])),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(int(deployed["memorySize"])),
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder / "task", env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for(port, process, folder / "log")
            yield f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the emulator ended: {log.read_text()}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"the emulator does not listen: {log.read_text()}")


def invoke(address: str, event: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(address, data=json.dumps(event).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=BOOT_SECONDS) as answer:
        given: dict[str, Any] = json.load(answer)
        return given


@pytest.mark.parametrize(
    ("function", "event", "message"),
    [
        ("extract", {"secret_arn": "s"}, "the event's bucket_name is None, expected a text"),
        (
            "stage",
            {"bucket_name": "b", "manifest_key": "published.json"},
            "the event's manifest_key is 'published.json'",
        ),
        ("publish", {"bucket_name": "b"}, "the event's manifest_key is None, expected a text"),
    ],
)
def test_a_function_boots_from_its_archives_and_answers_in_its_own_words(
    runtime: tuple[Path, Path], tmp_path: Path, function: str, event: dict[str, Any], message: str
) -> None:
    with booted(function, runtime, tmp_path) as address:
        first, second = invoke(address, event), invoke(address, event)
    log = (tmp_path / "log").read_text()
    assert first["errorType"] == "InputError", f"{first} {log}"
    assert first["errorMessage"].startswith(message)
    assert str(tmp_path / "task") in "".join(first["stackTrace"]), "it ran the shipped code"
    assert str(PROJECT / "handlers") not in "".join(first["stackTrace"]), "and not the code beside this test"
    assert second["errorMessage"] == first["errorMessage"], "a warm function answers as a cold one does"
    assert second["requestId"] != first["requestId"]
