"""The names that no variable of a script may have."""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
#: Variables that are set for a script, or that the loader, the C library, shells and other interpreters read.
_RESERVED: Final = frozenset(
    {
        "PATH", "HOME", "TMPDIR", "SHELL", "USER", "LOGNAME", "PWD", "OLDPWD", "IFS", "ENV", "SHELLOPTS",
        "CDPATH", "GLOBIGNORE", "PROMPT_COMMAND", "POSIXLY_CORRECT", "FPATH", "ZDOTDIR", "KSH_ENV",
        "vmId", "FROM_SNAPSHOT", "LANG", "LANGUAGE", "TZ", "TZDIR", "TERM", "TERMINFO", "TERMCAP",
        "NLSPATH", "LOCPATH", "GETCONF_DIR", "GCONV_PATH", "HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN",
        "RESOLV_HOST_CONF", "NIS_PATH", "DATEMSK", "TMOUT", "HISTFILE", "EDITOR", "VISUAL", "PAGER",
        "CLASSPATH", "JAVA_HOME", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "INVOCATION_ID",
        "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CONFIGURATION_DIRECTORY",
        "PS1", "PS2", "PS3", "PS4", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
        "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy", "_",
    }
)  # fmt: skip
_PREFIXES: Final = (
    "_hook_", "LD_", "LC_", "DYLD_", "GLIBC_", "MALLOC_", "PYTHON", "PERL", "RUBY", "GEM_", "BUNDLE_",
    "NODE_", "NPM_", "LUA_", "TCL", "PHP", "BASH", "ZSH", "KSH", "JAVA_", "JDK_", "_JAVA", "OPENSSL_",
    "SSL_", "GNUTLS_", "GIT_", "SSH_", "SUDO_", "XDG_", "DBUS_", "LIBVIRT_", "VIRSH_", "QEMU_", "VDSM_",
    "GI_", "G_", "AWK", "GAWK", "R_", "GUILE_", "SYSTEMD_", "CURL_", "NSS_", "KRB5", "UBSAN_", "ASAN_",
    "MSAN_", "TSAN_", "LSAN_",
)  # fmt: skip


def name_fault(name: str) -> str:
    """Return why a name cannot be that of a variable of a script; empty if it can."""
    if not _NAME.match(name):
        return "a property that scripts get has letters, digits and _ in its name, and begins with no digit"
    if name in _RESERVED or name.startswith(_PREFIXES):
        return "scripts, their interpreters or the loader read this variable"
    return ""


def value_fault(value: str) -> str:
    """Return why a text cannot be the value of a variable; empty if it can."""
    if "\0" in value:
        return "it has a NUL character"
    return ""
