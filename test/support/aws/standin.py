"""The test's side of the stand-in: starts it, and talks to it."""

from __future__ import annotations

import base64
import functools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from test.support.aws.callbacks import Callbacks, serving_callbacks
from test.support.aws.rules import Call, Fault, Image, Imaged, Machine, Settings, Started, call_of, to_json
from test.support.git_server import free_port

ACCOUNT = "123456789012"
REGION = "eu-central-1"
#: The key of the tests' own clients: their calls pass by journal, faults and permissions.
TEST_KEY = "AKIATHETESTSOWNKEY00"
PRODUCT_KEY = "AKIATHEPRODUCTSKEY00"
_CLIENT_FAULTS = Path(__file__).parent / "client_faults"
_REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class ClientFault:
    """See ``client_faults/sitecustomize.py``. do: kill-before, kill-after, reset."""

    do: str
    action: str = "*"
    nth: int = 1


@functools.cache
def _session() -> Any:
    """One for all: it keeps the services' models, which take long to read."""
    import boto3

    return boto3.session.Session()


class Aws:
    """A running stand-in. endpoint: its URL; folder: its files, gone with it."""

    def __init__(self, endpoint: str, callbacks: Callbacks, log: Path) -> None:
        self.endpoint = endpoint
        self.folder = log.parent
        self._callbacks = callbacks
        self._log = log
        self._clients: dict[tuple[str, str, bool], Any] = {}

    def environment(
        self,
        *,
        region: str | None = REGION,
        access_key: str = PRODUCT_KEY,
        client_faults: Sequence[ClientFault] = (),
        client_journal: Path | None = None,
        pythonpath: str = "",
    ) -> dict[str, str]:
        """Of a child process that is to talk to the stand-in and to nothing else. region: None sets none."""
        environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": "no-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent/aws-config",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/aws-credentials",
            "NO_PROXY": "127.0.0.0/8,localhost",
            "no_proxy": "127.0.0.0/8,localhost",
        }
        if region:
            environment |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        if client_faults or client_journal:
            before = pythonpath or os.environ.get("PYTHONPATH", "")
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_CLIENT_FAULTS), before]))
            environment["DSS_TEST_CLIENT_FAULTS"] = json.dumps([asdict(fault) for fault in client_faults])
        if client_journal:
            environment["DSS_TEST_CLIENT_JOURNAL"] = str(client_journal)
        return environment

    def profile(self, folder: Path, name: str = "dss-test", *, expires: datetime | None = None) -> dict[str, str]:
        """An environment as ``environment``'s, but with a profile in a configuration file instead of keys.

        expires: when its session ends (aware); what the stand-in refuses is another matter, see ``expired_keys``.
        """
        credentials = {"Version": 1, "AccessKeyId": PRODUCT_KEY, "SecretAccessKey": "no-secret", "SessionToken": "none"}
        if expires:
            credentials["Expiration"] = expires.isoformat()
        (folder / "credentials.json").write_text(json.dumps(credentials))
        (folder / "config").write_text(
            f"[profile {name}]\nregion = {REGION}\ncredential_process = cat {folder}/credentials.json\n"
        )
        environment = self.environment(region=None)
        del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        return {**environment, "AWS_CONFIG_FILE": str(folder / "config"), "AWS_PROFILE": name}

    def client(self, service: str, *, region: str = REGION, journal: bool = False, **more: Any) -> Any:
        """A boto3 client. journal: as the product's calls, with faults and permissions; else for a look or a plant."""
        known = (service, region, journal)
        if not more and known in self._clients:
            return self._clients[known]
        from botocore.config import Config

        keep = not more
        more.setdefault("config", Config(retries={"total_max_attempts": 1}, proxies={}))
        made = _session().client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=PRODUCT_KEY if journal else TEST_KEY,
            aws_secret_access_key="no-secret",  # noqa: S106 - it is none
            region_name=region,
            **more,
        )
        if keep:
            self._clients[known] = made
        return made

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    @property
    def calls(self) -> list[Call]:
        """The journal since the start, or the last ``reset`` or ``clear``."""
        return [call_of(each) for each in self._control("calls")]

    def actions(self) -> list[str]:
        """The journal's names: "ec2:CreateImage"."""
        return [call.name for call in self.calls]

    def permissions(self, *, stacks: str) -> set[str]:
        """What was needed for the calls in the journal, and, since the last ``reset``, for stacks with this prefix."""
        for_stacks = {permission for name, permission in self._control("for-stacks") if name.startswith(stacks)}
        return {call.permission for call in self.calls} | for_stacks

    def inject(self, *faults: Fault) -> None:
        """Replaces the faults; none removes them. Counting begins now."""
        self._callbacks.hooks = [fault.hook for fault in faults]
        self._control("faults", [to_json(fault) for fault in faults])

    def change(self, **settings: Any) -> None:
        """Changes some of ``Settings``."""
        unknown = set(settings) - set(asdict(Settings()))
        assert not unknown, unknown
        self._control("settings", settings)

    def plant(self, image: Image, *, region: str = REGION) -> str:
        """Makes an image as if it had always been there; returns its id."""
        return str(self._control("plant", {"region": region, "image": to_json(image)}))

    def plant_many(
        self, count: int, *, tags: Mapping[str, str], bucket: str = "", prefix: str = "", region: str = REGION
    ) -> None:
        """As many AMIs, each with its snapshot, and, if ``bucket`` is given, as many objects below ``prefix``."""
        what = {"count": count, "tags": dict(tags), "bucket": bucket, "prefix": prefix, "region": region}
        self._control("plant-many", what)

    def edge(self) -> list[dict[str, Any]]:
        """What stacks made of CloudFront and AWS WAF: see ``Thing`` in ``server.cloudformation.kinds_edge``."""
        return list(self._control("edge"))

    def console(self, instance_id: str, text: str) -> None:
        """Adds to what an instance has printed."""
        self._control("console", {"instance": instance_id, "text": text})

    def clear(self) -> None:
        """Empties the journal and removes the faults."""
        self.inject()
        self._control("clear", {})

    def reset(self) -> None:
        """Everything as it was at the start: assets, settings, journal, faults."""
        self._callbacks.hooks = []
        self._control("reset", {})

    @property
    def log(self) -> str:
        """What the stand-in's process printed: tracebacks."""
        return self._log.read_text(errors="replace")

    def _control(self, what: str, data: Any = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.endpoint}/_control/{what}",
            data=None if data is None else json.dumps(data).encode(),
            headers={"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{what}: {error.read().decode()}\n{self.log}") from None


