"""The kernel, the operating system, libvirt and QEMU as they are installed."""
