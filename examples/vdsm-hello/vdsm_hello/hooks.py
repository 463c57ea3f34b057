"""The hook of the example: every machine that starts carries a greeting in its SMBIOS strings."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from vdsm_core.hooks import hookimpl

plugin_api = 1


@hookimpl
def vdsm_before_vm_start(domain: Element, custom: dict[str, str]) -> None:
    """Add an OEM string if the machine has the custom property `greeting`."""
    if "greeting" not in custom:
        return
    sysinfo = SubElement(domain, "sysinfo", type="smbios")
    SubElement(SubElement(sysinfo, "oemStrings"), "entry").text = f"greeting:{custom['greeting']}"
    system = domain.find("os")
    if system is not None and system.find("smbios") is None:
        SubElement(system, "smbios", mode="sysinfo")