@contextmanager
def running_aws(
    *,
    on_instance: Callable[[Started], Machine] | None = None,
    on_termination: Callable[[str], None] | None = None,
    on_image: Callable[[Imaged], Path | None] | None = None,
    **settings: Any,
) -> Iterator[Aws]:
    """Starts a stand-in for the time of the block. settings: those of ``Settings``, kept by ``reset``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="aws-standin-")))
        callbacks = stack.enter_context(serving_callbacks(on_instance, on_termination, on_image))
        port = free_port()
        endpoint = f"http://127.0.0.1:{port}"
        options = {
            "port": port,
            "callbacks": callbacks.url,
            "machines": on_instance is not None,
            "imaging": on_image is not None,
            "folder": str(folder),
            "settings": asdict(Settings(**settings)),
        }
        log = folder / "log"
        with log.open("wb") as out:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
            process = subprocess.Popen(
                [sys.executable, "-m", "test.support.aws.server", base64.b64encode(json.dumps(options).encode())],
                cwd=_REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**environment, "MOTO_PORT": str(port)},
            )
        try:
            _wait_until_it_listens(process, port, log)
            aws = Aws(endpoint, callbacks, log)
            stack.callback(aws.close)
            yield aws
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text(errors="replace")
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the stand-in did not start: " + log.read_text(errors="replace"))
