"""Runs of ``dss`` for a sweep: each in a process of its own, which is forked from one that has everything imported.

    with launcher(folder) as runs:
        ended = runs.run(["show-aws-assets"], environment=aws.environment(), faults=[ClientFault(do="kill-after")])

Starting Python and reading botocore's models takes a second, a fork some milliseconds. The launcher has no threads, no
sessions and no connections, so that a child is as good as new; SIGKILL is a real one. What is shortened in the
launcher, and nowhere else, is in ``_shorten``: waiting of which no option of ``dss`` says how long.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from test.support.aws import ClientFault

_REPOSITORY = Path(__file__).parents[2]
_CLIENT_FAULTS = Path(__file__).parent / "aws/client_faults/sitecustomize.py"
#: A run that takes longer hangs.
_DEADLINE_S = 90
#: The longest pause between two looks.
_PAUSE_S = 0.01
_SERVICES = ("sts", "ec2", "cloudformation", "s3", "logs", "ssm", "iam", "service-quotas", "ebs")


@dataclass(frozen=True)
class Ended:
    """How a run ended. signal: 0 when it ended by itself."""

    code: int
    signal: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        return self.signal == signal.SIGKILL


class Launcher:
    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def run(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        faults: Sequence[ClientFault] = (),
        prepare: str = "",
        with_: Mapping[str, Any] | None = None,
    ) -> Ended:
        """prepare: ``module:function``, called in the child, with the keywords ``with_``, before ``dss`` begins."""
        order = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "faults": [asdict(fault) for fault in faults],
            "folder": str(self._folder),
            "prepare": prepare,
            "with": dict(with_ or {}),
        }
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the launcher ended with {self._process.wait()}"
        status = int(answer)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        out, err = ((self._folder / name).read_text(errors="replace") for name in ("out", "err"))
        assert number in (0, signal.SIGKILL), f"{' '.join(arguments)} hangs (signal {number}):\n{err}"
        return Ended(os.waitstatus_to_exitcode(status), number, out, err)


@contextmanager
def launcher(folder: Path) -> Iterator[Launcher]:
    """folder: where the runs are at home; everything that they leave on the disk is below it."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DSS_"))}
    with (folder / "launcher").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "test.support.forked_runs"],
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**environment, "TMPDIR": str(folder), "HOME": str(folder), "PYTHONPATH": str(_REPOSITORY)},
            text=True,
        )
    try:
        yield Launcher(process, folder)
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.wait(_DEADLINE_S)
        process.stdout.close()


# --- in the launcher's process ---


def _serve() -> None:
    faults = _client_faults()
    _shorten()
    _warm()
    gc.freeze()  # a collection in a child would copy all of this process's pages
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            _become(order, faults)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


def _become(order: dict[str, Any], faults: Any) -> NoReturn:
    """A run of ``dss``."""
    code = 1
    try:
        gc.disable()
        signal.alarm(_DEADLINE_S)
        folder = Path(order["folder"])
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.environ.update(order["environment"])
        tempfile.tempdir = None
        faults._FAULTS[:] = order["faults"]
        if order["prepare"]:
            module, _, function = order["prepare"].partition(":")
            getattr(importlib.import_module(module), function)(**order["with"])
        from exasol_like_dss.cli.main import main

        main(order["arguments"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _client_faults() -> Any:
    """The module that kills; as in a child of its own, but its rules come later."""
    spec = importlib.util.spec_from_file_location("client_faults", _CLIENT_FAULTS)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from botocore.handlers import BUILTIN_HANDLERS

    BUILTIN_HANDLERS.extend([("before-send", module._before_send), ("response-received", module._response_received)])
    return module


def _shorten() -> None:
    from botocore.retries import standard

    from exasol_like_dss.lib import waiting

    sleep = time.sleep
    assert waiting.wait_until.__kwdefaults__
    waiting.wait_until.__kwdefaults__["sleep"] = lambda seconds: sleep(min(seconds, _PAUSE_S))
    patched: Any = standard.ExponentialBackoff
    patched._MAX_BACKOFF = 0.01
    of_hashlib: Any = hashlib
    of_hashlib.scrypt = cache(hashlib.scrypt)  # slow on purpose; a pure function


def _warm() -> None:
    """Imports, and reads botocore's models: a session's own memory of them dies with it, this one is inherited."""
    from botocore import loaders
    from botocore.loaders import JSONFileLoader

    JSONFileLoader.load_file = _remembered(JSONFileLoader.load_file)  # type: ignore[method-assign]
    shared = loaders.create_loader()
    loaders.create_loader = lambda *_: shared
    import boto3

    session: Any = boto3.session.Session()
    for service in _SERVICES:
        session.client(
            service,
            region_name="eu-central-1",
            endpoint_url="http://127.0.0.1:9",
            aws_access_key_id="none",
            aws_secret_access_key="none",  # noqa: S106 - it is none
        )
    for name in ("encodings.idna", "yaml"):
        importlib.import_module(name)
    for name in ("cli.group", "cli.ec2_release", "cli.assets_view", "lib.pipeline.access", "lib.pipeline.ec2",
                 "lib.pipeline.ec2_source", "lib.verification.instance", "lib.verification.verify", "lib.workspace",
                 "access.ansible", "cli.import_ami", "lib.pipeline.import_ami",
                 "lib.pipeline.ec2_direct", "access.web", "access.aws.session"):  # fmt: skip
        importlib.import_module(f"exasol_like_dss.{name}")
    for name in ("ebs", "ec2", "ec2_build", "s3", "s3_build", "cloudformation", "iam", "logs", "parameters", "quotas"):
        importlib.import_module(f"exasol_like_dss.access.aws.{name}")


def _remembered(read: Callable[..., Any]) -> Callable[..., Any]:
    from botocore.loaders import JSONFileLoader

    reader = JSONFileLoader()

    @cache
    def load(path: str) -> Any:
        return read(reader, path)

    return lambda _self, path: load(path)


if __name__ == "__main__":
    _serve()
