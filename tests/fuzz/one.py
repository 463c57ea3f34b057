"""Run the target that VDSM_FUZZ_TARGET names under atheris; the arguments are libFuzzer's."""

from __future__ import annotations

import os
import sys

import atheris

OURS = [
    "vdsm_core",
    "vdsm_bridge",
    "vdsm_http",
    "vdsm_rest",
    "vdsm_xmlrpc",
    "vdsm_virt",
    "vdsm_qmf",
    "vdsmsh",
]

# Coverage is counted in modules that are imported here.
with atheris.instrument_imports(include=OURS):
    from tests.fuzz.targets import target

    TARGET = target(os.environ["VDSM_FUZZ_TARGET"])

if __name__ == "__main__":
    atheris.Setup(sys.argv, TARGET)
    atheris.Fuzz()
