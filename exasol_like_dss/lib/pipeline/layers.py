"""The root file system of a local build, in layers: what is in the cache is unpacked, and only the rest is made.

The layers are the base (mmdebstrap), and each role up to the one that sets the password. What holds the password, the
asset-id and the version comes last, and is never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.cache import identity
from exasol_like_dss.lib.cache.answers import Answers
from exasol_like_dss.lib.cache.delta import State, apply_delta, look, write_delta
from exasol_like_dss.lib.cache.store import ARCHIVE, Layer, Store
from exasol_like_dss.lib.errors import DssError
from exasol_like_dss.lib.images.bases import Base, Mirror
from exasol_like_dss.lib.images.boot_files import BootFiles
from exasol_like_dss.lib.images.identity import reproducible
from exasol_like_dss.lib.images.rootfs import build_root_file_system
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.machines.chroot import BUILD_FILES, FIRST_IN_PATH, ChrootMachine
from exasol_like_dss.lib.machines.environment import pip_settings
from exasol_like_dss.lib.pipeline.access import Access
from exasol_like_dss.lib.preflight import GitUnreachable, check_script_languages
from exasol_like_dss.lib.progress import Progress, Step
from exasol_like_dss.lib.provisioning import playbooks
from exasol_like_dss.lib.provisioning.checkpoints import Checkpoints
from exasol_like_dss.lib.provisioning.editions import role_default
from exasol_like_dss.lib.waiting import awaited
from exasol_like_dss.lib.workspace import remove_tree

#: Roles that begin what is never kept: the password is a secret, and the seal belongs to one image.
_SEAL = "seal"
_NEVER_KEPT = ("password", _SEAL)
#: The role that all others need, and its variables that are lists of packages.
_BASE_ROLE = "base"
_PACKAGE_LISTS = ("base_packages", "base_machine_packages")
#: The name of the lowest layer.
BASE = "base root file system"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a root file system is made from. roles: in their order. variables: of the user.

    pinned: what stands for things outside that a role fetches, by the role's name (the commit of a tag).
    """

    base: Base
    edition: str
    roles: tuple[str, ...]
    variables: Mapping[str, Any]
    mirror: Mirror
    pinned: Mapping[str, str]
    tree: Path

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of the lowest layer: of the base, and of the role ``base``. One transaction is shorter than two.

        What the user adds to the role's lists is left to Ansible, which knows more than names (versions, patterns).
        """
        result = list(self.base.packages)
        for name in _PACKAGE_LISTS:
            known = role_default(self.tree, _BASE_ROLE, name)
            wanted = self.variables.get(name, known)
            result += [package for package in known if isinstance(wanted, list) and package in wanted]
        return tuple(dict.fromkeys(result))

    @property
    def kept_roles(self) -> tuple[str, ...]:
        """The roles that are layers."""
        ends = [self.roles.index(name) for name in _NEVER_KEPT if name in self.roles]
        return self.roles[: min(ends, default=len(self.roles))]


@dataclass(frozen=True)
class Wanted:
    """A layer that is to be there. name: ``BASE``, or of a role."""

    name: str
    identity: str


@contextmanager
def outside(
    tree: Path,
    roles: Sequence[str],
    extra_vars: Mapping[str, Any],
    *,
    ca_bundle: Path | None,
    answers: Answers,
    programs: Programs,
) -> Iterator[Callable[[], Mapping[str, str]]]:
    """Asks the git repository of the role ``script_languages`` for its tag while the block asks others.

    The result waits for the answer: what stands for the role's content. Raises ``InputError`` there.
    """
    role = "script_languages"
    if role not in roles:
        yield dict
        return
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        asked = pool.submit(check_script_languages, tree, extra_vars, ca_bundle=ca_bundle, programs=programs)

        def pinned() -> Mapping[str, str]:
            url, tag = (extra_vars.get(name, role_default(tree, role, name)) for name in
                        (f"{role}_repository", f"{role}_tag"))  # fmt: skip
            address = f"{url}#{tag}"
            try:
                answers.note(address, awaited(asked))
            except GitUnreachable:
                if not answers.last_of(address):
                    raise
            return {role: answers.kept_text(address)}

        yield pinned
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def archive_sources(recipe: Recipe, answers: Answers) -> list[str]:
    """The lines of sources.list(5) that the base comes from; empty when only mmdebstrap knows, and never told."""
    lines = recipe.mirror.sources(recipe.base)
    if not lines and (last := answers.kept_text(_sources_key(recipe.base))):
        return last.split("\n")
    return lines


def _sources_key(base: Base) -> str:
    return f"sources of {base.name}"


def release_addresses(sources: Sequence[str]) -> list[str]:
    """The Release files of one-line entries: ``deb [options] URI suite component …``."""
    words = [[word for word in line.split() if not word.startswith("[") and not word.endswith("]")] for line in sources]
    return [f"{line[1].rstrip('/')}/dists/{line[2]}/InRelease" for line in words if len(line) > 2]


def wanted_layers(
    recipe: Recipe, *, sources: Sequence[str], store: Store, answers: Answers, programs: Programs
) -> list[Wanted] | None:
    """The layers of a recipe, the lowest first. ``None`` when it is not known what the package archive holds."""
    releases = answers.releases(release_addresses(sources))
    if not sources or any(answer is None for answer in releases):
        return None
    base = store.identity(
        {
            "layer": BASE,
            "base": recipe.base.name,
            "packages": recipe.packages,
            "sources": list(sources),
            "releases": [answer.digest for answer in releases if answer],
            "mmdebstrap": sha256(Path(programs.find("mmdebstrap")).read_bytes()).hexdigest(),
            **identity.layer_code(),
        }
    )
    layers = [Wanted(BASE, base)]
    for role in recipe.kept_roles:
        described = {
            "layer": role,
            "below": layers[-1].identity,
            "files": identity.role_files(recipe.tree, recipe.edition, role),
            "variables": identity.role_variables(recipe.tree, recipe.edition, role, recipe.variables),
            "pinned": recipe.pinned.get(role),
            "package index": pip_settings(),
        }
        layers.append(Wanted(role, store.identity(described)))
    return layers


class LayeredRoot:
    """Makes ``root``. store: ``None`` without a cache. ``done``: the roles that came from the cache.

    archive_date: seconds since 1970, of the archive's newest Release file; 0 where it is not known.
    """

    def __init__(
        self,
        root: Path,
        *,
        recipe: Recipe,
        wanted: Sequence[Wanted] | None,
        store: Store | None,
        answers: Answers,
        archive_date: int,
        package_cache: Path | None,
        ca_bundle: Path | None,
        access: Access,
        progress: Progress,
        cancellation: Cancellation,
    ) -> None:
        self._root = root
        self._package_cache = package_cache
        self._recipe = recipe
        self._wanted = list(wanted or ())
        self._store = store
        self._answers = answers
        self._archive_date = archive_date
        self._ca_bundle = ca_bundle
        self._access = access
        self._progress = progress
        self._cancellation = cancellation
        self._state: State = {}
        self._below: Layer | None = None
        self._depth = 0
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._kept: list[Future[Layer]] = []
        self._step: Step | None = None
        self.done: list[str] = []

    def __enter__(self) -> LayeredRoot:
        return self

    def __exit__(self, *_: object) -> None:
        """Waits until all layers are on the disk, and makes room for them."""
        self._pool.shutdown(wait=True)
        if self._store:
            for future in self._kept:
                error = future.exception()
                if error:
                    self._progress.note(f"A layer can't be kept: {error}")
            self._store.evict()

    def make_base(self) -> None:
        """Unpacks what the cache has, or builds the base."""
        while held := self._held():
            try:
                self._unpack(held)
                return
            except DssError as error:
                self._progress.note(f"A damaged layer is removed from the cache, and made anew. {error.message}")
                remove_tree(self._root)
        build_root_file_system(
            self._root,
            base=self._recipe.base,
            mirror=self._recipe.mirror,
            ca_bundle=self._ca_bundle,
            packages=self._recipe.packages,
            boot_files=False,
            package_cache=self._package_cache,
            programs=self._access.programs,
            progress=self._progress,
            cancellation=self._cancellation,
        )
        self._step = self._progress.current()
        if self._store and not self._wanted:
            self._learn_sources()
        self._keep(BASE)

    def provision(self, *, work: Path, variables: Mapping[str, Any]) -> None:
        """Runs the roles that are not there yet. variables: those that the tool sets, with the password."""
        machine = ChrootMachine(
            root=self._root, work_directory=work, programs=self._access.programs, ca_bundle=self._ca_bundle
        )
        self._step = self._progress.current()
        last = [role for role in self._recipe.roles if role != _SEAL][-1]
        with machine.started(), ExitStack() as stack:
            boot_files = stack.enter_context(
                BootFiles(machine.enter_command(), first_in_path=FIRST_IN_PATH, timestamp=self._archive_date,
                          programs=self._access.programs, progress=self._progress,
                          cancelled=lambda: self._cancellation.cancelled)
            )  # fmt: skip

            def keep(role: str) -> None:
                # They belong to the first role's layer. Where nothing is kept, they have time until the seal; but not
                # where the image is to be the same each time: later roles may change what they are of.
                if self._store or reproducible() or role == last:
                    boot_files.finish()
                self._keep(role)

            keeping = stack.enter_context(Checkpoints(work, keep))
            try:
                playbooks.install(
                    machine,
                    edition=self._recipe.edition,
                    roles=self._recipe.roles,
                    variables={
                        **self._recipe.variables,
                        **variables,
                        "dss_roles_done": self.done,
                        # mmdebstrap has just fetched them, or the Release file says that they have not changed.
                        "dss_lists_known": True,
                        "dss_keep": keeping.command,
                    },
                    ansible=self._access.ansible,
                    work_directory=work,
                    progress=self._progress,
                    cancellation=self._cancellation,
                )
            except DssError:
                if keeping.failed:
                    raise keeping.failed from None
                raise
            boot_files.finish()

    def _held(self) -> list[tuple[Layer, IO[bytes]]]:
        """The layers of the longest chain that is there, their archives opened: so they can't be evicted any more."""
        held: list[tuple[Layer, IO[bytes]]] = []
        for wanted in self._wanted if self._store else ():
            assert self._store
            layer = self._store.layer(wanted.identity)
            try:
                if layer is None:
                    break
                held.append((layer, (layer.folder / ARCHIVE).open("rb")))
            except FileNotFoundError:
                break
        return held

    def _unpack(self, held: Sequence[tuple[Layer, IO[bytes]]]) -> None:
        assert self._store
        self._root.mkdir()
        with ExitStack() as stack:
            for _, archive in held:
                stack.enter_context(archive)
            for layer, archive in held:
                with self._progress.step(f"{layer.name} (from the cache)"):
                    try:
                        apply_delta(archive, self._root, programs=self._access.programs,
                                    cancellation=self._cancellation)  # fmt: skip
                    except DssError:
                        self._cancellation.check()
                        self._store.drop(layer)
                        raise
                self._store.touch(layer)
        self._below, self._depth = held[-1][0], len(held)
        self.done = [layer.name for layer, _ in held[1:]]
        if len(held) < len(self._wanted):
            self._state = look(self._root, passed_over=BUILD_FILES)

    def _keep(self, name: str) -> None:
        """Keeps what has changed since the layer below as the next one, if it is to be kept."""
        if not self._store or self._depth >= len(self._wanted):
            return
        found = self._wanted[self._depth]
        if found.name != name:
            raise DssError(f"The role {name} ran in the place of {found.name}.", hint="This is a defect of dss.")
        store, below = self._store, self._below
        state = look(self._root, passed_over=BUILD_FILES)
        stack = ExitStack()
        try:
            folder = stack.enter_context(store.writing())
            with self._progress.step("keep the layer", under=self._step):
                write_delta(self._root, folder / ARCHIVE, before=self._state, after=state,
                            programs=self._access.programs, cancellation=self._cancellation)  # fmt: skip
            described = Layer(found.identity, name, "", below.identity if below else None,
                              below.depth + 1 if below else 0, 0, 0.0, 0.0, folder)  # fmt: skip
        except OSError as error:
            stack.close()
            # Those above would have nothing to stand on.
            self._progress.note(f"The layer {name} can't be kept: {error.strerror}.")
            self._wanted = []
            return
        except BaseException:
            stack.close()
            raise
        self._state, self._below, self._depth = state, described, self._depth + 1

        def finish() -> Layer:
            # Synchronising takes as long as the disk does; the next role runs meanwhile.
            with stack:
                return store.keep(
                    folder, identity=found.identity, name=name, title=self._recipe.base.title, below=below
                )

        self._kept.append(self._pool.submit(finish))

    def _learn_sources(self) -> None:
        """mmdebstrap has chosen the archive: the next build can ask it whether something has changed."""
        listed = self._root / "etc/apt/sources.list"
        lines = [line for line in listed.read_text().splitlines() if line.startswith("deb ")] if listed.exists() else []
        if not lines:
            return
        self._answers.note(_sources_key(self._recipe.base), "\n".join(lines))
        assert self._store
        self._wanted = (
            wanted_layers(
                self._recipe, sources=lines, store=self._store, answers=self._answers, programs=self._access.programs
            )
            or []
        )
        self._answers.save()
