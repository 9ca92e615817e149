"""A distribution of CloudFront on loopback, that does what the stack in the stand-in says.

    with running_cdn(aws, distribution_id) as cdn:
        cdn.url("/data_science_sandbox/1.0.0/SHA256SUMS")       # where it is here
        cdn.located("https://d….cloudfront.net/signed/…?Expires=…")   # the same for a URL of the product

In the order of CloudFront: the web ACL, the behavior by the normalized path, the method, the signature, the function,
the bucket, the response headers (Amazon CloudFront Developer Guide, "Path pattern", "Create a signed URL using a canned
policy"; AWS WAF comes first). Real: the template, the JavaScript, the signatures. Not here: TLS (a header of the
request, ``CloudFront-Viewer-TLS``, says what it would have been), the cache, the redirection to HTTPS. The viewer's
address is that of the connection: ``curl --interface 127.0.0.2``.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

import dukpy
from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from test.support.aws.standin import Aws
from test.support.aws.waf import Visit, WebAcl

_UNRESERVED = re.compile(r"%([0-9A-Fa-f]{2})")
_SIGNING = ("Expires", "Hash-Algorithm", "Key-Pair-Id", "Policy", "Signature")
_TLS = "TLSv1.3:TLS_AES_128_GCM_SHA256:fullHandshake"


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Refused(Exception):
    """An error page of CloudFront."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.response = Response(status, {"X-Cache": "Error from cloudfront"}, f"<Code>{code}</Code>".encode())


