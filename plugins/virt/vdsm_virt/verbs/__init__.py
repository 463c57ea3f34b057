"""Verbs of `Host` and `VM`."""
