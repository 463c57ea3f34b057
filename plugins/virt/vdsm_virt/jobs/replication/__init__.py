"""Mirrors of disks of running machines, with which a disk moves to other storage."""
