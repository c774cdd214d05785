"""Several scoring servers, one release: their evidence is added up, whatever is repeated or killed, and the verdict is of the sum."""

import contextlib
import json
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import SERIN, Server, free_port, running, serin_server
from test_monitoring import call
from test_rollout import CANARY, Bystander, Shop, run

LONG = CANARY.replace("{serin.dev/min-shadow: 300ms}", "{serin.dev/min-shadow: 10m, serin.dev/slow: \"20ms, 100ms\"}")


def status(server):
    with urllib.request.urlopen(f"{server.url}/v1/rollout", timeout=10) as answer:
        return json.loads(answer.read())


def both(servers, reached, seconds=60):
    end = time.monotonic() + seconds
    while True:
        shown = [status(server) for server in servers]
        if all(one and reached(one) for one in shown):
            return shown
        assert time.monotonic() < end, shown
        time.sleep(0.1)


def send(shop, server, requests, size=250):
    """Other payments each time: the same ones again and again would be no evidence."""
    for _ in range(requests):
        shop.sent = getattr(shop, "sent", 0) + size
        rows = shop.rows[shop.sent % (len(shop.rows) - size) :][:size]
        assert call(f"{server.url}/predict", {"data": rows.tolist()})[0] == 200


@contextlib.contextmanager
def two_servers(folder, canary):
    """A tracking server, a shop that sends nothing by itself, and a second scoring server beside the shop's."""
    registry = serin_server(folder)
    with running(registry):
        shop = Shop(folder, remote=registry.url, canary=canary)
        shop.live = False
        shop.traffic.join()
        port = free_port()
        options = ["-m", "models:/fraud_detection@champion", "--canary", str(shop.canary), "--fast-canary", "--poll", "0.1"]
        second = Server([SERIN, "serve", *options, "--port", str(port), "--state", str(folder / "second"), "--tracking-uri", registry.url], port, folder)
        try:
            yield registry, shop, second
        finally:
            second.stop()
            shop.server.stop()


def test_the_verdict_of_two_servers_is_that_of_their_sum(tmp_path):
    with two_servers(tmp_path, LONG) as (registry, shop, second):
        servers = [shop.server, second]
        version = shop.train(shop.frame.sample(frac=0.9, random_state=4).sort_values("TX_DATETIME"))
        run("rollout", "start", "--to", version, *shop.registry)
        both(servers, lambda one: one["candidate_loaded"] == str(version))
        before = [one["shadow"]["requests"] for one in both(servers, lambda one: one["others"]["replicas"] == 1)]
        send(shop, servers[0], 20)
        send(shop, servers[1], 40)
        total = sum(before) + 60 * 250
        shown = both(servers, lambda one: one["shadow"]["requests"] + one["others"]["requests"] == total)
        assert [one["shadow"]["requests"] for one in shown] == [before[0] + 5000, before[1] + 10_000]
        assert shown[0]["evidence"]["e"] == pytest.approx(shown[1]["evidence"]["e"]) and shown[0]["evidence"]["e"] != 1
        assert [part["e"] for part in shown[0]["evidence"]["components"]] == pytest.approx([part["e"] for part in shown[1]["evidence"]["components"]])
        assert shown[0]["evidence"]["judgement"] == shown[1]["evidence"]["judgement"]

        # Killed and started again, it says the same by the same name: nothing is counted twice.
        second.stop(signal.SIGKILL)
        second.start()
        both(servers, lambda one: one["candidate_loaded"] == str(version))
        send(shop, second, 4)
        both(servers, lambda one: one["shadow"]["requests"] + one["others"]["requests"] == total + 1000)
        # An old word that comes again late is not heard; one that is none is refused.
        [file] = (tmp_path / "second" / "rollout").glob("*.json")
        saved = json.loads(file.read_text())
        old = {"model": "fraud_detection", "release": f"{version} after 1 at {saved['began_ms']}", "replica": saved["replica"], "sequence": 1, "counts": {**saved["counts"], "paired": {"both": 9, "raised": 9, "lowered": 9, "neither": 9, "unscored": 9}}}
        code, heard = call(f"{registry.url}/v1/evidence", old)
        assert code == 200 and heard["replicas"] == 1 and heard["counts"]["paired"]["neither"] > 4000
        time.sleep(0.6)
        assert {one["shadow"]["requests"] + one["others"]["requests"] for one in map(status, servers)} == {total + 1000}
        assert call(f"{registry.url}/v1/evidence", {**old, "counts": {"paired": 7}})[0] == 400
        assert call(f"{registry.url}/v1/evidence", {**old, "replica": ""})[0] == 400

        # Harm that each sees a part of ends the release on both, one of them nearly without traffic of its own.
        harmful = shop.train(shop.frame, "--threshold", "0.02")
        run("rollout", "start", "--to", harmful, *shop.registry)
        both(servers, lambda one: one["candidate_loaded"] == str(harmful))
        # All of a request is counted at once: whenever they look, they see more than a thousand or nothing.
        send(shop, servers[0], 5, size=2000)
        shown = both(servers, lambda one: one["phase"] == "Failed")
        assert all("more alerts" in one["history"][-1]["message"] and one["exposed_requests"] == 0 for one in shown), shown
        assert shown[1]["shadow"]["requests"] == 0 and shown[1]["others"]["requests"] > 1000


