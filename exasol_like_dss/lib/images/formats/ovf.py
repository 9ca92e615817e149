"""The OVF descriptor: a virtual machine with one disk and one network card, as VirtualBox and VMware both read it.

Source: DMTF DSP0243 1.1.0; the CIM classes CIM_ResourceAllocationSettingData and CIM_VirtualSystemSettingData (elements
in alphabetical order); VMware's extension ``vmw:``. ``vmx-13`` is ESXi 6.5 and Workstation 14; VirtualBox takes any
family name, while vSphere refuses VirtualBox's own. Items have a Caption (VirtualBox asks for it) and an ElementName.
"""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from exasol_like_dss.lib.images.formats.protocol import DiskController, ImageDescription

NAMESPACE = "http://schemas.dmtf.org/ovf/envelope/1"
RASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
VSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
STREAM_OPTIMIZED = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
HARDWARE = "vmx-13"
#: VirtualBox and VMware Workstation both map this name to their NAT network, where nobody else reaches the machine.
NETWORK = "NAT"

# CIM resource types.
_CPU, _MEMORY, _SCSI, _NIC, _DISK, _SATA = 3, 4, 6, 10, 17, 20
#: So many digits have the numbers that are known only at the end: the descriptor's length must not depend on them.
_DIGITS = 20


def ovf_descriptor(
    description: ImageDescription, *, disk_name: str, disk_bytes: int, file_bytes: int, populated_bytes: int
) -> bytes:
    """The descriptor's text. Its length depends on neither ``file_bytes`` nor ``populated_bytes``.

    disk_bytes: capacity. file_bytes: size of the VMDK file. populated_bytes: what of the capacity is in use.
    """
    items = [
        _item(1, _CPU, f"{description.cpus} virtual CPU(s)", units="hertz * 10^6", quantity=description.cpus),
        _item(2, _MEMORY, f"{description.memory_bytes >> 20} MB of memory", units="byte * 2^20",
              quantity=description.memory_bytes >> 20),
        _item(3, _SCSI if description.controller is DiskController.LSILOGIC else _SATA, "Disk controller", address=0,
              subtype=description.controller.value),
        _item(4, _DISK, "Hard disk 1", on_parent=0, resource="ovf:/disk/vmdisk1", parent=3),
        _item(5, _NIC, "Ethernet adapter", on_parent=1, automatic=True, connection=NETWORK, subtype="E1000"),
    ]  # fmt: skip
    product = "".join(
        f"      <{tag}>{escape(text)}</{tag}>\n"
        for tag, text in (
            ("Product", description.title),
            ("Vendor", description.vendor),
            ("Version", description.version),
            ("ProductUrl", description.product_url),
        )
        if text
    )
    annotation = (
        f"""    <AnnotationSection>
      <Info>A human-readable annotation</Info>
      <Annotation>{escape(description.annotation)}</Annotation>
    </AnnotationSection>
"""
        if description.annotation
        else ""
    )
    guest = description.guest_os
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope ovf:version="1.0" xml:lang="en-US" xmlns="{NAMESPACE}" xmlns:ovf="{NAMESPACE}" xmlns:rasd="{RASD}" \
xmlns:vssd="{VSSD}" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:href={quoteattr(disk_name)} ovf:id="file1" {_fixed("ovf:size", file_bytes)}/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{disk_bytes}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1" \
ovf:format="{STREAM_OPTIMIZED}" {_fixed("ovf:populatedSize", populated_bytes)}/>
  </DiskSection>
  <NetworkSection>
    <Info>Logical networks</Info>
    <Network ovf:name="{NETWORK}">
      <Description>Network of this virtual machine</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id={quoteattr(description.name)}>
    <Info>A virtual machine</Info>
    <Name>{escape(description.name)}</Name>
    <OperatingSystemSection ovf:id="{guest.cim_id}" vmw:osType="{guest.vmware_type}">
      <Info>The guest operating system</Info>
      <Description>{escape(guest.title)}</Description>
    </OperatingSystemSection>
    <ProductSection>
      <Info>The software in this virtual machine</Info>
{product}    </ProductSection>
{annotation}    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{escape(description.name)}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{HARDWARE}</vssd:VirtualSystemType>
      </System>
{"".join(items)}      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{description.firmware.value}"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
""".encode()


def _item(
    instance: int,
    kind: int,
    title: str,
    *,
    address: int | None = None,
    on_parent: int | None = None,
    units: str | None = None,
    automatic: bool | None = None,
    connection: str | None = None,
    resource: str | None = None,
    parent: int | None = None,
    subtype: str | None = None,
    quantity: int | None = None,
) -> str:
    elements = (
        ("Address", address),
        ("AddressOnParent", on_parent),
        ("AllocationUnits", units),
        ("AutomaticAllocation", None if automatic is None else str(automatic).lower()),
        ("Caption", title),
        ("Connection", connection),
        ("Description", title),
        ("ElementName", title),
        ("HostResource", resource),
        ("InstanceID", instance),
        ("Parent", parent),
        ("ResourceSubType", subtype),
        ("ResourceType", kind),
        ("VirtualQuantity", quantity),
    )
    lines = "".join(
        f"        <rasd:{tag}>{escape(str(value))}</rasd:{tag}>\n" for tag, value in elements if value is not None
    )
    return f"      <Item>\n{lines}      </Item>\n"


def _fixed(attribute: str, number: int) -> str:
    """An attribute, and spaces behind it instead of leading zeros."""
    return f'{attribute}="{number}"' + " " * (_DIGITS - len(str(number)))
