"""The contract suite's part about access: roles, limited, expired and revoked tokens, whichever binding."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

from vdsm_bridge.api.verb import access_level
from vdsm_bridge.call.access import tokens
from vdsm_bridge.call.context import ROLES
from vdsm_bridge.testing.client import BridgeClient, Client
from vdsm_bridge.testing.harness import PATIENCE, REQUEST_ID, TOKEN, Failure, Harness, queue
from vdsm_bridge.testing.host import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.tokens import EXPIRED, LIMITED, TOKENS
from vdsm_core.errors import Forbidden, OutOfScope, Unauthenticated
from vdsm_core.work.references import exclusive

#: Seconds after which the rights of a waiting caller are checked again, and some more.
_WAITED = 0.8
#: No verb has such an argument: a caller that may call the verb gets that error, and nothing is carried out.
NOTHING = {"noSuchArgument": "x"}


class AccessContract(Harness):
    """Part of `BindingContract`."""

    def test_roles_of_verbs(self, full_host: TestHost) -> None:
        """Every verb refuses the roles below its own, before it looks at arguments, and no other role."""
        self.needs(TOKEN)
        bridge = BridgeClient(full_host.bridge, text=self.text)
        with closing(self.connect(full_host)) as client:
            for verb in full_host.bridge.verbs.values():
                for role in ROLES:
                    what = (verb.name, role)
                    failure = self.failure(client, verb.name, NOTHING, token=TOKENS[role])
                    assert failure == self.failure(bridge, verb.name, NOTHING, token=TOKENS[role]), what
                    refused = failure.message == str(
                        Forbidden(verb=verb.name, identity=role, needed=verb.access)
                    )
                    assert refused == (ROLES.index(role) < access_level(verb.access)), what

    def test_who_am_i(self, client: Client, bridge: BridgeClient) -> None:
        """Each caller is shown its own identity and limits, as the bridge has them."""
        self.needs(TOKEN)
        for name, token in {**TOKENS, "limited": LIMITED}.items():
            shown = client.call("Host.whoAmI", {}, token=token)
            expected = bridge.call("Host.whoAmI", {}, token=token)
            assert (shown["name"], shown["how"]) == (name, "token")
            assert shown["binding"] == (self.name or BridgeClient.binding)
            assert shown["objects"] == expected["objects"]
            assert shown["role"] == expected["role"]

    def test_a_limited_token(self, client: Client, bridge: BridgeClient, host: TestHost) -> None:
        """It reaches the objects that carry its tag, and neither acts on others nor sees them in lists."""
        self.needs(TOKEN)
        mine, theirs = self._lamps(host)
        listed = client.call("Lamp.list", {}, token=LIMITED)
        assert [lamp["lampID"] for lamp in listed] == [mine]
        assert client.call("Lamp.switch", {"lampID": mine, "lit": True}, token=LIMITED)["lampID"] == mine
        for verb, arguments in (
            ("Lamp.getInfo", {"lampID": theirs}),
            ("Lamp.getInfo", {"lampID": str(uuid.uuid4())}),
            ("Lamp.switch", {"lampID": theirs, "lit": True}),
            ("Lamp.burn", {"lampID": theirs}),
            ("Lamp.create", {"lamp": {"lampID": mine, "name": "x", "tags": "limited"}}),
            ("Host.getQueues", {}),
        ):
            failure = self.failure(client, verb, arguments, token=LIMITED)
            assert failure == self.failure(bridge, verb, arguments, token=LIMITED)
            assert failure.slug in self.slugs(OutOfScope.slug)

    def test_a_limited_token_and_tasks(self, client: Client, host: TestHost) -> None:
        """Those of other objects are not there for it."""
        self.needs(TOKEN)
        mine, theirs = self._lamps(host)
        begun = [host.call("Lamp.burn", lampID=lamp, hours=1, pause=0.0).task_id for lamp in (mine, theirs)]
        assert list(client.call("Host.getAllTasksInfo", {}, token=LIMITED)) == begun[:1]
        for verb in ("Task.getInfo", "Task.getStatus", "Task.stop", "Task.clear"):
            failure = self.failure(client, verb, {"taskID": begun[1]}, token=LIMITED)
            assert failure.slug in self.slugs(OutOfScope.slug)

    def test_a_limited_token_and_events(self, client: Client, host: TestHost) -> None:
        """It is given those of its own objects, whatever it subscribes to."""
        self.needs(TOKEN)
        mine, theirs = self._lamps(host)
        begun = client.call("Events.subscribe", {"filter": "|*|*|*"}, token=LIMITED)["subscriptionID"]
        for lamp in (theirs, mine, theirs):
            host.call("Lamp.switch", lampID=lamp, lit=True)
        host.host.runtime.events.flush()
        events = client.call("Events.next", {"subscriptionID": begun}, token=LIMITED)
        assert [event["id"] for event in events] == [f"|sample|switched|{mine}"]
        other = self.failure(client, "Events.next", {"subscriptionID": begun}, token=TOKENS["operator"])
        assert other.message.startswith("There is no subscription")

    def test_a_request_id_belongs_to_its_caller(self, client: Client, host: TestHost) -> None:
        """The same id of two callers is two requests: neither gets the answer of the other."""
        self.needs(TOKEN)
        self.needs(REQUEST_ID)
        mine, _ = self._lamps(host)
        arguments: dict[str, Any] = {"lampID": mine, "text": "mark"}
        request_id = str(uuid.uuid4())
        for token, marks in ((TOKENS["admin"], 1), (TOKENS["admin"], 1), (LIMITED, 2), (LIMITED, 2)):
            made = client.call("Lamp.engrave", arguments, token=token, request_id=request_id)
            assert len(made["marks"]) == marks

    def test_an_expired_token(self, client: Client, bridge: BridgeClient) -> None:
        """It is refused with the time at which it expired."""
        self.needs(TOKEN)
        failure = self._refused(client, EXPIRED)
        assert failure.message == self._refused(bridge, EXPIRED).message
        assert "expired at 2001-09-09T01:46:40Z" in failure.message

    def test_a_revoked_token(self, connection: Callable[[], Client], tmp_path: Path) -> None:
        """It is refused from the next call on, also on a connection that it has used; nothing is reloaded."""
        self.needs(TOKEN)
        client = connection()
        client.call("Host.ping", {}, token=TOKENS["operator"])
        tokens.revoke(tmp_path / "tokens", "operator")
        assert "not valid" in self._refused(client, TOKENS["operator"]).message
        client.call("Host.ping", {}, token=TOKENS["monitor"])

    def test_a_token_that_is_revoked_while_its_call_waits(
        self, connection: Callable[[], Client], host: TestHost, tmp_path: Path, lamp: str
    ) -> None:
        """A call that waits for events returns none of those that came after; one in a queue is not begun."""
        self.needs(TOKEN)
        poller, actor = connection(), connection()
        token: dict[str, Any] = {"token": TOKENS["operator"]}
        begun = poller.call("Events.subscribe", {"filter": "sample"}, **token)["subscriptionID"]
        holds = exclusive(host.bridge.verbs["Lamp.engrave"].namespace.reference(lamp))

        def waiting() -> bool:
            (subscription,) = host.call("Events.list")
            return subscription.idle == 0 and len(queue(host, lamp)) == 2

        with ThreadPoolExecutor(2) as pool:
            with host.host.runtime.work.locks.holding([holds], "test", deadline=inf):
                calls = [
                    pool.submit(
                        self.failure, poller, "Events.next", {"subscriptionID": begun, "timeout": 30}, **token
                    ),
                    pool.submit(
                        self.failure, actor, "Lamp.engrave", {"lampID": lamp, "text": "late"}, **token
                    ),
                ]
                until(waiting, PATIENCE)
                since = time.monotonic()
                until(lambda: time.monotonic() - since > _WAITED, PATIENCE)
                tokens.revoke(tmp_path / "tokens", "operator")
            host.call("Lamp.switch", lampID=lamp, lit=True)
            for call in calls:
                assert "revoked or changed while the call waited" in call.result(PATIENCE).message
        assert host.call("Lamp.getInfo", lampID=lamp).marks == []

    def _refused(self, client: Client, token: str) -> Failure:
        failure = self.failure(client, "Host.ping", {}, token=token)
        assert failure.slug in self.slugs(Unauthenticated.slug)
        return failure

    @staticmethod
    def _lamps(host: TestHost) -> tuple[str, str]:
        """Two new lamps: one within the limits of `LIMITED`, and another one."""
        made = str(uuid.uuid4()), str(uuid.uuid4())
        for lamp, tags in zip(made, ("other limited", "limited-not"), strict=True):
            host.call("Lamp.create", lamp={"lampID": lamp, "name": "test", "tags": tags})
        return made
