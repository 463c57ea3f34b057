"""Tools of libguestfs, which work on the disks of guests in a small machine of their own."""
