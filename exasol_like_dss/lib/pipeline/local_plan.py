"""What a local build is asked for, what is decided before anything is touched, and what comes of it.

When nothing has changed since an earlier build, this is all that runs: it starts no program but git, asks everybody at
the same time, and imports nothing that only a build needs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from exasol_like_dss.lib import preflight
from exasol_like_dss.lib.assets.asset_id import AssetId
from exasol_like_dss.lib.cache.answers import Answers
from exasol_like_dss.lib.cache.apt_sources import remembered_host_archive
from exasol_like_dss.lib.cache.finished import Place, find_finished, find_place
from exasol_like_dss.lib.cache.identity import image_tools
from exasol_like_dss.lib.cache.store import DEFAULT_SIZE_BYTES, Store
from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.bases import Base, Mirror, choose_mirror
from exasol_like_dss.lib.images.formats import VmImageFormat
from exasol_like_dss.lib.images.identity import identity_time
from exasol_like_dss.lib.images.rootfs import check_keyring
from exasol_like_dss.lib.pipeline.access import Access
from exasol_like_dss.lib.pipeline.layers import (
    Recipe,
    Wanted,
    archive_sources,
    outside,
    release_addresses,
    wanted_layers,
)
from exasol_like_dss.lib.progress import Progress
from exasol_like_dss.lib.provisioning import editions
from exasol_like_dss.lib.publishing.manifest import Manifest

#: Programs of a local build, checked before it begins. Those of the verification follow where it is wanted.
BUILD_PROGRAMS = ("mmdebstrap", "setpriv", "unshare", "nsenter", "chroot", "mke2fs", "mkfs.vfat", "mmd", "mcopy",
                  "grub-mkimage", "apt-get")  # fmt: skip
VERIFICATION_PROGRAMS = ("qemu-system-x86_64", "qemu-img", "debugfs", "ssh", "ssh-keyscan")
#: What a full sandbox takes: its root file system, and the used part of the disk. Measured, with a third on top.
_ROOT_BYTES = 4 * preflight.GIB
_DISK_BYTES = 4 * preflight.GIB
WORK_BYTES = _ROOT_BYTES + _DISK_BYTES
_COMPRESSED_BYTES = preflight.GIB
_BUILD_MEMORY_BYTES = preflight.GIB
VERIFICATION_MEMORY_MIB = 2048
#: Stands for a generated password in the identity of an image; a list, so that no password is equal to it.
_GENERATED = ["generated"]


@dataclass(frozen=True, kw_only=True)
class LocalBuild:
    """What ``create-vm --builder local`` is asked for.

    default_password is a secret: it is in no output. password_generated: nobody has chosen it, it is new each time.
    on_disk: not to work in memory, even when there is enough. keep_rootfs: whether the root file system is kept as a
    tar, for a container image. sign_key: see ``signing.signer``. cache_directory: ``None`` builds all of it anew.
    cache_bytes: how much is kept there. package_cache: the cache whose packages are used, also where its layers
    are not. verify_again: also what has passed before.
    """

    asset_id: AssetId
    base: Base
    edition: str
    formats: tuple[VmImageFormat, ...]
    output_directory: Path
    disk_bytes: int
    default_password: str = field(repr=False)
    password_generated: bool = False
    without: tuple[str, ...] = ()
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    mirror: str | None = None
    ca_bundle: Path | None = None
    verify: bool = True
    force: bool = False
    work_directory: Path = Path("/var/tmp/exasol-like-dss")
    on_disk: bool = False
    keep_rootfs: bool = False
    sign_key: str | None = None
    cache_directory: Path | None = None
    package_cache: Path | None = None
    cache_bytes: int = DEFAULT_SIZE_BYTES
    verify_again: bool = False


@dataclass(frozen=True)
class CreatedVm:
    """What a build left in its output directory. found: nothing was built, since all of it was there."""

    directory: Path
    manifest: Manifest
    found: bool = False

    def path(self, image_format: str) -> Path:
        """The image file of a format. Raises ``KeyError``."""
        return self.directory / {found.format: found.name for found in self.manifest.artifacts}[image_format]


@dataclass(frozen=True)
class LocalPlan:
    """What has been decided before anything was touched. layers: ``None`` when they can't be known.

    image: the identity of what will be built, ``None`` without layers. finished: an earlier build of the very same
    that is still there, in this output directory or in another one.
    """

    build: LocalBuild
    recipe: Recipe
    in_memory: bool
    store: Store | None
    answers: Answers
    layers: list[Wanted] | None
    image: str | None
    archive_date: int
    finished: Place | None = None

    @property
    def roles(self) -> tuple[str, ...]:
        return self.recipe.roles

    @property
    def mirror(self) -> Mirror:
        return self.recipe.mirror


def plan_local(build: LocalBuild, *, access: Access, progress: Progress) -> LocalPlan:
    """Checks everything that can be checked beforehand; nothing is touched but the cache. Raises ``InputError``."""
    tree = access.ansible.tree
    roles = editions.choose_roles(editions.edition_roles(tree, build.edition), without=build.without)
    _check(build, roles, access=access, progress=progress)
    store = Store(build.cache_directory, limit_bytes=build.cache_bytes) if build.cache_directory else None
    answers = Answers(store.directory / "answers.json" if store else None, web=access.web, now=time.time())
    with outside(tree, roles, build.extra_vars, ca_bundle=build.ca_bundle, answers=answers,
                 programs=access.programs) as pinned:  # fmt: skip
        # Those of last time, while apt is asked, and before it is known which they are now.
        asked_before = f"Release files of {build.base.name} from {build.mirror or 'apt'}"
        answers.ask_ahead(answers.kept_text(asked_before).split())
        mirror = choose_mirror(
            build.base,
            mirror=build.mirror,
            host=lambda: remembered_host_archive(access.programs, answers=answers),
            reachable=answers.exists,
        )
        recipe = Recipe(base=build.base, edition=build.edition, roles=tuple(roles), variables=build.extra_vars,
                        mirror=mirror, pinned={}, tree=tree)  # fmt: skip
        sources = archive_sources(recipe, answers)
        addresses = release_addresses(sources)
        releases = answers.releases(addresses)
        answers.note(asked_before, " ".join(addresses))
        recipe = replace(recipe, pinned=pinned())
    layers = image = None
    if store:
        layers = wanted_layers(recipe, sources=sources, store=store, answers=answers, programs=access.programs)
        image = _image_identity(build, recipe, layers[-1], store, access=access) if layers else None
        for address, asked in answers.unreachable.items():
            progress.note(f"{address} does not answer: what it said at {asked:%Y-%m-%d %H:%M} UTC counts.")
    answers.save()
    finished = _finished(build, store, image) if store and image else None
    plan = LocalPlan(build, recipe, False, store, answers, layers, image, finished=finished,
                     archive_date=max((answer.date for answer in releases if answer), default=0))  # fmt: skip
    if finished:
        return plan
    known = earlier = False
    if store and image:
        known = not build.password_generated and find_place(store, image, build.output_directory) is not None
        earlier = find_finished(store, image, build.output_directory, verified=False) is not None
    preflight.check_output_directory(build.output_directory, build.asset_id, force=build.force or known)
    if earlier and build.password_generated:
        progress.note(
            "Its default password is generated anew, so the image is built again, from its layers. "
            "One whose password is chosen would be found: --default-password file:PATH or env:NAME."
        )
    return replace(plan, in_memory=_check_room(build))


def _check(build: LocalBuild, roles: list[str], *, access: Access, progress: Progress) -> None:
    """What needs nobody's answer."""
    if build.verify and "password" not in roles:
        raise InputError(
            "An image without the role 'password' can't be verified: nobody can log in.", hint="Add --no-verify."
        )
    preflight.check_root_rights()
    preflight.check_programs(BUILD_PROGRAMS, programs=access.programs)
    if VmImageFormat.QCOW2 in build.formats:
        preflight.check_programs(["qemu-img"], programs=access.programs)
    if build.verify:
        preflight.check_programs(VERIFICATION_PROGRAMS, programs=access.programs)
    if build.ca_bundle:
        preflight.check_readable_file(build.ca_bundle, what="CA bundle")
    held = preflight.held_asset_id(build.output_directory) is not None
    preflight.check_output_directory(build.output_directory, build.asset_id, force=True)
    if held and not build.force and not build.cache_directory:
        preflight.check_output_directory(build.output_directory, build.asset_id, force=False)
    check_keyring(build.base)
    if build.sign_key:
        from exasol_like_dss.lib.publishing.signing import check_signing

        check_signing(build.sign_key, programs=access.programs, progress=progress)


