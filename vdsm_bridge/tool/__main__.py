"""`python -m vdsm_bridge.tool`: the command `vdsm-tool`, run from a checkout."""

import sys

from vdsm_bridge.tool.main import main

if __name__ == "__main__":
    sys.exit(main())