def test_one_server_leads_hooks_and_alerts_come_once_and_another_goes_on_when_it_dies(tmp_path):
    others = Bystander()
    canary = CANARY.replace("http://127.0.0.1:9/nobody", f"{others.url}/event") + f"""
---
apiVersion: flagger.app/v1beta1
kind: AlertProvider
metadata: {{name: chat}}
spec: {{type: generic, address: "{others.url}/chat"}}
"""
    canary = canary.replace("    webhooks:\n", "    alerts: [{name: chat, severity: info, providerRef: {name: chat}}]\n    webhooks:\n" + f"      - {{name: gate, type: confirm-promotion, url: '{others.url}/gate'}}\n")
    others.answers["/gate"] = 403
    with two_servers(tmp_path, canary) as (registry, shop, second):
        servers = [shop.server, second]
        version = shop.train(shop.frame.sample(frac=0.8, random_state=4).sort_values("TX_DATETIME"))
        run("rollout", "start", "--to", version, *shop.registry)
        both(servers, lambda one: one["candidate_loaded"] == str(version))
        end = time.monotonic() + 60
        while not all(one["phase"] == "WaitingPromotion" for one in map(status, servers)):
            assert time.monotonic() < end, [status(server)["history"] for server in servers]
            send(shop, servers[0], 1)
            send(shop, servers[1], 1)
        shown = [status(server) for server in servers]
        assert [one["candidate_weight"] for one in shown] == [0.5, 0.5] and shown[0]["history"] == shown[1]["history"]
        assert sorted(one["leads"] for one in shown) == [False, True]
        told = [body["message"] for body in others.calls("/chat")]
        assert sorted(told) == sorted(set(told)) and len(told) == len(others.calls("/event")) and "5 % to the candidate" in told, told
        assert sorted(told) == sorted(entry["message"] for entry in shown[0]["history"])

        # A person may speak to any of them: who is told leads from then on.
        follower = servers[[one["leads"] for one in shown].index(False)]
        run("rollout", "pause", "--server", follower.url)
        both(servers, lambda one: one["paused"])
        both([follower], lambda one: one["leads"])
        run("rollout", "resume", "--server", follower.url)
        both(servers, lambda one: not one["paused"])

        # The one that leads dies; the other one goes on from where it stood, and promotes once.
        follower.stop(signal.SIGKILL)
        [other] = [server for server in servers if server is not follower]
        both([other], lambda one: one["leads"])
        others.answers["/gate"] = 200
        end = time.monotonic() + 60
        while status(other)["stable_version"] != str(version):
            assert time.monotonic() < end, status(other)
            send(shop, other, 1)
        both([other], lambda one: one["phase"] == "Succeeded")
        follower.start()
        both([follower], lambda one: one["stable_version"] == str(version) and one["candidate_version"] is None)
        told = [body["message"] for body in others.calls("/chat")]
        assert sorted(told) == sorted(set(told)) and told.count("promoted") == 1, told
        moved = [row for row in shop.history() if row[0] == version and row[1:3] == ("alias", "champion")]
        assert len(moved) == 1, moved


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_one_at_a_time_leads_and_its_last_word_is_handed_on(database, tmp_path, request):
    options = [] if database == "sqlite" else ["--backend-store-uri", request.getfixturevalue("postgres").database()]
    server = serin_server(tmp_path, *options)
    with running(server):
        words = iter(range(1, 1000))
        nothing = {"paired": {"both": 0, "raised": 0, "lowered": 0, "neither": 0, "unscored": 0}, "requests": {}, "errors": {"by_weight": {}}, "alerts": {"by_weight": {}}}

        def ask(replica, state=None, lease=60_000, **more):
            body = {"model": "fraud", "release": "2 after 1", "replica": replica, "sequence": next(words), "counts": nothing, "lease_ms": lease, "state": state, **more}
            code, heard = call(f"{server.url}/v1/evidence", body)
            assert code == 200, heard
            return heard["leads"], heard["state"]

        with ThreadPoolExecutor(8) as pool:
            first = dict(zip("abcdefgh", pool.map(ask, "abcdefgh")))
        [leader] = [replica for replica, (leads, _) in first.items() if leads]
        other, third = [replica for replica in "abc" if replica != leader][:2]
        assert ask(leader, {"weight": 5}) == (True, None) and ask(other) == (False, {"weight": 5})
        # Who does not lead has nothing to say of where it stands.
        assert ask(other, {"weight": 99}) == (False, {"weight": 5})
        # A person has told the other one to act: it hears where things stand, and goes on from there.
        assert ask(other, {"weight": 99}, claims=True) == (True, {"weight": 5})
        assert ask(leader, {"weight": 10}) == (False, {"weight": 5})
        assert ask(other, {"weight": 25}, lease=4000) == (True, None)
        assert ask(third) == (False, {"weight": 25})
        time.sleep(4.2)
        # Silent for too long: one of those that come at once takes the lead, from its last word.
        with ThreadPoolExecutor(8) as pool:
            heard = list(pool.map(ask, "klmnopqr"))
        assert [leads for leads, _ in heard].count(True) == 1 and all(state in (None, {"weight": 25}) for _, state in heard)
        assert dict(heard)[True] == {"weight": 25}
        # A scoring server that asks for no lead shares its evidence all the same.
        assert ask("z", lease=0) == (False, None)
        assert call(f"{server.url}/v1/evidence", {"model": "fraud", "lease_ms": "long"})[0] == 400
