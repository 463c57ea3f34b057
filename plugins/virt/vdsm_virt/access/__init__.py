"""Access to the consoles and the desktops of machines."""
