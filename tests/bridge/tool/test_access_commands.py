"""`vdsm-tool token` and `vdsm-tool can-i`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from vdsm_bridge.call.access import Access, Credentials, tokens
from vdsm_bridge.call.context import Identity
from vdsm_bridge.tool.main import main
from vdsm_core import config as configuration

VM = "AAAAAAAA-0000-4000-8000-000000000001"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a folder for the state and nothing else."""
    file = tmp_path / "vdsm.toml"
    file.write_text(f'[daemon]\nstate_dir = "{tmp_path / "state"}"\n')
    return file


@pytest.fixture
def tool(config: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    """The tool with that configuration."""
    return Tool(config, capsys)


class Tool:
    """Calls `vdsm-tool`, and reads what it prints."""

    def __init__(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = config
        self._capsys = capsys
        self.error = ""

    def __call__(self, *words: str, code: int = 0) -> list[str]:
        """The lines of standard output of a command that ends with this code."""
        assert main([*words, "--config", str(self.config)]) == code
        captured = self._capsys.readouterr()
        self.error = captured.err
        return captured.out.splitlines()

    def add(self, table: str) -> None:
        """Add to the configuration."""
        self.config.write_text(f"{self.config.read_text()}{table}\n")

    def identify(self, secret: str) -> Identity:
        """Who a daemon takes the bearer of a token for."""
        loaded = configuration.load(self.config)
        access = Access(loaded.access, tokens.path_of(loaded))
        access.load()
        return access.identify(Credentials(token=secret))


def test_a_created_token_is_let_in(tool: Tool) -> None:
    """Without any line of configuration; standard output has the secret alone, once."""
    (secret,) = tool("token", "create", "joe", "operator")
    assert tool.identify(secret) == Identity("joe", "operator", "token")
    assert "the secret is shown only now" in tool.error
    (other,) = tool("token", "create", "joe", "operator")
    assert other != secret
    assert len(secret) >= 43


def test_a_token_with_limits(tool: Tool) -> None:
    """Verbs, ids (in whichever case) and tags; `list` shows them, `revoke` ends them."""
    (secret,) = tool(
        *(
            "token",
            "create",
            "web",
            "monitor",
            "--expires",
            "90d",
            "--verb",
            "VM.*",
            "--verb",
            "Host.getVMList",
        ),
        *("--object", f"VM={VM}", "--tag", "VM=web"),
    )
    identity = tool.identify(secret)
    assert identity.scope.verbs == ("VM.*", "Host.getVMList")
    (objects,) = identity.scope.objects
    assert (objects.of, objects.ids, objects.tags) == ("VM", (VM.lower(),), ("web",))
    left = identity.expires - tokens.now().timestamp()
    assert timedelta(days=89) < timedelta(seconds=left) <= timedelta(days=90)
    header, row = tool("token", "list")
    assert header.split() == ["ID", "NAME", "ROLE", "EXPIRES", "LIMITED", "TO"]
    assert row.endswith(f"verbs VM.*, Host.getVMList; VM {VM.lower()}; VM tagged web")
    id_ = row.split()[0]
    assert tool("token", "revoke", id_) == [f"revoked {id_} (web, monitor)"]
    assert len(tool("token", "list")) == 1
    tool("token", "revoke", id_, code=1)
    assert f"Cannot find a token '{id_}'" in tool.error


def test_limits_that_match_nothing(tool: Tool) -> None:
    """They are created, for a plugin may come; standard error says what matches nothing."""
    tool("token", "create", "x", "monitor", "--verb", "Vm.pause", "--object", "Vase=1")
    assert "no installed verb matches 'Vm.pause'" in tool.error
    assert "no installed plugin has objects 'Vase'" in tool.error


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--verb", "pause"], "verbs"),
        (["--tag", "VM=a b"], "tags"),
        (["--object", "V M=1"], "of"),
    ],
)
def test_limits_that_cannot_be_meant(tool: Tool, words: list[str], reason: str) -> None:
    """Nothing is written."""
    tool("token", "create", "x", "monitor", *words, code=1)
    assert reason in tool.error
    assert len(tool("token", "list")) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["x", "king"],
        ["a b", "admin"],
        ["x", "admin", "--expires", "soon"],
        ["x", "admin", "--expires", "2001-01-01"],
        ["x", "admin", "--object", "VM"],
        ["x", "admin", "--tag", "=web"],
    ],
)
def test_wrong_usage(config: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the usage."""
    with pytest.raises(SystemExit) as caught:
        main(["token", "create", *words, "--config", str(config)])
    assert caught.value.code == 2
    assert "usage: vdsm-tool token create" in capsys.readouterr().err


def test_config_check_warns(tool: Tool) -> None:
    """Of a loopback that is open on a real hypervisor, and of a token file of an earlier release."""
    file = tool.config.with_name("tokens")
    file.write_text(f"admin joe {tokens.digest('s')}\n")
    file.chmod(0o600)
    tool.add(f'[hypervisor]\nuri = "qemu:///system"\n[access]\nloopback = "monitor"\ntokens = "{file}"')
    out = "\n".join(tool("config", "check"))
    assert "every local user has the role 'monitor' on qemu:///system" in out
    assert "1 of its lines have the form `role name sha256`" in out
    assert "this configuration can be used" in out


def test_config_check_names_the_file_of_a_rule_that_cannot_be_meant(tool: Tool) -> None:
    """A wildcard for certificates is refused where it stands."""
    tool.add('[access.certificates]\n"DNS:*.example" = "admin"')
    tool("config", "check", code=1)
    assert f"{tool.config}: access.certificates.DNS:*.example: names are compared exactly" in tool.error


# -- can-i


def test_the_rule_and_the_need(tool: Tool) -> None:
    """Yes or no, who is meant, by which rules, and what the verb needs."""
    tool.add('[access.users]\nnobody = "monitor"\n[access.bus_users]\nengine = "operator"')
    assert tool("can-i", "Task.stop", "--as", "user:nobody", code=1) == [
        "no",
        "  user 'nobody', on the unix socket: role 'monitor'",
        '  by [access.users] "nobody" = "monitor"',
        "  Task.stop needs the role 'operator'; 'monitor' is less",
    ]
    assert tool("can-i", "Host.ping", "--as", "user:nobody")[0] == "yes"
    assert (
        tool("can-i", "Task.stop", "--as", "bus:engine")[2] == '  by [access.bus_users] "engine" = "operator"'
    )
    assert "root is always admin" in tool("can-i", "Task.stop", "--as", "user:root")[2]
    assert tool("can-i", "Task.stop", "--as", "user:nobody", "--role", "admin")[0] == "yes"
    assert tool("can-i", "Task.stop", "--role", "monitor", code=1)[0] == "no"


@pytest.mark.parametrize(
    ("who", "line"),
    [
        ("loopback", 'no role ([access] loopback = "none")'),
        ("bus:stranger", "bus user 'stranger': no rule in [access] gives it a role"),
        ("certificate:CN=engine", "no rule in [access] gives it a role"),
    ],
)
def test_who_has_no_role(tool: Tool, who: str, line: str) -> None:
    """Nothing is theirs."""
    answer = tool("can-i", "Host.ping", "--as", who, code=1)
    assert answer[0] == "no"
    assert line in answer[1]


def test_a_certificate(tool: Tool) -> None:
    """By one of its names, as the rules have it."""
    tool.add('[access.certificates]\n"CN=engine,O=Example" = "admin"')
    assert tool("can-i", "Host.setLogLevel", "--as", "certificate:CN=engine,O=Example")[0] == "yes"
    assert tool("can-i", "Host.setLogLevel", "--as", "certificate:CN=engine", code=1)[0] == "no"


def test_a_limited_token(tool: Tool) -> None:
    """Its limits are part of the answer; what only the host knows, such as tags, depends."""
    task = "aaaaaaaa-0000-4000-8000-000000000009"
    tool("token", "create", "one", "operator", "--object", f"Task={task}", "--verb", "Task.*")
    tool("token", "create", "tag", "operator", "--tag", "Task=web")
    one = ("--as", "token:one")
    assert tool("can-i", "Task.stop", *one, "--object", task.upper())[0] == "yes"
    assert tool("can-i", "Task.stop", *one, "--object", "other", code=1)[0] == "no"
    assert tool("can-i", "Task.stop", *one, code=1)[0] == "it depends"
    assert "limited to the verbs Task.*" in tool("can-i", "Host.getAllTasks", *one, code=1)[-1]
    assert "has only the objects of its scope" in tool("can-i", "Host.getAllTasks", "--as", "token:tag")[-1]
    assert tool("can-i", "Task.stop", "--as", "token:tag", "--object", task, code=1)[0] == "it depends"
    assert tool("can-i", "Host.getQueues", "--as", "token:tag", code=1)[0] == "no"
    assert tool("can-i", "Host.ping", "--as", "token:tag")[0] == "yes"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["VM.fly", "--as", "user:root"], "There is no verb 'VM.fly'"),
        (["Host.ping", "--as", "joe"], "Cannot identify the caller 'joe': expected one of"),
        (["Host.ping", "--as", "user:nobody-of-this-name"], "this host has no such user"),
        (["Host.ping", "--as", "token:joe"], "has no token of this name"),
    ],
)
def test_what_cannot_be_asked(tool: Tool, words: list[str], reason: str) -> None:
    """Standard error says why."""
    assert tool("can-i", *words, code=1) == []
    assert reason in tool.error
