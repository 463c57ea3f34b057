"""The verbs of `Host` and `VM`."""
