"""Try each plugin alone with the core: `packaging/isolated.py [--all] [NAME ...]`.

Each gets an environment of its own: our two wheels, what they and their `test` extra say that they need,
and nothing else. What a plugin uses without saying so is not there. The tests are copied away from the
checkout, so that the wheels are what is tested. Every module of the package is imported, and the contract
suite is run; of a plugin that has none, all tests; of every plugin with `--all`. `make test` tests the rest.
As many plugins are tried at a time as there are processors; what is said of each is printed when it is over.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import dist
from source import ROOT

from tests.packaging.environment import Environment

FOLDER = ROOT / "build" / "isolated"
#: What the tests of every plugin stand on, besides the kit in vdsm_bridge.testing.
SHARED = (
    "conftest.py",
    "pyproject.toml",
    "tests/__init__.py",
    "tests/settled.py",
    "tests/soak.py",
    "tests/together.py",
)
#: Import every module of a package, those that are only imported when needed, too; a kit for tests is not.
IMPORT = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def main() -> int:
    """Try the plugins; the exit code is 1 if one failed."""
    names = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))
    parser = argparse.ArgumentParser(description="Try each plugin alone with the core.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of these plugins only")
    parser.add_argument("--all", action="store_true", help="run all tests of a plugin, not only its contract")
    given = parser.parse_args()
    wanted = given.names or names
    if unknown := sorted(set(wanted) - set(names)):
        parser.error(f"no such plugin: {', '.join(unknown)}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    wheels = {file.name.split("-")[0]: file for file in dist.build(FOLDER / "dist") if file.suffix == ".whl"}
    failed = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tried = pool.map(lambda name: _try(name, wheels, everything=given.all), wanted)
        for name, (well, said) in zip(wanted, tried, strict=True):
            print(said, end="", flush=True)
            if not well:
                failed.append(name)
    if failed:
        print(f"isolated: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _needed(package: str, wheels: dict[str, Path]) -> list[Path]:
    """The wheels of ours that a package needs, its own first; as it says itself."""
    needed, queue = {}, [package]
    while queue:
        name = queue.pop()
        if name in wheels and name not in needed:
            needed[name] = wheels[name]
            requires = metadata.distribution(name).requires or ()
            queue += [
                re.split(r"[^\w-]", text)[0].replace("-", "_") for text in requires if "extra" not in text
            ]
    return list(needed.values())


def _try(name: str, wheels: dict[str, Path], *, everything: bool) -> tuple[bool, str]:
    """Whether a plugin does well alone, and what was said of that."""
    began = time.monotonic()
    package = name if name == "vdsmsh" else f"vdsm_{name}"
    environment = Environment(FOLDER / name / "venv")
    environment.make()
    environment.install(*_needed(package, wheels))
    environment.borrow(environment.needs(f"{package}[test]"))
    work = FOLDER / name / "work"
    for file in SHARED:
        (work / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, work / file)
    shutil.copytree(ROOT / "plugins" / name / "tests", work / "tests" / name)
    said = [f"isolated: {name}, beside {', '.join(environment.contents())}\n"]
    with tempfile.TemporaryDirectory() as home:
        variables = {**environment.variables(), "HOME": home}
        contract = [] if everything else [*(work / "tests" / name).glob("test_*contract.py")]
        tests = contract or [work / "tests" / name]
        pytest = (environment.python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "-m", "not slow")
        commands = ([environment.python, "-c", IMPORT, package], [*pytest, *tests])
        well = all(_ends_well(command, work, variables, said) for command in commands)
    said.append(f"isolated: {name} took {time.monotonic() - began:.0f} s\n")
    return well, "".join(said)


def _ends_well(command: list[str | Path], folder: Path, variables: dict[str, str], said: list[str]) -> bool:
    """Run a command; whether its exit code is 0. What it says is added to `said`."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said.append(done.stdout)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
