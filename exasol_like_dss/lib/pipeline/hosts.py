"""``install-dependencies`` and ``reset-password``: the same roles on any host that is reached over ssh."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exasol_like_dss import __version__
from exasol_like_dss.access.ansible import PlaybookResult
from exasol_like_dss.lib import preflight
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.machines.remote import RemoteMachine
from exasol_like_dss.lib.pipeline.access import Access
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.provisioning import editions, playbooks


@dataclass(frozen=True, kw_only=True)
class RemoteHost:
    """A running host that playbooks are to run on, reached over ssh with a key."""

    host_name: str
    port: int
    user: str
    private_key: Path
    ca_bundle: Path | None = None


def install_dependencies(
    host: RemoteHost,
    *,
    edition: str,
    without: Sequence[str],
    extra_vars: Mapping[str, Any],
    access: Access,
    progress: Progress,
    cancellation: Cancellation,
) -> PlaybookResult:
    """Runs an edition's roles on a host, but for those that end an image (password, seal).

    Raises ``InputError`` when the host can't be used, and ``ProvisioningFailed``.
    """
    known = editions.edition_roles(access.ansible.tree, edition)
    roles = [role for role in editions.choose_roles(known, without=without) if role not in ("password", "seal")]
    with _remote(host, access=access, progress=progress) as (machine, work), progress.step("provisioning"):
        return playbooks.install(
            machine,
            edition=edition,
            roles=roles,
            variables={**extra_vars, "dss_version": __version__},
            ansible=access.ansible,
            work_directory=work,
            progress=progress,
            cancellation=cancellation,
        )


def reset_password(
    host: RemoteHost, *, default_password: str, access: Access, progress: Progress, cancellation: Cancellation
) -> PlaybookResult:
    """Sets the default password of a host, expired, and takes every user's ssh keys away: the host's last ssh login
    with a key. Raises as ``install_dependencies``."""
    with _remote(host, access=access, progress=progress) as (machine, work), progress.step("resetting the password"):
        return playbooks.reset_password(
            machine,
            default_password=default_password,
            ansible=access.ansible,
            work_directory=work,
            progress=progress,
            cancellation=cancellation,
        )


@contextmanager
def _remote(host: RemoteHost, *, access: Access, progress: Progress) -> Iterator[tuple[RemoteMachine, Path]]:
    preflight.check_programs(("ssh", "ssh-keygen", "setpriv"), programs=access.programs)
    preflight.check_readable_file(host.private_key, what="private key")
    if host.ca_bundle:
        preflight.check_readable_file(host.ca_bundle, what="CA bundle")
    with tempfile.TemporaryDirectory(prefix="dss-") as folder:
        machine = RemoteMachine(
            host=host.host_name,
            port=host.port,
            user=host.user,
            private_key=host.private_key,
            ca_bundle=host.ca_bundle,
            work_directory=Path(folder),
            programs=access.programs,
            progress=progress,
        )
        with machine.started():
            yield machine, Path(folder)
