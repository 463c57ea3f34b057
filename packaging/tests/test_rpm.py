"""The RPM packages, as far as rpm on Debian goes: built for real, judged, and split as Debian's are."""

from __future__ import annotations

import re
import shutil

import deb
import pytest
from folder import Folder

pytestmark = pytest.mark.timeout(1800)

#: What Fedora's own macros say, as Debian has these places.
MACROS = {
    "_topdir": "/rpm",
    "__python3": "/usr/bin/python3",
    "python3_sitelib": "/usr/lib/python3/dist-packages",
    "_unitdir": "/usr/lib/systemd/system",
    "_sysusersdir": "/usr/lib/sysusers.d",
}
#: Where each system has its own: licences, changelogs, and what zsh looks for.
OWN = re.compile(
    r"/usr/share/(doc|licenses|lintian)/|/__pycache__|/zsh/|\.dist-info/(INSTALLER|RECORD|licenses)"
)

#: Folders that packages of rpm own; that a path is one, Debian's list tells by a slash.
FOLDERS = {"/etc/vdsm", "/etc/vdsm/conf.d"}


@pytest.fixture(scope="module")
def rpms(builder: Folder) -> Folder:
    """The folder, with the packages in /rpm/RPMS/noarch."""
    builder.install("rpm", "rpmlint")
    (builder.root / "rpm" / "SOURCES").mkdir(parents=True)
    for name in ("vdsm.spec", "rpmlint.toml"):
        text = (deb.source.ROOT / "packaging" / "rpm" / name).read_text()
        (builder.root / "rpm" / name).write_text(text)
    tarball = builder.root / "rpm" / "SOURCES" / f"vdsm-{deb.source.version()}.tar.gz"
    shutil.copy(builder.root / "build" / f"vdsm_{deb.source.version()}.orig.tar.gz", tarball)
    defined = [word for name, value in MACROS.items() for word in ("--define", f"{name} {value}")]
    # The names of the packages that are needed are Fedora's.
    layout = {"DEB_PYTHON_INSTALL_LAYOUT": "deb_system"}
    builder.run("rpmbuild", "-bb", "--nodeps", *defined, "/rpm/vdsm.spec", variables=layout)
    return builder


def test_the_split_is_that_of_debian(rpms: Folder) -> None:
    """The same packages, each with the same files."""
    of_rpm, of_deb = {}, {}
    for file in (rpms.root / "rpm" / "RPMS" / "noarch").glob("*.rpm"):
        name = file.name.rsplit("-", 2)[0]
        of_rpm[name] = files(rpms.run("rpm", "-qlp", f"/rpm/RPMS/noarch/{file.name}"))
    for file in (rpms.root / "build").glob("*.deb"):
        listed = rpms.run("dpkg-deb", "--contents", f"/build/{file.name}")
        paths = re.sub(r"^.* \.(/\S*)$", r"\1", listed, flags=re.MULTILINE)
        of_deb[file.name.partition("_")[0]] = files(paths)
    assert len(of_deb) == 9
    assert of_rpm == of_deb


def files(listed: str) -> set[str]:
    """The files of a list, without those that each system has its own way with, and without folders."""
    paths = {line for line in listed.splitlines() if not line.endswith("/") and not OWN.search(line)}
    return {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)} - FOLDERS


def test_configuration_is_not_written_over(rpms: Folder) -> None:
    """Every file in /etc is configuration."""
    for file in (rpms.root / "rpm" / "RPMS" / "noarch").glob("*.rpm"):
        path = f"/rpm/RPMS/noarch/{file.name}"
        etc = {line for line in rpms.run("rpm", "-qlp", path).splitlines() if line.endswith(".toml")}
        etc = {line for line in etc if line.startswith("/etc/")}
        assert etc == set(re.findall(r"/etc/\S+", rpms.run("rpm", "-qcp", path)))


def test_rpmlint(rpms: Folder) -> None:
    """No error but those that packaging/rpm/rpmlint.toml explains."""
    where = "cd /rpm && rpmlint --config rpmlint.toml RPMS/noarch/*.rpm 2>&1 || true"
    said = rpms.run("sh", "-c", where)
    assert "9 packages and 0 specfiles checked" in said
    assert re.findall(r"^.*: E: .*$", said, re.MULTILINE) == []
