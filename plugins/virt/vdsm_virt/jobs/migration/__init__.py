"""Live migration: machines that leave this host."""
