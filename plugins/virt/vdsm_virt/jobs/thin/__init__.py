"""Disks whose volumes grow on demand."""
