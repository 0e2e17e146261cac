"""Points at which the world can be made to fail under the handlers. No code of theirs knows of them.

They lie where a handler meets the world: before and after each request to the source, each call of an AWS API, each
connection, statement, COPY and commit in PostgreSQL, and within each body that is sent or read. They are numbered in
the order in which they are met and named readably. A fault is one kind of failure at one point:

    kill        SIGKILL of the process, there and then
    cut         the connection breaks: before something, that never happens; after it, its answer is lost
    terminate   (PostgreSQL) the server ends the session, as a failover or an administrator does
    error       (AWS) status 500, however often the client asks again within the call
    throttle    (AWS) the same, with the service's word for too many requests

`install` wraps the libraries of its process, for good: it is for a process that runs one handler once (fork_server.py).
"""

import io
import json
import os
import re
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, override
from urllib.parse import urlsplit

import botocore.client
import botocore.httpsession
import psycopg2
import requests
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ResponseStreamingError
from psycopg2.extensions import connection as Connection  # noqa: N812
from urllib3.exceptions import ProtocolError

from evdata.session import PinnedConnection, PinnedCursor


@dataclass(frozen=True, slots=True)
class Point:
    """A point that a handler met: its number, counting from 1, its name, and the kinds of fault that apply there."""

    number: int
    name: str
    kinds: tuple[str, ...]


class Points:
    """Counts the points as they are met, tells each on `told`, and fails at those that are among `faults`."""

    def __init__(self, told: IO[str], faults: Mapping[int, str]) -> None:
        self._told = told
        self._faults = faults
        self._number = 0

    def meet(self, name: str, kinds: str) -> str:
        """Pass a point; return the kind of fault that is due here, or nothing."""
        self._number += 1
        self._told.write(json.dumps([self._number, name, kinds.split()]) + "\n")
        self._told.flush()
        due = self._faults.get(self._number, "")
        if due == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return due


def install(points: Points) -> None:
    """Wrap the libraries through which the handlers meet the world."""
    _wrap_source(points)
    _wrap_aws(points)
    _wrap_postgres(points)


# --- The source ---


