"""The WSGI application in front of moto's: journal, credentials, permissions, faults, our handlers, control."""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Request as HttpRequest

from test.support.aws.rules import DENIED, EXPIRED, Call, Fault
from test.support.aws.server.faults import Journal
from test.support.aws.server.protocol import (
    ApiError,
    Reply,
    Signed,
    action_of,
    error_of,
    parameters_of,
    reply_to_error,
    reply_with,
    signed_of,
    unknown_key,
)
from test.support.aws.server.world import HANDLERS, World, matches

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
#: Functions that look at an S3 request first, and may refuse it. They get world, action, region, parameters, environ.
S3_CHECKS: list[Callable[[World, str, str, dict[str, Any], Environ], None]] = []
#: Services with many large requests, which are neither parsed nor carried out as the others: what tells the operation
#: and its parameters, and what carries it out (not under the lock).
RAW_SERVICES: dict[
    str,
    tuple[Callable[[Environ], tuple[str, dict[str, Any]]], Callable[[World, str, str, dict[str, Any], Environ], Reply]],
] = {}
#: By name: what ``Aws`` asks for besides journal, faults and settings.
CONTROLS: dict[str, Callable[[World, Any], Any]] = {}
#: What is done with megabytes, and all others need not wait for; ``None`` leaves it to moto.
UNLOCKED: dict[str, Callable[[World, dict[str, Any], Environ], Reply | None]] = {}
_TEST_KEY = "AKIATHETESTSOWNKEY00"
_ATTEMPT = re.compile(r"attempt=(\d+)")
_ERROR_CODE = re.compile(rb"<Code>([^<]+)</Code>")


