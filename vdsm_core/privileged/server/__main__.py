"""`python -m vdsm_core.privileged.server`: see `main`."""

import sys

from vdsm_core.privileged.server.main import main

if __name__ == "__main__":
    sys.exit(main())
