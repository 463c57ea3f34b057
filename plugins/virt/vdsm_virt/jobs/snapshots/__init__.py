"""Snapshots of running machines, and the freezing of their file systems."""
