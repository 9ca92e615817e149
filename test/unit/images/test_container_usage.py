"""Container images are built here, entry by entry, and read back."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from exasol_like_dss.access.docker import Docker, EngineRefused, ImageDetails
from exasol_like_dss.access.programs import Programs
from exasol_like_dss.lib.errors import DssError, ExitCode, InputError, Interrupted
from exasol_like_dss.lib.images.container_layers import Entry, Kind, merge
from exasol_like_dss.lib.images.usage import Usage
from exasol_like_dss.lib.interrupts import Cancellation
from exasol_like_dss.lib.pipeline.image_usage import docker_image_usage, image_usage
from exasol_like_dss.lib.progress import Progress

LIST = "/.\n/bin\n/bin/tool\n"


@dataclass(frozen=True)
class Item:
    """An entry of a layer: a file with so many bytes or a text, or something else by its type."""

    name: str
    content: int | str = 0
    kind: bytes = tarfile.REGTYPE
    target: str = ""


def folder(name: str) -> Item:
    return Item(name, kind=tarfile.DIRTYPE)


def tar_of(items: Sequence[Item]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for item in items:
            info = tarfile.TarInfo(item.name)
            data = item.content.encode() if isinstance(item.content, str) else b"x" * item.content
            info.type, info.linkname, info.size = item.kind, item.target, len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


BASE = (
    folder("usr"),
    folder("usr/bin"),
    Item("bin", kind=tarfile.SYMTYPE, target="usr/bin"),
    Item("usr/bin/tool", 5),
    Item("usr/bin/tool2", kind=tarfile.LNKTYPE, target="usr/bin/tool"),
    Item("usr/bin/old", 70),
    Item("var/cache/apt/a", 100),
    Item("var/cache/apt/deeper/b", 200),
    Item("var/lib/dpkg/info/tool.list", LIST),
    Item("dev/null", kind=tarfile.CHRTYPE),
)
PACKAGES = (
    # After what it takes away by the same name: the order within a layer does not matter.
    Item("var/cache/apt/c", 30),
    Item("var/cache/apt/.wh..wh..opq"),
    Item("usr/bin/.wh.old"),
    Item("bin/.wh.nothing"),
    Item(".wh..wh.plnk", kind=tarfile.DIRTYPE),
    Item("bin/through-the-link", 7),
    Item("usr/local/lib/python3.12/site-packages/numpy/core.so", 40),
    Item("usr/local/lib/python3.12/site-packages/numpy/tests/x.py", 4),
)
APPLICATION = (Item("./usr/bin/through-the-link", 9), Item("usr/bin/tool3", kind=tarfile.LNKTYPE, target="bin/tool"))
LAYERS = (BASE, PACKAGES, APPLICATION)
LIST_BYTES = len(LIST)
SEEN = 5 + LIST_BYTES + 30 + 40 + 4 + 9


@dataclass
class Archive:
    """The members of an archive, by name."""

    members: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.members[f"blobs/sha256/{digest}"] = data
        return f"sha256:{digest}"

    def tar(self, *, first: str = "", mode: str = "w") -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as tar:  # type: ignore[call-overload]
            for name in sorted({**self.members, **self.links}, key=lambda name: (name != first, name)):
                info = tarfile.TarInfo(name)
                if name in self.links:
                    info.type, info.linkname = tarfile.SYMTYPE, self.links[name]
                    tar.addfile(info)
                else:
                    info.size = len(self.members[name])
                    tar.addfile(info, io.BytesIO(self.members[name]))
        return stream.getvalue()


def config_of(tars: Sequence[bytes], architecture: str = "amd64") -> bytes:
    history: list[dict[str, Any]] = [
        {"created_by": "/bin/sh -c nothing", "comment": "Imported from -"},
        {"created_by": "ENV A=1", "comment": "buildkit.dockerfile.v0", "empty_layer": True},
        {"created_by": "RUN apt-get install", "comment": "buildkit.dockerfile.v0"},
        {"created_by": "COPY x"},
    ]
    digests = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]
    rootfs = {"type": "layers", "diff_ids": digests}
    return json.dumps({"architecture": architecture, "os": "linux", "rootfs": rootfs, "history": history}).encode()


def old_docker_archive(layers: Sequence[Sequence[Item]] = LAYERS) -> Archive:
    """As engines before 25.0 wrote it: a folder for each layer, a link where one is there already."""
    tars = [tar_of(layer) for layer in layers]
    archive = Archive()
    names = []
    for number, tar in enumerate(tars):
        name = f"{number:064x}"
        archive.members |= {f"{name}/VERSION": b"1.0", f"{name}/json": b"{}"}
        if tar in tars[:number]:
            archive.links[f"{name}/layer.tar"] = f"../{tars.index(tar):064x}/layer.tar"
        else:
            archive.members[f"{name}/layer.tar"] = tar
        names.append(f"{name}/layer.tar")
    config = f"{'c' * 64}.json"
    archive.members[config] = config_of(tars)
    archive.members["manifest.json"] = json.dumps(
        [{"Config": config, "RepoTags": ["dss/x:1"], "Layers": names}]
    ).encode()
    archive.members["repositories"] = b"{}"
    return archive


def layout(
    layers: Sequence[Sequence[Item]] = LAYERS, *, architecture: str = "amd64", into: Archive | None = None
) -> Archive:
    """An OCI image layout with compressed layers. into: a layout that gets this image, too."""
    archive = into or Archive({"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'})
    tars = [tar_of(layer) for layer in layers]
    manifest = {
        "schemaVersion": 2,
        "config": {"digest": archive.blob(config_of(tars, architecture))},
        "layers": [{"digest": archive.blob(gzip.compress(tar, mtime=0))} for tar in tars],
    }
    index = json.loads(archive.members.get("index.json", b'{"manifests": []}'))
    name = {"org.opencontainers.image.ref.name": architecture}
    index["manifests"].append({"digest": archive.blob(json.dumps(manifest).encode()), "annotations": name})
    archive.members["index.json"] = json.dumps(index).encode()
    return archive


def measured(data: bytes | Path, tmp_path: Path) -> Usage:
    path = data if isinstance(data, Path) else tmp_path / "image.tar"
    if isinstance(data, bytes):
        path.write_bytes(data)
    return image_usage(
        path, work_directory=tmp_path / "work", programs=Programs(), progress=Progress(), cancellation=Cancellation()
    )


def check(usage: Usage) -> None:
    assert usage.size_bytes == SEEN == sum(part.size_bytes for part in usage.parts)
    assert {one.name: one.size_bytes for one in usage.packages} == {
        "Debian: tool": 5,
        "Python: numpy (/usr/local)": 44,
    }
    assert {one.name: one.size_bytes for one in usage.avoidable} == {
        "package lists and archives of apt": 30,
        "tests of Python packages": 4,
    }
    assert [(one.size_bytes, one.hidden_bytes, one.made_by) for one in usage.layers] == [
        (5 + 70 + 300 + LIST_BYTES, 370, "Imported from -"),
        (30 + 7 + 44, 7, "RUN apt-get install"),
        (9, 0, "COPY x"),
    ]
    assert [one.digest for one in usage.layers] == [
        f"sha256:{hashlib.sha256(tar_of(layer)).hexdigest()}" for layer in LAYERS
    ]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_what_docker_saves(tmp_path: Path, mode: str) -> None:
    check(measured(old_docker_archive().tar(mode=mode), tmp_path))


@pytest.mark.parametrize("first", ["", "oci-layout", "index.json", "blobs"])
def test_an_oci_layout_in_any_order(tmp_path: Path, first: str) -> None:
    check(measured(layout().tar(first=first), tmp_path))
    assert not (tmp_path / "work").exists()


def test_an_oci_layout_in_a_folder_and_a_tar_of_that(tmp_path: Path) -> None:
    for name, data in layout().members.items():
        (tmp_path / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "layout" / name).write_bytes(data)
    check(measured(tmp_path / "layout", tmp_path))
    with tarfile.open(tmp_path / "layout.tar", "w") as tar:
        tar.add(tmp_path / "layout", ".")
    check(measured(tmp_path / "layout.tar", tmp_path))


def test_both_descriptions_in_one_archive(tmp_path: Path) -> None:
    archive = layout()
    manifest = json.loads(archive.members[blob(json.loads(archive.members["index.json"])["manifests"][0])])
    archive.members["manifest.json"] = json.dumps(
        [{"Config": blob(manifest["config"]), "RepoTags": None, "Layers": [blob(one) for one in manifest["layers"]]}]
    ).encode()
    check(measured(archive.tar(), tmp_path))


def blob(descriptor: dict[str, str]) -> str:
    return "blobs/" + descriptor["digest"].replace(":", "/")


def test_the_same_layer_twice_is_a_link_and_adds_nothing(tmp_path: Path) -> None:
    usage = measured(old_docker_archive([BASE, BASE]).tar(), tmp_path)
    assert [one.size_bytes for one in usage.layers] == [375 + LIST_BYTES] * 2
    assert usage.layers[0].hidden_bytes == usage.layers[0].size_bytes == usage.size_bytes
    assert usage.layers[1].hidden_bytes == 0


def test_of_several_platforms_ours_is_taken_and_attestations_are_none(tmp_path: Path) -> None:
    archive = layout([BASE], architecture="arm64", into=layout())
    attested = layout([(Item("x", 1),)], architecture="unknown", into=archive)
    nested = json.loads(attested.members.pop("index.json"))
    missing = {"digest": "sha256:" + "9" * 64, "platform": {"architecture": "s390x"}}
    nested["manifests"].insert(0, missing)
    index = {"manifests": [{"digest": attested.blob(json.dumps(nested).encode())}]}
    attested.members["index.json"] = json.dumps(index).encode()
    check(measured(attested.tar(), tmp_path))


def test_several_images_are_not_guessed_between(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds 2 images: amd64, amd64\.$") as caught:
        measured(layout([BASE], into=layout()).tar(), tmp_path)
    assert caught.value.exit_code == ExitCode.WRONG_INPUT


def with_zstd(archive: Archive) -> None:
    old = next(name for name, data in archive.members.items() if data.startswith(b"\x1f\x8b"))
    archive.members[old] = b"\x28\xb5\x2f\xfd" + bytes(100)


def without_a_layer(archive: Archive) -> None:
    archive.members.pop(next(name for name, data in archive.members.items() if data.startswith(b"\x1f\x8b")))


def with_a_cut_layer(archive: Archive) -> None:
    name = next(name for name, data in archive.members.items() if data.startswith(b"\x1f\x8b"))
    archive.members[name] = archive.members[name][:-30]


def with_another_layer(archive: Archive) -> None:
    name = next(name for name, data in archive.members.items() if data.startswith(b"\x1f\x8b"))
    archive.members[name] = gzip.compress(tar_of((*BASE, Item("more", 1))))


def without_an_index(archive: Archive) -> None:
    del archive.members["index.json"]


def with_half_an_index(archive: Archive) -> None:
    archive.members["index.json"] = archive.members["index.json"][:20]


def with_another_kind_of_index(archive: Archive) -> None:
    archive.members["index.json"] = b'["text"]'


def without_images(archive: Archive) -> None:
    archive.members["index.json"] = b'{"manifests": []}'


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (with_zstd, "Layer 1 of /.*image.tar is compressed with zstd"),
        (without_a_layer, "Layer 1 of .* is missing"),
        (with_a_cut_layer, "Layer 1 of .* is damaged"),
        (with_another_layer, "Layer 1 of .* is damaged: it has another SHA-256"),
        (without_an_index, "is damaged, or is not whole"),
        (with_half_an_index, "is damaged, or is not whole"),
        (with_another_kind_of_index, "is damaged, or is not whole"),
        (without_images, "is damaged, or is not whole"),
    ],
)
def test_damaged_archives_are_told(tmp_path: Path, damage: Any, message: str) -> None:
    archive = layout()
    damage(archive)
    with pytest.raises(InputError, match=message) as caught:
        measured(archive.tar(), tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("compressed", [False, True])
def test_cut_archives_are_told_wherever_they_are_cut(tmp_path: Path, compressed: bool) -> None:
    archive = old_docker_archive([(*BASE, Item("usr/random", Random(1).randbytes(3000).hex()))])
    whole = archive.tar()
    # The rest is not needed.
    end = whole.index(archive.members["manifest.json"]) + len(archive.members["manifest.json"])
    data = gzip.compress(whole[:end]) if compressed else whole[:end]
    for size in range(600, len(data) - 20, 397):
        with pytest.raises(InputError):
            measured(data[:size], tmp_path)


def test_a_hard_link_to_nothing_is_damage(tmp_path: Path) -> None:
    layer = (Item("usr/a", kind=tarfile.LNKTYPE, target="usr/b"),)
    with pytest.raises(InputError, match="hard link usr/a to usr/b, which is not there"):
        measured(layout([layer]).tar(), tmp_path)


def files(*layers: Sequence[Entry]) -> dict[str, int]:
    return {file.path: file.size_bytes for file in merge(layers).files}


def test_what_replaces_what() -> None:
    lower = [Entry("a/b/c", Kind.FILE, 1), Entry("d", Kind.FILE, 2), Entry("e/f", Kind.FILE, 4)]
    assert files(lower, [Entry("a/b", Kind.FILE, 8)]) == {"/a/b": 8, "/d": 2, "/e/f": 4}
    assert files(lower, [Entry("d", Kind.FOLDER), Entry("e", Kind.FOLDER)]) == {"/a/b/c": 1, "/e/f": 4}
    assert files(lower, [Entry("a", Kind.SYMBOLIC_LINK, target="e")]) == {"/d": 2, "/e/f": 4}
    assert files(lower, [Entry("d", Kind.OTHER)]) == {"/a/b/c": 1, "/e/f": 4}
    assert files(lower, [Entry(".wh..wh..opq", Kind.FILE), Entry("g", Kind.FILE, 16)]) == {"/g": 16}
    assert files(lower, [Entry("a/.wh.b", Kind.FILE), Entry("a/b/n", Kind.FILE, 32)]) == {
        "/a/b/n": 32, "/d": 2, "/e/f": 4,
    }  # fmt: skip
    assert files([Entry("../../x", Kind.FILE, 3), Entry("./", Kind.FOLDER)]) == {"/x": 3}


def test_links_stay_inside_and_end() -> None:
    lower = [Entry("usr/lib/x", Kind.FILE, 1), Entry("lib", Kind.SYMBOLIC_LINK, target="/../usr/./lib")]
    assert files(lower, [Entry("lib/y", Kind.FILE, 2)]) == {"/usr/lib/x": 1, "/usr/lib/y": 2}
    assert files(lower, [Entry("lib/.wh.x", Kind.FILE)]) == {}
    round_and_round = [Entry("a", Kind.SYMBOLIC_LINK, target="b"), Entry("b", Kind.SYMBOLIC_LINK, target="a")]
    with pytest.raises(InputError, match="lead in a circle"):
        files(round_and_round, [Entry("a/x", Kind.FILE)])


class FakeEngine:
    """An engine with one image, of which it sends small pieces."""

    def __init__(self, data: bytes, *, missing: bool = False) -> None:
        self.data = data
        self.missing = missing
        self.asked: list[str] = []

    def check(self) -> str:
        if self.missing:
            raise InputError("The Docker engine can't be reached.")
        return "1"

    def image(self, reference: str) -> ImageDetails | None:
        if " " in reference:
            raise EngineRefused("Inspecting", "invalid reference format", status=400)
        if reference != "dss/x:1":
            return None
        return ImageDetails("sha256:1", ("dss/x:1",), (), len(self.data), "amd64", ())

    def save(self, image: str) -> Iterator[bytes]:
        self.asked.append(image)
        for at in range(0, len(self.data), 700):
            yield self.data[at : at + 700]


def of_engine(engine: FakeEngine, reference: str = "dss/x:1", cancellation: Cancellation | None = None) -> Usage:
    return docker_image_usage(
        reference,
        docker=cast(Docker, engine),
        progress=Progress(),
        cancellation=cancellation or Cancellation(),
    )


def test_an_image_of_the_engine() -> None:
    engine = FakeEngine(old_docker_archive().tar())
    check(of_engine(engine))
    assert engine.asked == ["sha256:1"], "by its id: the name may move"


@pytest.mark.parametrize(
    ("engine", "reference", "error", "message"),
    [
        (FakeEngine(b"", missing=True), "dss/x:1", InputError, "can't be reached"),
        (FakeEngine(b""), "dss/x:2", InputError, "has no image 'dss/x:2'"),
        (FakeEngine(b""), "", InputError, "names no image"),
        (FakeEngine(b""), "a b", InputError, "'a b' is no image: invalid reference"),
        (FakeEngine(b""), "dss/x:1", DssError, "did not send all"),
        (FakeEngine(old_docker_archive().tar()[:9000]), "dss/x:1", DssError, "did not send all"),
    ],
)
def test_what_the_engine_can_not_give(engine: FakeEngine, reference: str, error: type[DssError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        of_engine(engine, reference)
    assert (caught.value.exit_code == ExitCode.WRONG_INPUT) == (error is InputError)


def test_a_signal_ends_the_reading() -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Interrupted):
        of_engine(FakeEngine(old_docker_archive().tar()), cancellation=cancellation)