class Front:
    """See the module."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._journal = Journal()
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        path = str(environ["PATH_INFO"])
        if path.startswith("/_control/"):
            return self._send(self._control(path.removeprefix("/_control/"), environ), start)
        signed = signed_of(environ)
        service = signed.service or "s3"
        if service in RAW_SERVICES:
            action, parameters = RAW_SERVICES[service][0](environ)
        else:
            request = HttpRequest({**environ, "wsgi.input": io.BytesIO(b"")} if service == "s3" else environ)
            action = action_of(service, environ, request)
            try:
                parameters = parameters_of(service, action, request)
            except Exception:
                traceback.print_exc()
                parameters = {}
        environ["wsgi.input"].seek(0)
        attempt = _ATTEMPT.search(str(environ.get("HTTP_AMZ_SDK_REQUEST", "")))
        call = Call(
            0, service, action, signed.region, signed.access_key, _plain(parameters), int(attempt[1]) if attempt else 1
        )
        fault = None
        if signed.access_key != _TEST_KEY:
            call, fault = self._journal.begin(call)
        reply, call = self._answer(environ, call, parameters, fault, signed)
        self._world.answered(by_test=signed.access_key == _TEST_KEY)
        if signed.access_key != _TEST_KEY:
            self._journal.end(call)
        if reply is None:
            _drop(environ)
        assert reply
        return self._send(reply, start)

    def _answer(
        self, environ: Environ, call: Call, parameters: dict[str, Any], fault: Fault | None, signed: Signed
    ) -> tuple[Reply | None, Call]:
        """The reply, None for a broken connection, and the call with what came of it."""
        method = str(environ["REQUEST_METHOD"])

        def refuse(error: ApiError) -> tuple[Reply, Call]:
            return reply_to_error(call.service, error, method=method), replace(
                call, status=error.status, code=error.code
            )

        if fault and fault.moment == "before":
            if fault.effect == "drop":
                return None, call
            if fault.effect == "error":
                return refuse(
                    error_of(fault.code, call.service, call.action, message=fault.message, status=fault.status)
                )
            self._world.ask("hook", {"fault": call.fault, "call": asdict(call)})
        if error := self._refusal(call, signed):
            return refuse(error)
        reply, code = self._perform(environ, call, parameters)
        call = replace(call, status=reply.status, code=code, effect=reply.status < 400)
        if fault and fault.moment == "after":
            if fault.effect == "drop":
                _close(reply)
                return None, replace(call, status=0)
            if fault.effect == "error":
                _close(reply)
                error = error_of(fault.code, call.service, call.action, message=fault.message, status=fault.status)
                return refuse(error)
            self._world.ask("hook", {"fault": call.fault, "call": asdict(call)})
        return reply, call

    def _refusal(self, call: Call, signed: Signed) -> ApiError | None:
        """Credentials and permissions. The test's own key may do all."""
        settings = self._world.settings
        if signed.access_key == _TEST_KEY:
            return None
        if signed.access_key in settings.unknown_keys:
            return unknown_key(call.service)
        if signed.access_key in settings.expired_keys:
            return error_of(EXPIRED, call.service, call.action)
        if signed.service and matches(settings.denied, call.permission) and call.name != "sts:GetCallerIdentity":
            return error_of(DENIED, call.service, call.action)
        return None

    def _perform(self, environ: Environ, call: Call, parameters: dict[str, Any]) -> tuple[Reply, str]:
        """By our handler, or by moto's application; and the code of the error that came of it."""
        method = str(environ["REQUEST_METHOD"])
        try:
            if call.service in RAW_SERVICES:
                return RAW_SERVICES[call.service][1](self._world, call.action, call.region, parameters, environ), ""
            with self._world.lock:
                self._world.touch(call.region)
                if call.service == "s3":
                    for check in S3_CHECKS:
                        check(self._world, call.action, call.region, parameters, environ)
                if (call.service, call.action) in HANDLERS:
                    result = self._world.perform(call.service, call.action, parameters, call.region)
                    return reply_with(call.service, call.action, result), ""
                if call.name not in UNLOCKED:
                    return self._through_moto(environ, call)
            reply = UNLOCKED[call.name](self._world, parameters, environ)
            return (reply, "") if reply else self._through_moto(environ, call)
        except ApiError as error:
            return reply_to_error(call.service, error, method=method), error.code
        except Exception as error:
            traceback.print_exc()
            failure = ApiError("InternalError", f"the stand-in failed in {call.name}: {error!r}", 500)
            return reply_to_error(call.service, failure, method=method), failure.code

    def _through_moto(self, environ: Environ, call: Call) -> tuple[Reply, str]:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            started.append((status, headers))

        try:
            body = self._moto(environ, start)
        except NotImplementedError as error:
            raise ApiError("InvalidAction", f"the stand-in lacks {call.name}: {error}", 400) from None
        status, headers = started[-1]
        code = ""
        if int(status.split()[0]) >= 400:
            data = b"".join(body)
            if b"<!doctype html" in data[:200].lower():
                raise ApiError("InvalidAction", f"the stand-in lacks {call.name}", 400)
            code = _error_code(data)
            body = [data]
        return Reply(int(status.split()[0]), headers, body), code

    def _control(self, what: str, environ: Environ) -> Reply:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        data: Any = json.loads(body) if body else None
        status = 200
        answer: Any = None
        try:
            if what == "calls":
                answer = self._journal.as_json()
            elif what == "faults":
                self._journal.set_faults(data)
            elif what == "clear":
                self._journal.clear()
            elif what == "settings":
                with self._world.lock:
                    for name, value in data.items():
                        setattr(self._world.settings, name, value)
            elif what == "advance":
                self._world.advance(float(data))
            elif what == "reset":
                self._world.reset()
                self._journal.set_faults([])
                self._journal.clear()
            else:
                with self._world.lock:
                    answer = CONTROLS[what](self._world, data)
        except Exception as error:
            traceback.print_exc()
            status, answer = 500, repr(error)
        out = json.dumps(answer).encode()
        return Reply(status, [("Content-Type", "application/json"), ("Content-Length", str(len(out)))], [out])

    @staticmethod
    def _send(reply: Reply, start: StartResponse) -> Iterable[bytes]:
        start(f"{reply.status} X", reply.headers)
        return reply.body


def _plain(value: Any) -> Any:
    """What JSON can hold of a request's parameters."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _error_code(body: bytes) -> str:
    if found := _ERROR_CODE.search(body):
        return found[1].decode()
    try:
        return str(json.loads(body).get("__type", "")).split("#")[-1]
    except (ValueError, AttributeError):
        return ""


def _close(reply: Reply) -> None:
    close = getattr(reply.body, "close", None)
    if close:
        close()


def _drop(environ: Environ) -> None:
    """Breaks the connection: the client sees a reset."""
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("dropped by a fault of the test")