def _check_room(build: LocalBuild) -> bool:
    """Whether the build can work in memory. Raises ``InputError`` when there is too little memory or disk."""
    written = sum(
        _DISK_BYTES if image_format in (VmImageFormat.RAW, VmImageFormat.VHD) else _COMPRESSED_BYTES
        for image_format in build.formats
    ) + (_COMPRESSED_BYTES if build.keep_rootfs else 0)
    # Two machines are booted at a time.
    memory_bytes = (VERIFICATION_MEMORY_MIB << 21 if build.verify else 0) + _BUILD_MEMORY_BYTES
    available_bytes = preflight.available_memory()
    preflight.check_memory(memory_bytes, available_bytes=available_bytes)
    in_memory = not build.on_disk and available_bytes >= memory_bytes + WORK_BYTES
    needs = [(build.output_directory, written, "--output-directory")]
    if not in_memory:
        needs.append((build.work_directory, WORK_BYTES, "--work-directory"))
    preflight.check_space(needs)
    return in_memory


def _image_identity(build: LocalBuild, recipe: Recipe, top: Wanted, store: Store, *, access: Access) -> str:
    """Of all that makes the image what it is; the password is part of it, and can't be found from it."""
    return store.identity(
        {
            "layer": top.identity,
            "asset-id": build.asset_id.value,
            "roles": recipe.roles,
            "variables": build.extra_vars,
            "password": _GENERATED if build.password_generated else build.default_password,
            "formats": [image_format.value for image_format in build.formats],
            "disk": build.disk_bytes,
            "root file system": build.keep_rootfs,
            "time": identity_time(),
            "tools": image_tools(recipe.tree, programs=access.programs),
        }
    )


def _finished(build: LocalBuild, store: Store, image: str) -> Place | None:
    """An earlier build of the very same.

    One whose password was generated, too, is the same where it is: who made it was told its password. Elsewhere, or
    with ``--force``, another one is wanted, with a password that is told now.
    """
    if build.verify_again:
        return None
    found = find_finished(store, image, build.output_directory, verified=build.verify)
    if found and build.password_generated and (build.force or found.directory != build.output_directory):
        return None
    return found
