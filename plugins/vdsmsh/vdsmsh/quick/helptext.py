"""The commands on machines by name, and their help."""

from __future__ import annotations

from vdsmsh.quick.actions import ACTIONS

#: The other commands, with their lines of help.
OTHERS = {
    "list": "List the machines: status and its reason, CPU, memory, address, uptime.",
    "top": "Show the busiest machines, again and again.",
    "xml": "Print the libvirt document of a machine, without passwords.",
    "edit": "Edit the definition of a machine in your editor.",
    "rename": "Give a machine that is down another name.",
    "autostart": "Start machines once after each boot of the host, or not: on, off, or what is set.",
}
NAMES = tuple(sorted([*ACTIONS, *OTHERS]))


#: Verbs that have a better command, which is listed in their place.
BETTER = {
    "VM.setXML": "vm edit",
    "VM.setAutostart": "vm autostart",
    "Host.getVMList": "vm list",
    "Host.getVMFullList": "vm list",
    "Host.getAllVmStats": "vm list",
    "Host.dumpxmls": "vm xml",
}


def flags_of(name: str) -> list[str]:
    """Return the options of a command."""
    own = ACTIONS[name].flags() if name in ACTIONS else _flags(_FORMS[name])
    return sorted({*own, "--help", "--quiet", "--timeout", "--url"})


def about(name: str) -> str:
    """Return the line of help of a command."""
    return ACTIONS[name].about if name in ACTIONS else OTHERS[name]


_FORMS = {
    "list": "[-o wide] [--filter MEMBER=VALUE]... [--sort COLUMN] [--no-header]",
    "top": "[--sort COLUMN] [--filter MEMBER=VALUE]... [--interval SECONDS] [--count N]",
    "xml": "NAME [--running]",
    "edit": "NAME",
    "rename": "NAME NEW",
    "autostart": "NAME [on|off]",
}
_OPTIONS = {
    "-o": ("wide", "with ids, and as wide as the content"),
    "--filter": (
        "MEMBER=VALUE",
        "machines whose id, name, status, address or reason is the value; != for others",
    ),
    "--sort": ("COLUMN", "order by this column"),
    "--no-header": ("", "leave out the line with the names of the columns"),
    "--interval": ("SECONDS", "time between two looks (2)"),
    "--count": ("N", "number of looks; without it, until Ctrl-C"),
    "--running": ("", "the document of the present run, in place of that of the next start"),
    "--all": ("", "all machines of the host"),
    "--wait": ("", "wait until it is done; exit code 4 if it comes to nothing"),
    "--wait-timeout": ("SECONDS", "how long (300)"),
    "--url": ("URL", "the host; see `vdsmsh --help`"),
    "--timeout": ("SECONDS", "wait for an answer (60)"),
    "-q, --quiet": ("", "print errors only"),
}


def _flags(form: str) -> list[str]:
    words = form.replace("[", " ").replace("]", " ").split()
    return [flag for flag in _OPTIONS if flag in words]


def help_of(name: str) -> str:
    """Return the help of a command."""
    if name in ACTIONS:
        action = ACTIONS[name]
        flags = [flag for flag in action.flags() if flag not in action.options]
        own = {
            flag: ("VALUE" if kind in (int, str) else "", text)
            for flag, (_, kind, text) in action.options.items()
        }
        form = "NAME...|--all|--filter MEMBER=VALUE [options]"
        call = action.verb
    else:
        form, own, call = _FORMS[name], {}, ""
        flags = _flags(form)
    flags += [flag for flag in ("--url", "--timeout", "-q, --quiet") if flag not in own]
    shown = {**own, **{flag: _OPTIONS[flag] for flag in flags}}
    heads = {flag: f"{flag} {value}".rstrip() for flag, (value, _) in shown.items()}
    width = max(map(len, heads.values()))
    lines = [f"usage: vdsmsh vm {name} {form}", "", about(name), ""]
    lines += [f"  {heads[flag]:<{width}}  {text}" for flag, (_, text) in shown.items()]
    if call:
        lines += ["", f"Calls {call} for each machine."]
    if name == "list":
        lines += [
            "",
            "With -f json, value, csv or yaml, and -c COLUMN, it prints what Host.getVMFullList returns.",
        ]
    return "\n".join(lines)
