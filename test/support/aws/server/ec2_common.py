"""What the EC2 handlers share: moto's store, paging, filters, tags, client tokens."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from moto.core.exceptions import ServiceException
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.core import TaggedEC2Resource

from test.support.aws.server.protocol import ApiError
from test.support.aws.server.world import ACCOUNT, Request


def backend_of(region: str) -> EC2Backend:
    """moto's store of a region."""
    backend: EC2Backend = ec2_backends[ACCOUNT][region]
    return backend


def _fast_tags(self: Any) -> list[dict[str, str]]:
    """moto's own looks through the tags of all assets for those of one: with 10,000 assets that takes minutes."""
    tags = self.ec2_backend.tags.get(self.id, {})
    return [{"resource_id": self.id, "key": key, "value": value} for key, value in tags.items()]


setattr(TaggedEC2Resource, "get_tags", _fast_tags)  # noqa: B010 - mypy forbids to assign to a method


@contextmanager
def motos_errors() -> Iterator[None]:
    """What moto's stores raise, as our errors."""
    try:
        yield
    except ServiceException as error:
        raise ApiError(str(getattr(error, "code", "")) or "InternalError", str(error.message)) from None
    except NotImplementedError as error:
        raise ApiError("InvalidParameterValue", f"The filter is invalid: {error}") from None


def filters_of(request: Request) -> dict[str, list[str]]:
    return {each["Name"]: each.get("Values", []) for each in request.get("Filters", [])}


def tags_of(request: Request, resource_type: str) -> dict[str, str]:
    """Those that the call that creates gives to one type of resource."""
    found: dict[str, str] = {}
    for specification in request.get("TagSpecifications", []):
        if specification.get("ResourceType") == resource_type:
            found |= {tag["Key"]: tag.get("Value", "") for tag in specification.get("Tags", [])}
    for key in found:
        if key.lower().startswith("aws:"):
            words = f"Value ( {key} ) for parameter key is invalid. Tag keys starting with 'aws:' are reserved"
            raise ApiError("InvalidParameterValue", words)
    if len(found) > 50:
        raise ApiError("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
    return found


def check_tag_types(request: Request, *allowed: str) -> None:
    for specification in request.get("TagSpecifications", []):
        kind = specification.get("ResourceType", "")
        if kind not in allowed:
            raise ApiError(
                "InvalidParameterValue", f"'{kind}' is not a valid taggable resource type for this operation."
            )


def tag_set(region: str, resource_id: str) -> list[dict[str, str]]:
    tags = backend_of(region).tags.get(resource_id, {})
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def time_text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


class _Pages:
    """What is left of listings that were asked for by the page."""

    def __init__(self) -> None:
        self.left: dict[str, Sequence[Any]] = {}


def paged(
    request: Request,
    name: str,
    find: Callable[[], Sequence[Any]],
    convert: Callable[[Any], dict[str, Any]],
    *,
    ids: str = "",
    most: int = 1000,
    least: int = 5,
) -> dict[str, Any]:
    """A page of a listing, as AWS pages: MaxResults with ids is refused, a token serves once the whole is cut.

    A listing is found once, at its first page; a token stands for the rest of it.
    """
    pages = request.world.part(_Pages)
    size = request.get("MaxResults")
    token = request.get("NextToken")
    if size is not None and ids and request.get(ids):
        words = f"The parameter {ids} cannot be used with the parameter MaxResults"
        raise ApiError("InvalidParameterCombination", words)
    if size is not None and int(size) < least:
        words = f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value greater than {least}."
        raise ApiError("InvalidParameterValue", words)
    if token is not None:
        if token not in pages.left:
            raise ApiError("InvalidNextToken", "The token is not valid.")
        found = pages.left[token]
    else:
        with motos_errors():
            found = find()
    count = len(found) if size is None and token is None else min(int(size or most), most)
    result: dict[str, Any] = {name: [convert(each) for each in found[:count]]}
    if len(found) > count:
        key = base64.b64encode(f"{name}-{len(pages.left)}".encode()).decode()
        pages.left[key] = found[count:]
        result["NextToken"] = key
    return result


class Newborn:
    """For how many more looks by id an asset is not there."""

    def __init__(self) -> None:
        self._left: dict[str, int] = {}

    def note(self, request: Request, asset_id: str) -> None:
        self._left[asset_id] = request.world.settings.unseen_looks

    def look(self, asset_id: str, code: str) -> None:
        if self._left.get(asset_id, 0) > 0:
            self._left[asset_id] -= 1
            raise ApiError(code, f"The ID '{asset_id}' does not exist")


class ClientTokens:
    """Which calls were made with which token (AWS: "Ensuring idempotency in Amazon EC2 API requests")."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], tuple[str, Any]] = {}

    def before(self, request: Request) -> Any | None:
        """What the first call with this token made. Other parameters with the same token are refused."""
        known = self._known.get(self._key(request))
        if known is None:
            return None
        if known[0] != self._print(request):
            words = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
            raise ApiError("IdempotentParameterMismatch", words)
        return known[1]

    def remember(self, request: Request, made: Any) -> None:
        if request.get("ClientToken"):
            self._known[self._key(request)] = (self._print(request), made)

    @staticmethod
    def _key(request: Request) -> tuple[str, str, str]:
        return request.region, request.action, str(request.get("ClientToken", ""))

    @staticmethod
    def _print(request: Request) -> str:
        return json.dumps(request.parameters, sort_keys=True, default=str)
