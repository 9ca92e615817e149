from __future__ import annotations

import hashlib
import io
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exasol_like_dss.lib.errors import InputError
from exasol_like_dss.lib.images.formats import DiskController, Firmware, ImageDescription, VmImageFormat
from exasol_like_dss.lib.images.formats.ova import tar_header
from exasol_like_dss.lib.images.formats.ovf import NAMESPACE, RASD, ovf_descriptor
from exasol_like_dss.lib.images.formats.protocol import GuestOs
from test.unit.images.conftest import Content, write

OVF = f"{{{NAMESPACE}}}"
CIM = f"{{{RASD}}}"
VMW = "{http://www.vmware.com/schema/ovf}"


def descriptor(description: ImageDescription, *, file_bytes: int = 5, populated_bytes: int = 7) -> bytes:
    return ovf_descriptor(description, disk_name="d.vmdk", disk_bytes=1 << 30, file_bytes=file_bytes,
                          populated_bytes=populated_bytes)  # fmt: skip


def items(envelope: ET.Element) -> dict[str, ET.Element]:
    return {str(item.findtext(f"{CIM}ResourceType")): item for item in envelope.iter(f"{OVF}Item")}


def test_descriptor() -> None:
    envelope = ET.fromstring(descriptor(ImageDescription("vm", version="1.0", cpus=3, memory_bytes=2 << 30)))
    [file] = envelope.iter(f"{OVF}File")
    assert (file.get(f"{OVF}href"), file.get(f"{OVF}size")) == ("d.vmdk", "5")
    [disk] = envelope.iter(f"{OVF}Disk")
    assert disk.get(f"{OVF}fileRef") == file.get(f"{OVF}id")
    assert disk.get(f"{OVF}capacity") == str(1 << 30)
    assert disk.get(f"{OVF}populatedSize") == "7"
    assert str(disk.get(f"{OVF}format")).endswith("#streamOptimized")
    parts = items(envelope)
    assert set(parts) == {"3", "4", "6", "10", "17"}
    assert parts["3"].findtext(f"{CIM}VirtualQuantity") == "3"
    assert parts["4"].findtext(f"{CIM}VirtualQuantity") == "2048"
    assert parts["6"].findtext(f"{CIM}ResourceSubType") == "lsilogic"
    assert parts["10"].findtext(f"{CIM}ResourceSubType") == "E1000"
    assert parts["17"].findtext(f"{CIM}HostResource") == f"ovf:/disk/{disk.get(f'{OVF}diskId')}"
    assert parts["17"].findtext(f"{CIM}Parent") == parts["6"].findtext(f"{CIM}InstanceID")
    names = {network.get(f"{OVF}name") for network in envelope.iter(f"{OVF}Network")}
    assert names == {parts["10"].findtext(f"{CIM}Connection")}
    for item in parts.values():
        tags = [child.tag for child in item]
        assert tags == sorted(tags), "CIM wants its elements in alphabetical order"
    assert "vmx-13" in [element.text for element in envelope.iter()]
    assert envelope.findtext(f".//{OVF}ProductSection/{OVF}Version") == "1.0"


@pytest.mark.parametrize(("distribution", "number"), [("debian", "96"), ("ubuntu", "94"), ("arch", "101")])
def test_guest_system(distribution: str, number: str) -> None:
    envelope = ET.fromstring(descriptor(ImageDescription("vm", distribution=distribution)))
    [system] = envelope.iter(f"{OVF}OperatingSystemSection")
    assert system.get(f"{OVF}id") == number
    assert system.get(f"{VMW}osType") == ImageDescription("vm", distribution=distribution).guest_os.vmware_type
    assert len({guest.cim_id for guest in GuestOs}) == len(GuestOs)


def test_firmware_and_controller() -> None:
    description = ImageDescription("vm", firmware=Firmware.EFI, controller=DiskController.AHCI)
    envelope = ET.fromstring(descriptor(description))
    assert items(envelope)["20"].findtext(f"{CIM}ResourceSubType") == "AHCI"
    [config] = envelope.iter(f"{VMW}Config")
    assert (config.get(f"{VMW}key"), config.get(f"{VMW}value")) == ("firmware", "efi")


xml_text = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=30)


@settings(deadline=None)
@given(name=xml_text.filter(bool), title=xml_text, size=st.integers(0, 1 << 50), populated=st.integers(0, 1 << 50))
def test_any_text_is_quoted_and_the_length_is_fixed(name: str, title: str, size: int, populated: int) -> None:
    description = ImageDescription(name, title=title, annotation=title)
    text = descriptor(description, file_bytes=size, populated_bytes=populated)
    assert len(text) == len(descriptor(description))
    assert ET.fromstring(text).findtext(f".//{OVF}VirtualSystem/{OVF}Name") == name


@settings(deadline=None)
@given(size=st.one_of(st.integers(0, 1 << 20), st.integers((8 << 30) - 5, (8 << 30) + 5), st.integers(0, 1 << 60)))
def test_tar_header_is_ustar_until_it_must_be_gnu(size: int) -> None:
    header = tar_header("name.vmdk", size, timestamp=1_700_000_000)
    assert len(header) == 512
    info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    assert (info.name, info.size, info.mode, info.mtime) == ("name.vmdk", size, 0o644, 1_700_000_000)
    assert info.isreg()
    assert header[257:265] == (b"ustar\x0000" if size < 8 << 30 else b"ustar  \0")


def test_name_too_long() -> None:
    with pytest.raises(InputError):
        tar_header("x" * 100, 1, timestamp=0)


def test_tar_in_order_with_manifest(image: Callable[[int, Content], Path], tmp_path: Path) -> None:
    source = image(5 << 20, {0: b"data" * 1000, 4 << 20: bytes(range(256)) * 100})
    [ova, vmdk] = write(source, VmImageFormat.OVA, VmImageFormat.VMDK, directory=tmp_path, stem="box-1.0")
    with tarfile.open(ova.path) as tar:
        assert not tar.pax_headers
        members = tar.getmembers()
        assert [member.name for member in members] == ["box-1.0.ovf", "box-1.0.mf", "box-1.0.vmdk"]
        content = {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    assert content["box-1.0.vmdk"] == vmdk.path.read_bytes()
    assert content["box-1.0.mf"].decode().splitlines() == [
        f"SHA256({name})= {hashlib.sha256(content[name]).hexdigest()}" for name in ("box-1.0.ovf", "box-1.0.vmdk")
    ]
    [file] = ET.parse(io.BytesIO(content["box-1.0.ovf"])).iter(f"{OVF}File")
    assert file.get(f"{OVF}size") == str(vmdk.size_bytes)
    assert ova.size_bytes % 10240 == 0
    assert ova.sha256 == hashlib.sha256(ova.path.read_bytes()).hexdigest()
