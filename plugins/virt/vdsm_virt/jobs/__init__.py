"""Work that libvirt carries on by itself."""
