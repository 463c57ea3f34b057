"""Send one call over the bus: `python3 -m vdsm_qmf amqp://user@broker/HOST VM.pause '{"vmID": "..."}'`."""

from __future__ import annotations

import argparse
import json
import os
import sys

from vdsm_bridge.transport import CallOptions, Credentials, TransportError
from vdsm_qmf.transport import BusTransport


def main() -> int:
    """Call a verb and print its result as JSON.

    :returns: exit code: 0 if the call succeeded, 1 if not (the reason is on standard error)
    """
    parser = argparse.ArgumentParser(prog="python3 -m vdsm_qmf", description=__doc__)
    parser.add_argument("url", help="amqp://user@broker/HOST")
    parser.add_argument("verb", help="full name, such as VM.pause")
    parser.add_argument("arguments", nargs="?", default="{}", type=json.loads, help="JSON object")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--request-id", default="", metavar="ID")
    parser.add_argument("--flow-id", default="", metavar="ID")
    given = parser.parse_args()
    options = CallOptions(timeout=given.timeout, request_id=given.request_id, flow_id=given.flow_id)
    transport = BusTransport(given.url, Credentials(token=os.environ.get("VDSM_TOKEN", "")))
    try:
        result = transport.call(given.verb, given.arguments, options)
    except TransportError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the output of a command
        return 1
    finally:
        transport.close()
    json.dump(result, sys.stdout, indent=2)
    print()  # noqa: T201 - as above
    return 0


if __name__ == "__main__":
    sys.exit(main())
