"""Requests for hundreds of blocks a second: botocore's signature, connections and errors, without what lies between.

For each request botocore validates the parameters, looks up the endpoint's rules, puts together who the user agent is,
and parses an answer of which two headers matter: a third of the processor's time of a call. Sources: AWS, "Signature
Version 4 for API requests"; botocore's "Extensibility guide" (events).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

USER_AGENT = "exasol-like-dss"


class LeanRequests:
    """client: of a service with the protocol rest-json. From any number of threads."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._service = client.meta.service_model.signing_name
        self._agent = client.meta.config.user_agent or USER_AGENT

    def get(self, operation: str, path: str) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers. path: with its query, encoded. Raises what botocore raises; sends once."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import ClientError
        from botocore.hooks import first_non_none_response
        from botocore.parsers import create_parser
        from botocore.response import StreamingBody

        meta = self._client.meta
        # What botocore itself signs and sends with: there is no public way to them (see ``Patience.send``).
        credentials, session = self._client._get_credentials(), self._client._endpoint.http_session
        request = AWSRequest("GET", meta.endpoint_url + path, {"User-Agent": self._agent}, stream_output=True)
        SigV4Auth(credentials.get_frozen_credentials(), self._service, meta.region_name).add_auth(request)
        prepared = request.prepare()
        name = f"{meta.service_model.service_id.hyphenize()}.{operation}"
        answer = first_non_none_response(meta.events.emit(f"before-send.{name}", request=prepared))
        answer = answer or session.send(prepared)
        data: bytes = StreamingBody(answer.raw, answer.headers.get("content-length")).read()
        meta.events.emit(
            f"response-received.{name}", response_dict=None, parsed_response=None, context={}, exception=None
        )
        if answer.status_code >= 300:
            found = {"headers": answer.headers, "status_code": answer.status_code, "body": data}
            raise ClientError(
                create_parser("rest-json").parse(found, meta.service_model.operation_model(operation).output_shape),
                operation,
            )
        return data, answer.headers