def _wrap_source(points: Points) -> None:
    send: Callable[..., requests.Response] = requests.Session.send
    cut_off = False  # a source that is cut off stays so until the handler gives up

    def wrapped(session: requests.Session, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        nonlocal cut_off
        place = urlsplit(str(request.url))
        offset = re.search(r"offset=\d+", place.query)
        name = f"{request.method} {place.path}{' ' + offset[0] if offset else ''}"
        cut_off = cut_off or points.meet(f"before {name}", "kill cut") == "cut"
        if cut_off:
            raise requests.ConnectionError("cut off")
        response = send(session, request, **how)
        cut_off = points.meet(f"after the head of {name}", "kill cut") == "cut"
        raw: Any = response.raw
        raw.read1 = _broken if cut_off else _told(points, name, raw.read1)
        return response

    setattr(requests.Session, "send", wrapped)  # noqa: B010 - a method is not for assigning to, to mypy


def _broken(*_: Any, **__: Any) -> bytes:
    raise ProtocolError("cut off")


def _told(points: Points, name: str, read: Callable[..., bytes]) -> Callable[..., bytes]:
    def wrapped(*arguments: Any, **named: Any) -> bytes:
        piece = read(*arguments, **named)
        if not piece:
            points.meet(f"after the body of {name}", "kill")
        return piece

    return wrapped


# --- AWS ---


def _wrap_aws(points: Points) -> None:
    client_class: Any = botocore.client.BaseClient
    session_class: Any = botocore.httpsession.URLLib3Session
    call, send = client_class._make_api_call, session_class.send
    failing = ""  # how each attempt of the call under way fails

    def wrapped_call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        nonlocal failing
        thing = parameters.get("Key") or parameters.get("Prefix") or parameters["SecretId"].rsplit(":", 1)[-1][:-7]
        name = f"{client.meta.service_model.service_name} {operation} {_timeless(thing)}"
        failing = points.meet(f"before {name}", "kill cut error throttle")
        try:
            answer = call(client, operation, parameters)
        finally:
            failing = ""
        if points.meet(f"after {name}", "kill cut"):
            raise ConnectionClosedError(endpoint_url=client.meta.endpoint_url)
        if "Body" in answer:
            answer["Body"] = _Body(points, name, answer["Body"])
        return answer

    def wrapped_send(session: Any, request: Any) -> Any:
        if failing == "cut":
            raise EndpointConnectionError(endpoint_url=request.url)
        return _refusal(request, failing) if failing else send(session, request)

    client_class._make_api_call, session_class.send = wrapped_call, wrapped_send


@dataclass(frozen=True, slots=True)
class _Body:
    """A body that can break while it is read."""

    points: Points
    name: str
    body: Any

    def read(self) -> bytes:
        if self.points.meet(f"within the body of {self.name}", "kill cut"):
            raise ResponseStreamingError(error="cut off")
        content: bytes = self.body.read()
        return content


def _refusal(request: Any, how: str) -> AWSResponse:
    if "X-Amz-Target" in request.headers:  # Secrets Manager speaks JSON, S3 XML
        status, code = {"error": (500, "InternalServiceError"), "throttle": (400, "ThrottlingException")}[how]
        body = json.dumps({"__type": code, "message": "not now"}).encode()
    else:
        status, code = {"error": (500, "InternalError"), "throttle": (503, "SlowDown")}[how]
        body = f"<Error><Code>{code}</Code><Message>not now</Message></Error>".encode()
    raw: Any = io.BytesIO()
    raw.stream = lambda *_, **__: iter([body])
    return AWSResponse(request.url, status, HTTPHeaders(), raw)


# --- PostgreSQL ---


def _wrap_postgres(points: Points) -> None:
    connect: Callable[..., Connection] = psycopg2.connect
    every = "kill cut terminate"

    def wreck(connection: Connection, how: str) -> None:
        if how == "cut":
            with socket.socket(fileno=os.dup(connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
        elif how == "terminate":
            info = connection.info
            other = connect(host=info.host, port=info.port, dbname=info.dbname, user=info.user, password=info.password)
            with other.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (info.backend_pid,))
            other.close()

    def around[T](connection: Connection, name: str, act: Callable[[], T]) -> T:
        """Act between two points. What fails before it meets the library; what fails after it loses the answer."""
        wreck(connection, points.meet(f"before {name}", every))
        answer = act()
        if how := points.meet(f"after {name}", every):
            wreck(connection, how)
            raise psycopg2.OperationalError("server closed the connection unexpectedly")
        return answer

    class WatchedCursor(PinnedCursor):
        @override
        def execute(self, query: Any, vars: Any = None) -> None:
            around(self.connection, _words(self, query), lambda: super(WatchedCursor, self).execute(query, vars))

        @override
        def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
            copy = super().copy_expert
            watched: Any = _File(file, lambda: wreck(self.connection, points.meet("within COPY", every)))
            around(self.connection, _words(self, sql), lambda: copy(sql, watched, size))

    class WatchedConnection(PinnedConnection):
        @override
        def cursor(self, *_: Any, **__: Any) -> Any:
            return super().cursor(cursor_factory=WatchedCursor)

        @override
        def commit(self) -> None:
            around(self, "COMMIT", super().commit)

        @override
        def rollback(self) -> None:
            around(self, "ROLLBACK", super().rollback)

        @override
        def close(self) -> None:
            points.meet("before the connection is closed", "kill")
            super().close()
            points.meet("after the connection is closed", "kill")

    def wrapped(dsn: str, **how: Any) -> Connection:
        if points.meet("before the connection is made", "kill cut"):
            raise psycopg2.OperationalError("could not connect to server: Connection refused")
        connection = connect(dsn, **(how | {"connection_factory": WatchedConnection}))
        wreck(connection, points.meet("after the connection is made", every))
        return connection

    psycopg2.connect = wrapped  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class _File:
    """A file that tells when it is read."""

    file: IO[bytes]
    tell: Callable[[], None]

    def read(self, size: int) -> bytes:
        self.tell()
        return self.file.read(size)


def _words(cursor: PinnedCursor, query: Any) -> str:
    """Return the first words of a statement, without what differs from version to version."""
    text = query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string(cursor)
    return _timeless(" ".join(text.split()))[:70].rstrip()


def _timeless(text: str) -> str:
    return re.sub(r"\d{8}T\d{6}Z|\d{14}|date=\d{8}", "...", text)
