"""Which role an identity has, and warnings about a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from vdsm_bridge.call.access.credentials import Credentials
from vdsm_bridge.call.access.decision import Access
from vdsm_bridge.call.access.rules import Rules, names_of, read_rules, weaknesses
from vdsm_bridge.call.certificate import Certificate
from vdsm_bridge.call.context import Identity
from vdsm_bridge.call.scope import ObjectScope, Scope
from vdsm_core import config as configuration
from vdsm_core.config import AccessOptions
from vdsm_core.errors import ConfigError, Unauthenticated
from vdsm_core.roles import LimitedRole

ENGINE = {
    "subject": "CN=engine,O=Example",
    "common_name": "engine",
    "alternative_names": ("DNS:Engine.Example", "URI:spiffe://example/Engine", "IP:192.0.2.7"),
}


def certificate(**members: Any) -> Certificate:
    """A verified certificate."""
    return Certificate(**{**ENGINE, "fingerprint": "0" * 64, **members})


def identify(rules: dict[str, Any], shown: Certificate, address: str = "192.0.2.7") -> Identity:
    """Who the owner of a certificate is."""
    options = AccessOptions(certificates=rules)
    read_rules(options)
    return Access(options).identify(Credentials(certificate=shown, address=address, peer_uid=7))


@pytest.mark.parametrize(
    "rule",
    [
        "CN=engine,O=Example",
        "CN=engine",
        "DNS:engine.example",
        "URI:spiffe://example/Engine",
        "IP:192.0.2.7",
    ],
)
def test_a_certificate_has_the_role_of_its_rule(rule: str) -> None:
    """Of its subject, common name or alternative name; the rule is the caller's name."""
    assert identify({rule: "operator"}, certificate()) == Identity(rule, "operator", "certificate", 7)


def test_the_highest_role_counts() -> None:
    """Of several rules, with the name of that rule."""
    rules = {"CN=engine,O=Example": "monitor", "DNS:engine.example": "admin", "CN=engine": "operator"}
    assert identify(rules, certificate()) == Identity("DNS:engine.example", "admin", "certificate", 7)


@pytest.mark.parametrize(
    "shown",
    [
        {"subject": "CN=engine,O=Other", "common_name": ""},
        {"subject": "O=Example,CN=engine", "common_name": ""},
        {"subject": "CN=Engine,O=Example", "common_name": "Engine"},
        {"subject": r"CN=engine\,O\=Example", "common_name": "engine,O=Example"},
        {"subject": "CN=DNS:engine.example", "common_name": "DNS:engine.example"},
        {"subject": "CN=x", "common_name": "x", "alternative_names": ("DNS:*.example",)},
        {"subject": "CN=x", "common_name": "x", "alternative_names": ("email:DNS:engine.example",)},
        {"subject": "CN=x", "common_name": "x", "alternative_names": ("DNS:engine.example.org",)},
        {"subject": "CN=x", "common_name": "x", "alternative_names": ("DNS:engine.example\0.org",)},
        {"subject": "", "common_name": "", "alternative_names": ()},
    ],
)
def test_names_that_only_look_alike(shown: dict[str, Any]) -> None:
    """No value passes for a name of another type, and nothing is a pattern."""
    rules = {"CN=engine,O=Example": "admin", "DNS:engine.example": "admin"}
    with pytest.raises(Unauthenticated, match="has no role on this host"):
        identify(rules, certificate(**{"alternative_names": (), **shown}))


def test_an_escaped_common_name_is_named_as_the_subject_has_it() -> None:
    """With a comma in it, it is one value there, and no rule of its own."""
    shown = certificate(subject=r"CN=a\,b", common_name="a,b", alternative_names=())
    assert names_of(shown) == [r"CN=a\,b"]
    assert identify({r"CN=a\,b": "admin"}, shown).role == "admin"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("*", "stands for nothing"),
        ("DNS:*.example", "stands for nothing"),
        ("CN=eng*", "stands for nothing"),
        ("DNS:Engine.Example", "write 'DNS:engine.example'"),
        ("engine", "expected a subject"),
        ("", "expected a subject"),
        ("CN=", "expected a subject"),
        ("DNS:", "expected a subject"),
        ("dns:engine.example", "expected a subject"),
    ],
)
def test_rules_that_cannot_be_meant(rule: str, reason: str) -> None:
    """They stop the start: an administrator who writes a wildcard believes in it."""
    with pytest.raises(ConfigError, match=reason):
        read_rules(AccessOptions(certificates={rule: "monitor"}))


def test_every_table_is_compared_exactly() -> None:
    """A bus user, too, is no pattern and has a case."""
    options = AccessOptions(bus_users={"eng*": "admin", "Engine": "admin"})
    for name in ("engine", "eng", "engx"):
        with pytest.raises(Unauthenticated):
            Access(options).identify(Credentials(bus_user=name))


@pytest.mark.parametrize(
    ("uri", "loopback", "warned"),
    [
        ("qemu:///system", "admin", True),
        ("qemu:///session", "monitor", True),
        ("qemu:///system", "none", False),
        ("test:///default", "admin", False),
    ],
)
def test_an_open_loopback_on_a_real_hypervisor_is_warned_of(uri: str, loopback: str, warned: bool) -> None:
    """The embedded hypervisor drives nothing real, so it may be open."""
    config = configuration.merge([("test", {"hypervisor": {"uri": uri}, "access": {"loopback": loopback}})])
    found = weaknesses(config, Rules(config.access))
    assert [f"every local user has the role '{loopback}' on {uri}" in text for text in found] == [
        True
    ] * warned


def test_a_token_file_of_earlier_releases_is_warned_of() -> None:
    """With the command that writes it anew."""
    config = configuration.merge([])
    (text,) = weaknesses(config, Rules(config.access, earlier=2))
    assert "2 of its lines have the form `role name sha256`" in text


def test_a_limited_role() -> None:
    """A rule may give a role for some verbs, and for objects of the caller's own."""
    limited = LimitedRole(role="operator", verbs=("VM.destroy",), own=("VM",))
    identity = identify({"CN=engine": limited}, certificate())
    assert (identity.role, identity.scope) == (
        "operator",
        Scope(verbs=("VM.destroy",), objects=(ObjectScope(of="VM", own=True),)),
    )
    # A rule with the same role and without limits counts for more.
    rules = {"CN=engine": limited, "DNS:engine.example": "operator"}
    assert not identify(rules, certificate()).scope.limited


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ({"verbs": ["VM.*"]}, "role"),
        ({"role": "king"}, "role"),
        ({"role": "admin", "verbs": ["VM"]}, "verbs"),
        ({"role": "admin", "objects": []}, "objects"),
    ],
)
def test_a_limited_role_that_is_none(rule: dict[str, Any], key: str) -> None:
    """The key is named."""
    table = {"access": {"users": {"joe": rule}}}
    with pytest.raises(ConfigError, match=rf"access\.users\.joe.*{key}|{key}"):
        configuration.merge([("vdsm.toml", table)])
