"""`python -m vdsm_bridge.daemon`: the daemon, run from a checkout."""

import sys

from vdsm_bridge.daemon.main import main

if __name__ == "__main__":
    sys.exit(main())
