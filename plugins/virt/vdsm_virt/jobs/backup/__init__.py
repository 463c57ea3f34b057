"""Backups of running machines, full and incremental, and the checkpoints that they are counted from."""
