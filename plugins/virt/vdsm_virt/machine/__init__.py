"""The machines of this host: what is known of them, how that follows libvirt, and what is done to them."""