class Cdn:
    """origin: ``http://127.0.0.1:PORT``. domain: the distribution's. asked: keys that the bucket was asked for."""

    def __init__(self, aws: Aws, distribution_id: str) -> None:
        things = {each["id"]: each for each in aws.edge()}
        found = things[distribution_id]
        self._s3 = aws.client("s3")
        self._arn = found["arn"]
        self._config: dict[str, Any] = found["properties"]
        self._things = {**things, **{each["arn"]: each for each in things.values()}}
        acl = self._things[self._config["WebACLId"]]
        ip_sets = {e["arn"]: e["properties"]["Addresses"] for e in things.values() if e["type"].endswith("IPSet")}
        self._acl = WebAcl(acl["properties"], ip_sets)
        self.domain = str(found["attributes"]["DomainName"])
        self.origin = ""
        self.asked: list[str] = []
        self._lock = threading.Lock()  # of the stand-in's rules; one request at a time is enough

    def url(self, path: str) -> str:
        return self.origin + path

    def located(self, url: str) -> str:
        """A URL of the distribution, as it is here."""
        assert url.startswith(f"https://{self.domain}/"), url
        return self.origin + url.removeprefix(f"https://{self.domain}")

    def answer(self, method: str, target: str, headers: Mapping[str, str], address: str) -> Response:
        path, _, query = target.partition("?")
        with self._lock:
            verdict = self._acl.judge(Visit(address, path, headers.get("cookie", "")))
            if verdict:
                return Response(verdict.status, {**verdict.headers, "X-Cache": f"Error: {verdict.rule}"})
            try:
                return self._behave(method, path, query, headers)
            except Refused as refused:
                return refused.response

    def _behave(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Response:
        behavior = self._behavior(normalized(path))
        if method not in behavior["AllowedMethods"]:
            raise Refused(403, "InvalidRequestMethod")
        if groups := behavior.get("TrustedKeyGroups"):
            items = [key for group in groups for key in self._things[group]["properties"]["Items"]]
            keys = {key: str(self._things[key]["properties"]["EncodedKey"]) for key in items}
            check_signature(f"https://{self.domain}{path}", query, keys, now=time.time())
        uri = self._through_function(behavior, method, path, headers)
        response = self._from_bucket(method, unquote(uri).lstrip("/"), headers)
        return Response(response.status, {**response.headers, **self._security_headers(behavior)}, response.body)

    def _behavior(self, path: str) -> dict[str, Any]:
        for each in self._config.get("CacheBehaviors", []):
            if fnmatchcase(path, "/" + each["PathPattern"].lstrip("/")):
                return dict(each)
        return dict(self._config["DefaultCacheBehavior"])

    def _through_function(self, behavior: Mapping[str, Any], method: str, path: str, headers: Mapping[str, str]) -> str:
        """The path afterwards. The header comes only where an origin request policy names it."""
        policy = self._things[behavior["OriginRequestPolicyId"]]["properties"]
        seen = {}
        if "CloudFront-Viewer-TLS" in policy["HeadersConfig"].get("Headers", []):
            seen["cloudfront-viewer-tls"] = {"value": headers.get("cloudfront-viewer-tls", _TLS)}
        for each in behavior.get("FunctionAssociations", []):
            assert each["EventType"] == "viewer-request"
            code = self._things[each["FunctionARN"]]["properties"]["FunctionCode"]
            event = {"version": "1.0", "request": {"method": method, "uri": path, "headers": seen}}
            result = dukpy.evaljs([code, "handler(dukpy['event'])"], event=event)
            if "statusCode" in result:
                raise Refused(int(result["statusCode"]), "FunctionGeneratedResponse")
            path = result["uri"]
        return path

    def _from_bucket(self, method: str, key: str, headers: Mapping[str, str]) -> Response:
        bucket = self._config["Origins"][0]["DomainName"].split(".")[0]
        self.asked.append(key)
        if not self._may_read(bucket, key):
            raise Refused(403, "AccessDenied")
        wanted = {"Range": headers["range"]} if "range" in headers else {}
        try:
            found = self._s3.get_object(Bucket=bucket, Key=key, **wanted)
        except ClientError as error:
            status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
            raise Refused(403 if status == 404 else status, error.response["Error"]["Code"]) from None
        body = found["Body"].read()
        shown = {"Content-Length": str(len(body)), "Accept-Ranges": "bytes", "ETag": found["ETag"]}
        if "ContentRange" in found:
            shown["Content-Range"] = found["ContentRange"]
        return Response(206 if wanted else 200, shown, body if method == "GET" else b"")

    def _may_read(self, bucket: str, key: str) -> bool:
        """By the bucket's policy, for the origin access control of this distribution."""
        assert (
            self._things[self._config["Origins"][0]["OriginAccessControlId"]]["properties"]["SigningBehavior"]
            == "always"
        )
        for statement in json.loads(self._s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]:
            if (
                statement["Effect"] == "Allow"
                and statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
                and statement["Action"] == "s3:GetObject"
                and statement["Condition"] == {"StringEquals": {"AWS:SourceArn": self._arn}}
                and fnmatchcase(f"arn:aws:s3:::{bucket}/{key}", statement["Resource"])
            ):
                return True
        return False

    def _security_headers(self, behavior: Mapping[str, Any]) -> dict[str, str]:
        given = self._things[behavior["ResponseHeadersPolicyId"]]["properties"]["SecurityHeadersConfig"]
        transport = given["StrictTransportSecurity"]
        return {
            "Strict-Transport-Security": f"max-age={transport['AccessControlMaxAgeSec']}; includeSubDomains",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": given["FrameOptions"]["FrameOption"],
            "Referrer-Policy": given["ReferrerPolicy"]["ReferrerPolicy"],
            "Content-Security-Policy": given["ContentSecurityPolicy"]["ContentSecurityPolicy"],
        }


def normalized(path: str) -> str:
    """As CloudFront does it to find the behavior: RFC 3986, 6.2.2.2 (unreserved characters), 5.2.4 (dots)."""

    def decoded(found: re.Match[str]) -> str:
        char = chr(int(found[1], 16))
        return char if re.fullmatch(r"[A-Za-z0-9._~-]", char) else found[0].upper()

    parts: list[str] = []
    for part in _UNRESERVED.sub(decoded, path).split("/")[1:]:
        if part == "..":
            parts[-1:] = []
        elif part != ".":
            parts.append(part)
    return "/" + "/".join(parts)


def check_signature(url: str, query: str, keys: Mapping[str, str], *, now: float) -> None:
    """url: without the query. keys: PEM by id. Raises ``Refused``."""
    given = {name: values[0] for name, values in parse_qs(query).items()}
    if not {"Signature", "Key-Pair-Id"} <= set(given) or not {"Expires", "Policy"} & set(given):
        raise Refused(403, "MissingKey")
    if given["Key-Pair-Id"] not in keys:
        raise Refused(403, "InvalidKey")
    others = "&".join(each for each in query.split("&") if each.split("=")[0] not in _SIGNING)
    resource = url + (f"?{others}" if others else "")
    if "Policy" in given:
        policy = _decoded(given["Policy"])
    else:
        condition = {"DateLessThan": {"AWS:EpochTime": int(given["Expires"])}}
        canned = {"Statement": [{"Resource": resource, "Condition": condition}]}
        policy = json.dumps(canned, separators=(",", ":")).encode()
    hashed = hashes.SHA256() if given.get("Hash-Algorithm") == "SHA256" else hashes.SHA1()  # noqa: S303
    _verify(load_pem_public_key(keys[given["Key-Pair-Id"]].encode()), _decoded(given["Signature"]), policy, hashed)
    (statement,) = json.loads(policy)["Statement"]
    in_time = now < statement["Condition"]["DateLessThan"]["AWS:EpochTime"]
    if not in_time or not fnmatchcase(resource, statement["Resource"]):
        raise Refused(403, "AccessDenied")


def _decoded(text: str) -> bytes:
    """Base64 with '-', '_' and '~' for '+', '=' and '/'."""
    try:
        return base64.b64decode(text.translate(str.maketrans("-_~", "+=/")), validate=True)
    except ValueError:
        raise Refused(403, "MalformedSignature") from None


def _verify(key: object, signature: bytes, policy: bytes, hashed: hashes.HashAlgorithm) -> None:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, policy, padding.PKCS1v15(), hashed)
        else:
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(signature, policy, ec.ECDSA(hashed))
    except InvalidSignature:
        raise Refused(403, "AccessDenied") from None


@contextmanager
def running_cdn(aws: Aws, distribution_id: str) -> Iterator[Cdn]:
    """Serves on a port of all loopback addresses for the time of the block."""
    cdn = Cdn(aws, distribution_id)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = cdn.answer(self.command, self.path, headers, str(self.client_address[0]))
            self.send_response(response.status)
            for name, value in {"Content-Length": str(len(response.body)), **response.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cdn.origin = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield cdn
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
