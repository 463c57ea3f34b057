"""The page for people, in a real browser."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from vdsm_bridge.testing.tokens import TOKENS

from .browser import Browser, executable, running
from .conftest import LAMP, Serve, Served
from .rest_client import RestClient


@pytest.fixture
def profile(tmp_path: Path) -> str:
    """A browser profile; skips where no browser is, fails where one must be."""
    if executable() is None:
        reason = "Chromium is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return str(tmp_path / "profile")


def test_page_is_self_contained(client: RestClient) -> None:
    """Everything comes from this host under a policy without inline scripts; nothing may frame it."""
    page = client.get("/api/docs", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert page.status == 200
    assert page["Content-Type"] == "text/html; charset=utf-8"
    policy = page["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    files = re.findall(r'(?:src|href)="(/api/docs/[^"]+)"', page.body.decode())
    assert {"/api/docs/app.js", "/api/docs/style.css"} <= set(files)
    text = page.body + b"".join(client.get(file).body for file in files)
    assert not re.search(
        rb"(?:https?:)?//[a-z]+\.[a-z]", text.replace(b'xmlns="http://www.w3.org/2000/svg"', b"")
    )
    assert b"innerHTML" not in text


@pytest.mark.slow
def test_reading_and_trying(served: Served, profile: str) -> None:
    """Every verb is listed; one is found by typing, filled in and sent; its answer is shown."""
    with running(profile) as browser:
        browser.open(f"{served.url}/api/docs")
        browser.wait("document.querySelectorAll('nav a').length > 20")
        _reads(browser, served)
        _finds_by_keyboard(browser)
        _tries(browser, served)
        for scheme, dark in (("light", False), ("dark", True)):
            browser.emulate(scheme)
            assert (browser.evaluate(_BRIGHTNESS) < 128) is dark
        assert browser.complaints == []


#: Of the page's ground, 0 to 255.
_BRIGHTNESS = "+getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"


def _reads(browser: Browser, served: Served) -> None:
    listed = set(json.loads(browser.evaluate(
        "JSON.stringify([...document.querySelectorAll('nav a')].map(a => a.hash.slice(1)))"
    )))  # fmt: skip
    assert set(served.host.bridge.verbs) <= listed
    browser.evaluate("location.hash = 'Lamp.burn'")
    text = browser.wait("document.querySelector('h1').textContent === 'Lamp.burn' && main.textContent")
    for words in (
        "Let a lamp burn",
        "operator",
        "whole number 1 to 1000",
        "default 3",
        "no-such-lamp",
        "sample",
    ):
        assert words in text
    browser.evaluate("location.hash = 'errors/no-such-lamp'")
    assert "No lamp has this id" in browser.wait("document.querySelector('tr.wanted')?.textContent")


def _finds_by_keyboard(browser: Browser) -> None:
    browser.press("/", "/")
    browser.wait("document.activeElement.id === 'search'")
    for letter in "switch":
        browser.press(letter, letter)
    browser.wait("document.querySelectorAll('nav section li').length <= 3")
    browser.press("Enter", "\r")
    browser.wait("document.querySelector('h1').textContent === 'Lamp.switch'")


def _tries(browser: Browser, served: Served) -> None:
    assert browser.evaluate("document.querySelector('.try button').disabled") is True
    browser.evaluate(
        f"for (const [id, value] of [['p-lampID', '{LAMP}'], ['body', '{{\"lit\": true}}']]) {{"
        "const field = document.getElementById(id); field.value = value;"
        "field.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    curl = browser.evaluate("document.querySelector('.curl').textContent")
    assert f"{served.url}/api/lamps/{LAMP}/switch" in curl
    assert "-d '{\"lit\":true}'" in curl
    browser.evaluate("document.querySelector('.try button').click()")
    outcome = browser.wait("/\\b200 OK\\b/.test(outcome.textContent) && outcome.textContent")
    assert '"lit": true' in outcome
    assert " ms" in outcome
    assert served.host.call("Lamp.getInfo", lampID=LAMP).lit is True
    browser.evaluate("location.hash = 'Room.add'")
    browser.wait("document.querySelector('h1').textContent === 'Room.add'")
    browser.evaluate("document.querySelector('.try button').click()")
    assert "missing-argument" in browser.wait("/\\b422\\b/.test(outcome.textContent) && outcome.textContent")
    # The browser itself notes a refused request; that is no complaint about the page.
    browser.complaints[:] = [text for text in browser.complaints if "status of 422" not in text]


@pytest.mark.slow
def test_token(serve: Serve, profile: str) -> None:
    """If credentials are needed, the page asks for a token."""
    served = serve(access={"loopback": "none"})
    with running(profile) as browser:
        browser.open(f"{served.url}/api/docs")
        browser.wait("document.getElementById('main')?.textContent === 'A token is needed here.'")
        browser.evaluate(
            f"token.value = '{TOKENS['monitor']}';token.dispatchEvent(new Event('change', {{bubbles: true}}))"
        )
        browser.wait("document.querySelectorAll('nav a').length > 20")
