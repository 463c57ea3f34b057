"""Commands on machines for people, without a framework: `vdsmsh vm list` costs little more than Python.

Nothing here imports more than json, os, socket and time; `tests/test_cost.py` asserts that. What needs more,
of a line or of a host, raises `NotQuick` before anything is changed; `vdsmsh.program` does it.
"""
