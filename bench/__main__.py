"""Run the benchmarks: a table on standard output, JSON beside it."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

import msgspec

from bench.measure import Row, machine, table

BENCHES = (
    "bridge_call",
    "xmlrpc_marshal",
    "throughput",
    "tls",
    "inventory",
    "stuck",
    "frozen",
    "events",
    "bus",
    "cluster",
    "startup",
    "attacks",
    "command_line",
    "privileged",
)


def main() -> int:
    """Run all benchmarks, or those named."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("bench", nargs="*", choices=[*BENCHES, []], help="which ones; all by default")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="folder of the JSON")
    options = parser.parse_args()
    about = machine()
    rows: list[Row] = []
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    for name in options.bench or BENCHES:
        print(f"... {name}", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"bench.{name}").run()
    print(table(rows))
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / time.strftime("%Y%m%dT%H%M%S.json")
    document = {
        "machine": about,
        "rows": [{**msgspec.structs.asdict(row), "ratio": row.ratio} for row in rows],
    }
    file.write_bytes(msgspec.json.format(msgspec.json.encode(document)))
    print(f"written to {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
