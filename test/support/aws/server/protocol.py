"""Requests and responses of AWS's protocols, read and written by the models that botocore ships."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request as MotoRequest
from moto.core.routing import get_service_router
from moto.core.serialize import SerializationContext, get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.wrappers import Request as HttpRequest

from test.support.aws.rules import DENIED, EXPIRED, THROTTLED, permission_for

#: botocore's names of services whose signing name is another.
_BOTO_NAMES = {"servicequotas": "service-quotas", "tagging": "resourcegroupstaggingapi"}
_PROTOCOLS = {"ec2": "ec2", "cloudformation": "query", "sts": "query", "iam": "query", "s3": "rest-xml"}
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/")


@functools.cache
def _operation(service: str, action: str) -> Any:
    return get_service_model(boto_name(service)).operation_model(action)


class ApiError(Exception):
    """What AWS refuses. status: of HTTP; headers: more of them."""

    def __init__(self, code: str, message: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: list[tuple[str, str]]
    body: Iterable[bytes]


@dataclass(frozen=True)
class Signed:
    """Who asks for what. service: its signing name; empty when the request is not signed."""

    service: str
    region: str
    access_key: str


def signed_of(environ: Mapping[str, Any]) -> Signed:
    """From the header, or from the query of a presigned URL (AWS: "Signature Version 4")."""
    text = str(environ.get("HTTP_AUTHORIZATION", ""))
    if not text:
        credential = re.search(r"X-Amz-Credential=([^&]+)", str(environ.get("QUERY_STRING", "")))
        text = "Credential=" + credential[1].replace("%2F", "/") + "/" if credential else ""
    found = _CREDENTIAL.search(text)
    return Signed(found[3], found[2], found[1]) if found else Signed("", "", "")


def boto_name(service: str) -> str:
    return _BOTO_NAMES.get(service, service)


def protocol_of(service: str) -> str:
    return _PROTOCOLS.get(service, "json")


def action_of(service: str, environ: dict[str, Any], request: HttpRequest) -> str:
    """The operation's name; for what is unknown the method and the path."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).split(".")[-1]
    if service in ("s3", "iam", "sts", "ec2", "cloudformation") or not service:
        if service != "s3" and (action := request.values.get("Action")):
            return action
        with contextlib.suppress(Exception):  # werkzeug's NotFound, and more
            operation, _ = get_service_router("s3").match(MotoRequest(environ.copy()))
            return str(operation.name)
    elif action := request.values.get("Action"):
        return action
    return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"


def parameters_of(service: str, action: str, request: HttpRequest) -> dict[str, Any]:
    """The request's parameters in the form in which boto3 takes them."""
    if service == "s3":
        bucket, _, key = request.path.lstrip("/").partition("/")
        return {"Bucket": bucket, "Key": key, **request.args.to_dict()}
    model = _operation(service, action)
    parser = PROTOCOL_PARSERS[protocol_of(service)](model)
    parsed = parser.parse(
        {
            "method": request.method,
            "values": request.values,
            "headers": request.headers,
            "body": request.get_data(),
            "url_path": request.path,
            "url_params": {},
        }
    )
    return dict(parsed or {})


def reply_with(service: str, action: str, result: Mapping[str, Any]) -> Reply:
    """A result, as boto3 returns it, in the protocol of the service."""
    request_id = str(uuid.uuid4())
    model = _operation(service, action)
    serializer = get_serializer_class(boto_name(service), protocol_of(service))
    made = serializer(model, context=SerializationContext(request_id)).serialize(dict(result))
    body = made["body"]
    data = body.encode() if isinstance(body, str) else bytes(body)
    headers = {**made["headers"], "x-amzn-RequestId": request_id, "Content-Length": str(len(data))}
    return Reply(int(made["status_code"]), [(name, str(value)) for name, value in headers.items()], [data])


def reply_to_error(service: str, error: ApiError, *, method: str = "POST") -> Reply:
    """An error in the words of the service's protocol."""
    request_id = str(uuid.uuid4())
    code, message = escape(error.code), escape(error.message)
    content = "text/xml"
    if service == "ec2":
        inner = f"<Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        body = f"<Response>{inner}<RequestID>{request_id}</RequestID></Response>"
    elif service == "s3" or not service:
        body = f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{request_id}</RequestId></Error>"
        content = "application/xml"
    elif protocol_of(service) == "query":
        inner = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        body = f"<ErrorResponse>{inner}<RequestId>{request_id}</RequestId></ErrorResponse>"
    else:
        body = json.dumps({"__type": error.code, "message": error.message})
        content = "application/x-amz-json-1.1"
    data = b"" if method == "HEAD" else body.encode()
    headers = {
        "Content-Type": content,
        "Content-Length": str(len(data)),
        "x-amzn-RequestId": request_id,
        "x-amzn-ErrorType": error.code,
        **error.headers,
    }
    return Reply(error.status, list(headers.items()), [data])


def error_of(kind: str, service: str, action: str, *, message: str = "", status: int = 400) -> ApiError:
    """One of THROTTLED, EXPIRED, DENIED in the service's words; any other kind is an error code of itself.

    Codes: AWS's "Error codes for the Amazon EC2 API", "Error responses" of S3, "Common errors" of the others.
    """
    json_protocol = protocol_of(service) == "json"
    if kind == THROTTLED:
        if service == "ec2":
            return ApiError("RequestLimitExceeded", "Request limit exceeded.", 503)
        if service == "s3":
            return ApiError("SlowDown", "Please reduce your request rate.", 503)
        if service == "ebs":
            return ApiError("RequestThrottledException", "The number of API requests has exceeded the maximum.", 429)
        return ApiError("ThrottlingException" if json_protocol else "Throttling", "Rate exceeded")
    if kind == EXPIRED:
        if service == "ec2":
            return ApiError("RequestExpired", "Request has expired.")
        if service == "s3":
            return ApiError("ExpiredToken", "The provided token has expired.")
        words = "The security token included in the request is expired"
        return ApiError("ExpiredTokenException", words) if json_protocol else ApiError("ExpiredToken", words, 403)
    if kind == DENIED:
        user = "User: arn:aws:iam::123456789012:user/developer is not authorized to perform: "
        permission = permission_for(service, action)
        why = f"{user}{permission} because no identity-based policy allows the {permission} action"
        if service == "ec2":
            return ApiError("UnauthorizedOperation", f"You are not authorized to perform this operation. {why}", 403)
        if json_protocol:
            return ApiError("AccessDeniedException", why)
        return ApiError("AccessDenied", why, 403)
    return ApiError(kind, message, status)


def unknown_key(service: str) -> ApiError:
    """The access key is none that AWS knows."""
    if service == "ec2":
        words = "AWS was not able to validate the provided access credentials"
        return ApiError("AuthFailure", words, 401)
    if service == "s3":
        words = "The AWS Access Key Id you provided does not exist in our records."
        return ApiError("InvalidAccessKeyId", words, 403)
    words = "The security token included in the request is invalid."
    if protocol_of(service) == "json":
        return ApiError("UnrecognizedClientException", words)
    return ApiError("InvalidClientTokenId", words, 403)
