"""What a canary.yaml says: read strictly, explained, and the requests of an A/B rollout told apart."""

import itertools
import json
import urllib.request

from test_rollout import CANARY, Shop, run

AB = CANARY.replace("stepWeights: [5, 10, 25, 50]", """iterations: 5
    match:
      - headers: {x-team: {exact: risk}, cookie: {regex: "(.*; )?canary=always"}}
      - queryParams: {arm: {prefix: new}}""")


def test_an_ab_rollout_gives_the_candidate_the_requests_that_match(tmp_path):
    """By header or query parameter, on each protocol; everybody else keeps the stable version, and the evidence of the shadow decides."""
    shop = Shop(tmp_path, canary=AB)
    try:
        assert "A/B         5 looks at the requests that match" in run("rollout", "explain", shop.canary)
        version = shop.train(shop.frame.sample(frac=0.8, random_state=1).sort_values("TX_DATETIME"))
        run("rollout", "start", "--to", version, *shop.registry)
        shop.wait(lambda s: s["by_match"])
        run("rollout", "pause", "--server", shop.url)
        assert "weight 100 % of the requests that match" in run("rollout", "status", "--server", shop.url)
        features, ids = dict(zip(shop.features, shop.rows[0].tolist())), itertools.count()

        def versions(query="", **headers):
            headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
            # A transaction counts once on an arm, so each has an id of its own.
            transactions = [{"transaction_id": f"t{next(ids)}", "features": features} for _ in range(3)]
            body = json.dumps({"transactions": transactions})
            request = urllib.request.Request(f"{shop.url}/v1/decisions{query}", body.encode(), headers)
            return {made["model_version"] for made in json.loads(urllib.request.urlopen(request).read())["decisions"]}

        assert versions() == versions(x_team="risk") == versions(cookie="canary=always") == {"1"}
        assert versions(x_team="risk", cookie="a=1; canary=never") == versions("?arm=old") == versions("?other=new") == {"1"}
        assert versions(X_Team="risk", Cookie="a=1; canary=always") == versions("?x=1&arm=newest") == {str(version)}
        before = shop.wait(lambda s: s["exposed_requests"] == 6)
        rows = json.dumps({"data": shop.rows[:7].tolist()}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{shop.url}/predict?arm=new", rows, {"Content-Type": "application/json"})).read()
        frame = json.dumps({"dataframe_split": {"columns": shop.features, "data": shop.rows[:5].tolist()}}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{shop.url}/invocations?arm=new", frame, {"Content-Type": "application/json"})).read()
        shop.wait(lambda s: s["exposed_requests"] == 6 + 7 + 5)
        assert before["evidence"]["judgement"] in ("HOLD", "PASS")
        run("rollout", "resume", "--server", shop.url)

        def over(shown):
            versions("?arm=new")
            return shown["phase"] == "Succeeded" and shown["stable_version"] == str(version)

        # Without a request that matches there is nothing to look at: said once, and it stays.
        said = lambda s: [entry["message"] for entry in s["history"]]
        first = shop.wait(lambda s: "no data for request-success-rate: staying" in said(s))
        later = shop.wait(lambda s: s["track"][-1]["at_ms"] >= first["track"][-1]["at_ms"] + 1000)
        messages = said(later)
        assert messages.count("no data for request-success-rate: staying") == 1 and later["phase"] == "Progressing", messages
        shown = shop.wait(over)
        assert "requests that match to the candidate" in [entry["message"] for entry in shown["history"]] and not shown["by_match"]
        assert versions() == {str(version)}
    finally:
        shop.stop()


def test_a_canary_yaml_is_read_strictly_and_explained(tmp_path):
    file = tmp_path / "canary.yaml"
    file.write_text(CANARY)
    explained = run("rollout", "explain", file, "--rps", 200)
    assert "5 %, 10 %, 25 %, 50 %" in explained and "10 times the alerts" in explained
    for wrong, words in [
        (CANARY.replace("threshold: 3", "treshold: 3"), "treshold"),
        (CANARY.replace("stepWeights: [5, 10, 25, 50]", "stepWeights: [5, 10]\n    iterations: 3"), "iterations and stepWeights"),
        (CANARY.replace("min-shadow", "min-shadows"), "min-shadows"),
        (CANARY.replace("{min: 99}", "{minimum: 99}"), "minimum"),
        (CANARY.replace("request-success-rate, thresholdRange", "other, thresholdRange"), "neither built in"),
        (CANARY.replace("type: event", "type: events"), "events"),
        (AB.replace("exact: risk", "exakt: risk"), "exakt"),
        (AB.replace("(.*; )?", "(.*; ?"), "spec.analysis.match[0].headers.cookie"),
        (AB.replace("queryParams: {arm: {prefix: new}}", "sourceLabels: {app: shop}"), "spec.analysis.match[1]: it names no header"),
        ("kind: [", "canary.yaml"),
        ("", "0 Canary objects"),
    ]:
        file.write_text(wrong)
        assert words in run("rollout", "explain", file, ok=False)
