"""The pages of `serin server`, driven by a real Chromium: every page and every action, in both themes, by people who may and
people who may not. Any console error, CSP report, missing asset or request to another host fails the test."""

import base64
import json
import os
import re
import subprocess
import urllib.error
import urllib.request

import pytest
from browsing import Watched, chromium
from playwright.sync_api import expect
from servers import CLEAN, SERIN, mlflow_server, running, serin_server
from test_rollout import Shop, run

SETTINGS = """
[monitoring]
amount = "TX_AMOUNT"
review_cost = 5.0
maturity_days = 0.0
every_seconds = 1.0
[alerts]
to = [{ kind = "slack", url = "https://hooks.example/secret-part" }]
"""
PAGES = {
    "/": "Is the fraud model fine?", "/rollouts": "Rollout", "/drift": "Drift", "/performance": "Performance", "/decisions": "Decisions",
    "/experiments": "Experiments", "/experiments/1": "fraud_detection", "/models": "Models", "/models/fraud_detection": "fraud_detection",
    "/settings": "Settings", "/trash": "Trash",
}


def ask(url, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})})
    with urllib.request.urlopen(request, timeout=60) as got:
        return json.loads(got.read())


@pytest.fixture(autouse=True)
def environment():
    """What MLflow's client leaves in the environment must not reach the commands of other tests."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A model that was released, a candidate that was stopped, labels, and traffic that has ended."""
    shop = Shop(tmp_path_factory.mktemp("dashboard"), more=["--monitor-every", "0.5"], settings=SETTINGS)
    # People look at what one scoring server decides, not at a flood.
    shop.pause = 0.05
    better = shop.train(shop.frame.sample(frac=0.8, random_state=1).sort_values("TX_DATETIME"))
    run("rollout", "start", "--to", better, *shop.registry)
    shop.wait(lambda s: s["candidate_loaded"] == str(better))
    late = shop.frame.tail(3000)
    for begin in range(0, len(late), 500):
        part = late.iloc[begin : begin + 500]
        sent = [
            {"transaction_id": f"tx-{begin + n}", "entity": f"card-{row.CUSTOMER_ID}", "features": {f: float(getattr(row, f)) for f in shop.features}}
            for n, row in enumerate(part.itertuples())
        ]
        shop.decided = ask(f"{shop.url}/v1/decisions", {"transactions": sent})["decisions"]
    labels = [
        {"transaction_id": f"tx-{n}", "label": int(row.TX_FRAUD), "source": "chargeback", "amount": float(row.TX_AMOUNT)}
        for n, row in enumerate(late.itertuples())
        if n < 2900
    ]
    assert ask(f"{shop.tracking}/v1/labels", {"labels": labels})["new"] == 2900
    shop.wait(lambda s: s["phase"] == "Succeeded")
    money = [name for name in shop.features if "AMOUNT" in name]
    cents = shop.train(shop.frame.assign(**{name: shop.frame[name] * 100 for name in money}))
    assert shop.release(cents)[0] == "Failed"
    yield shop
    shop.stop()


@pytest.fixture
def watched(browser, shop):
    watched = Watched(browser, shop.tracking)
    yield watched
    watched.close()
    watched.check()


def confirm(page, button):
    button.click()
    page.get_by_role("button", name="Yes, do it").click()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_whole_accessible_and_light(browser, shop, theme):
    watched = Watched(browser, shop.tracking, color_scheme=theme)
    for path, title in PAGES.items():
        page = watched.open(path)
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        assert page.locator("nav.main a[aria-current=page]").count() == 1, path
        assert watched.accessible() == [], path
        transferred = page.evaluate("performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation')).reduce((sum, r) => sum + (r.encodedBodySize || 0), 0)")
        assert 10_000 < transferred < 200_000, (path, transferred)
        print(f"{theme:5} {path:25} {transferred / 1000:6.0f} kB")
    watched.close()
    watched.check()


def test_the_overview_answers_its_three_questions(watched):
    page = watched.open("/")
    live = page.get_by_role("region", name="The live model")
    for name in ["Live version", "Traffic", "99th percentile", "Errors", "Alert rate", "Drifted columns"]:
        expect(live.get_by_text(name, exact=True)).to_be_visible()
    expect(live.locator(".tile", has_text="Live version").locator("b")).to_have_text("2")
    expect(live.get_by_role("img", name="Scores now against the reference")).to_be_visible()
    table = page.get_by_role("region", name="Disagreements").locator("tbody tr")
    assert table.count() > 0, "candidates disagreed"
    row = table.first.inner_text()
    assert "alert" in row and "pass" in row and ("↑" in row or "↓" in row), row
    saved = page.get_by_role("region", name="Savings")
    expect(saved.get_by_text(re.compile(r"95 % interval .* to "))).to_have_count(2)
    table.first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Decision")


def test_times_are_in_the_viewers_zone_with_utc_on_hover(browser, shop):
    watched = Watched(browser, shop.tracking, timezone_id="Asia/Tokyo", locale="en-GB")
    page = watched.open("/models/fraud_detection")
    first = page.locator("time").first
    utc, shown = first.get_attribute("title"), first.inner_text()
    assert utc.endswith(" UTC") and shown != utc
    hour = (int(utc[11:13]) + 9) % 24
    assert f"{hour:02d}:{utc[14:16]}" in shown, (utc, shown)
    watched.close()
    watched.check()


def test_a_rollout_is_started_watched_and_aborted(watched, shop):
    version = shop.train(shop.frame.sample(frac=0.8, random_state=2).sort_values("TX_DATETIME"))
    before = shop.status()
    page = watched.open("/models/fraud_detection")
    confirm(page, page.get_by_role("button", name=f"Start rollout of version {version}"))
    expect(page.get_by_role("status")).to_contain_text("The rollout is asked for")
    now = page.get_by_role("region", name="Rollout now")
    # Events bring it, without a reload.
    expect(now.get_by_text(f"version {version}", exact=True)).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="No").click()
    assert not shop.status()["paused"], "no is no"
    confirm(page, page.get_by_role("button", name="Abort"))
    expect(page.get_by_role("status")).to_contain_text("Done")
    expect(now.get_by_text("Failed", exact=True).or_(now.get_by_text("Succeeded", exact=True))).to_be_visible(timeout=20_000)
    ended = shop.wait(lambda s: s["phase"] in ("Failed", "Succeeded") and s["candidate_version"] is None)
    if ended["phase"] == "Failed":
        assert "aborted by hand, by somebody at the dashboard" in ended["history"][-1]["message"]
        assert ended["stable_version"] == before["stable_version"]
    expect(now.get_by_role("img", name=re.compile("Evidence for harm"))).to_be_visible(timeout=20_000)
    page.reload()
    ledger = page.locator("table", has_text="Why").last
    expect(ledger.get_by_text("started at the dashboard").first).to_be_visible()


def test_people_pause_resume_and_promote_at_the_dashboard(watched, shop):
    version = shop.train(shop.frame.sample(frac=0.8, random_state=3).sort_values("TX_DATETIME"), "--threshold", "0.9")
    # Too little traffic for proof of anything: it stays until somebody says something.
    shop.pause = 2.0
    page = watched.open("/models/fraud_detection")
    confirm(page, page.get_by_role("button", name=f"Start rollout of version {version}"))
    now = page.get_by_role("region", name="Rollout now")
    expect(now.get_by_text(f"version {version}", exact=True)).to_be_visible(timeout=20_000)
    confirm(page, page.get_by_role("button", name="Pause"))
    expect(now.get_by_text("paused", exact=True)).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).to_contain_text("Done")
    expect(now.get_by_text("paused", exact=True)).to_have_count(0, timeout=20_000)
    shop.wait(lambda s: s["candidate_loaded"] == str(version))
    confirm(page, page.get_by_role("button", name="Promote"))
    expect(page.get_by_role("status")).to_contain_text("Done")
    shop.pause = 0.05
    shown = shop.wait(lambda s: s["stable_version"] == str(version))
    said = [entry["message"] for entry in shown["history"]]
    for word in ("paused", "resumed", "promoted"):
        assert f"{word} by hand, by somebody at the dashboard" in said, said[-8:]
    expect(now.get_by_text(f"version {version}", exact=True)).to_be_visible(timeout=20_000)


def test_a_decision_is_found_replayed_and_labelled(watched, shop):
    page = watched.open("/decisions")
    page.get_by_label("Decision, transaction or entity").fill("tx-2950")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody tr a").click()
    decided = next(d for d in shop.decided if d["transaction_id"] == "tx-2950")
    expect(page.get_by_text(decided["decision_id"]).first).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("What moved the model's margin"))).to_be_visible()
    for name in shop.features:
        assert page.get_by_role("cell", name=re.compile(rf"^{name}( \(|$)")).count() >= 1, name
    assert page.get_by_text("outcome: not known yet").count() == 1
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("Replayed to the same bits")).to_be_visible()
    page.get_by_label("It was").select_option("fraud")
    page.get_by_label("Money at stake").fill("12.5")
    page.get_by_role("button", name="Keep label").click()
    expect(page.get_by_role("status").first).to_have_text("The label is kept.")
    expect(page.get_by_text("outcome: fraud, by analyst")).to_be_visible()
    kept = ask(f"{shop.tracking}/v1/labels?decision_id={decided['decision_id']}")
    assert kept["label"]["label"] == "fraud" and kept["label"]["amount"] == 12.5
    assert watched.accessible() == []
    # By score, action and time.
    page = watched.open("/decisions?action=alert&least=0.5")
    rows = page.locator("tbody tr")
    assert rows.count() > 0 and all("alert" in text for text in rows.all_inner_texts())
    page = watched.open("/decisions?until=2020-01-01T00:00")
    expect(page.get_by_text("No decision fits")).to_be_visible()
    watched.allowed = {400, 404}
    page = watched.open("/decisions?least=much")
    expect(page.get_by_role("alert")).to_have_text('least "much" is not a number')
    page = watched.open("/decisions/01234567-89ab-7def-8123-456789abcdef")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")


def test_drift_and_performance_show_and_export(watched, shop):
    page = watched.open("/drift")
    assert page.locator("table.heat tbody tr").count() == len(shop.features) + 1
    assert page.locator(".cards svg").count() == len(shop.features) + 1
    for name, ending in [("Export as HTML", "drift.html"), ("as JSON", "drift.json"), ("as Evidently snapshot", "evidently.json")]:
        with page.expect_download() as got:
            page.get_by_role("link", name=name).click()
        assert got.value.suggested_filename == ending
        content = open(got.value.path()).read()
        if ending == "drift.json":
            assert {c["name"] for c in json.loads(content)["drift"]} >= set(shop.features)
        elif ending == "drift.html":
            assert "<script" not in content and content.count("<svg") == len(shop.features) + 1
        else:
            assert json.loads(content)
    page = watched.open("/performance")
    expect(page.get_by_role("img", name="Precision against recall on matured rows, by version")).to_be_visible()
    expect(page.locator(".plot canvas")).to_have_count(3)
    first = page.get_by_role("region", name="Figures").locator("table").first
    for version in ("1", "2"):
        row = first.locator("tbody tr", has=page.locator("th, td:first-child", has_text=re.compile(f"^{version}$")))
        assert "%" in row.inner_text(), row.inner_text()


def test_runs_are_sorted_filtered_compared_looked_into_and_thrown_away(watched, shop, tmp_path):
    import mlflow

    mlflow.set_tracking_uri(shop.tracking)
    mlflow.set_experiment("search")
    runs = []
    for number in range(5):
        with mlflow.start_run(run_name=f"run-{number}") as run:
            mlflow.log_params({"depth": number, "eta": 0.1})
            mlflow.log_metric("auc", 0.5 + number / 10)
            for step in range(20):
                mlflow.log_metric("loss", (number + 1) / (step + 1), step=step)
            mlflow.log_text("hello <b>there</b>", "notes/hello.txt")
            mlflow.log_dict({"a": [1, 2]}, "d.json")
            mlflow.log_text("a,b\n1,2\n", "t.csv")
            mlflow.log_text("<h1>Report</h1><script>document.title='no'</script>", "report.html")
            (tmp_path / "dot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>')
            mlflow.log_artifact(tmp_path / "dot.svg")
            runs.append(run.info.run_id)
    experiment = mlflow.get_experiment_by_name("search").experiment_id
    # The address that MLflow's client prints.
    page = watched.open(f"/#/experiments/{experiment}/runs/{runs[0]}")
    expect(page.get_by_role("heading", level=1)).to_have_text("run-0")
    page = watched.open(f"/experiments/{experiment}")
    rows = page.locator("tbody tr")
    page.get_by_role("link", name="auc").click()
    expect(rows.first).to_contain_text("run-4")
    page.get_by_role("link", name="auc").click()
    expect(rows.first).to_contain_text("run-0")
    page.get_by_label("Filter, in MLflow's grammar").fill("params.depth = '3'")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(1)
    page.get_by_label("Filter, in MLflow's grammar").fill("metrics.auc >")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page = watched.open(f"/experiments/{experiment}")
    page.get_by_text("Columns (").click()
    page.get_by_label("metrics.loss").uncheck()
    page.get_by_role("button", name="Show").click()
    assert page.get_by_role("columnheader", name="loss").count() == 0
    for number in (1, 2):
        page.get_by_label(f"Choose run run-{number}").check()
    page.get_by_role("button", name="Compare chosen runs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 runs compared")
    expect(page.locator("tr.selected", has_text="depth")).to_have_count(1)
    assert page.locator("tr.selected", has_text="eta").count() == 0
    expect(page.locator(".plot canvas")).to_have_count(1)
    assert watched.accessible() == []
    page = watched.open(f"/runs/{runs[1]}")
    expect(page.locator(".plot canvas")).to_have_count(1)
    files, view = page.get_by_role("region", name="Files"), page.get_by_role("region", name="File", exact=True)
    files.get_by_role("link", name="notes/").click()
    files.get_by_role("link", name="hello.txt").click()
    expect(view.locator("pre")).to_have_text("hello <b>there</b>")
    files.get_by_role("link", name="..").click()
    files.get_by_role("link", name="d.json").click()
    expect(view.locator("pre")).to_contain_text('"a": [')
    files.get_by_role("link", name="t.csv").click()
    expect(view.get_by_role("cell", name="2")).to_be_visible()
    files.get_by_role("link", name="dot.svg").click()
    expect(view.locator("img")).to_be_visible()
    assert page.evaluate("document.querySelector('img.preview').naturalWidth") > 0
    # A page among the artifacts is shown, and its script does not run: the browser says so, which is what is wanted.
    faults = list(watched.faults)
    files.get_by_role("link", name="report.html").click()
    expect(view.frame_locator("iframe").get_by_role("heading", name="Report")).to_be_visible()
    page.wait_for_timeout(200)
    assert all("sandbox" in fault for fault in watched.faults[len(faults):]), watched.faults
    watched.faults[:] = faults
    assert watched.accessible() == []
    # Away, back, and for good.
    confirm(page, page.get_by_role("button", name="Delete run"))
    expect(page.get_by_role("status")).to_contain_text("in the trash")
    page = watched.open("/trash")
    page.get_by_role("button", name="Restore run run-1").click()
    expect(page.get_by_role("status")).to_have_text("The run is restored.")
    page = watched.open(f"/experiments/{experiment}")
    page.get_by_label("Choose run run-3").check()
    confirm(page, page.get_by_role("button", name="Delete chosen runs"))
    expect(page.get_by_role("status")).to_contain_text("in the trash")
    page = watched.open("/trash")
    confirm(page, page.get_by_role("button", name="Empty the trash"))
    expect(page.get_by_text("The trash is empty. What is deleted")).to_be_visible()
    left = mlflow.MlflowClient().search_runs([experiment], run_view_type=3)
    assert sorted(run.info.run_name for run in left) == ["run-0", "run-1", "run-2", "run-4"]
    page = watched.open(f"/experiments/{experiment}")
    confirm(page, page.get_by_role("button", name="Delete experiment"))
    expect(page.get_by_role("status")).to_contain_text("in the trash")
    page = watched.open("/trash")
    page.get_by_role("button", name="Restore experiment search").click()
    expect(page.get_by_role("status")).to_have_text("The experiment is restored.")


def test_models_change_stages_and_aliases(watched, shop):
    page = watched.open("/models")
    page.get_by_role("link", name="fraud_detection").click()
    row = page.locator("tbody tr").filter(has=page.get_by_text("failed", exact=False)).first
    row.get_by_text("More", exact=True).click()
    row.get_by_role("textbox", name="Alias").fill("looked-at")
    row.get_by_role("button", name="Set").click()
    expect(page.get_by_text("looked-at", exact=True)).to_be_visible()
    confirm(page, page.get_by_role("button", name="Remove alias looked-at"))
    expect(page.get_by_role("status")).to_have_text("The alias is removed.")
    row = page.locator("tbody tr").filter(has=page.get_by_text("failed", exact=False)).first
    row.get_by_text("More", exact=True).click()
    row.get_by_label("Stage").select_option("Archived")
    confirm(page, row.get_by_role("button", name="Move", exact=True))
    expect(page.locator("tbody tr .tag", has_text="Archived").first).to_be_visible()
    row = page.locator("tbody tr").filter(has=page.get_by_text("failed", exact=False)).first
    row.get_by_text("More", exact=True).click()
    row.get_by_label("Description").fill("amounts in cents")
    row.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("amounts in cents")).to_be_visible()


def test_settings_say_what_is_loaded_where_and_no_secret(watched, shop):
    page = watched.open("/settings")
    expect(page.get_by_role("cell", name="fraud_detection", exact=True).first).to_be_visible()
    expect(page.get_by_text("Slack's shape to hooks.example")).to_be_visible()
    assert "secret-part" not in page.content()


def test_the_keyboard_reaches_everything_and_a_phone_reads_it(browser, shop):
    watched = Watched(browser, shop.tracking, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for path in PAGES:
        page = watched.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    seen = set()
    page = watched.open("/models/fraud_detection")
    for _ in range(80):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.getAttribute('href') || document.activeElement.innerText"))
    assert {"/settings", "More"} <= {text.split("?")[0] for text in seen if text}, seen
    watched.close()
    watched.check()


def test_pages_show_nobody_what_they_may_not_see(browser, tmp_path):
    state = tmp_path / "state"

    def serin(*arguments):
        done = subprocess.run([SERIN, *arguments, "--state", str(state)], capture_output=True, text=True, env=CLEAN)
        assert done.returncode == 0, done.stderr
        return done.stdout

    passwords = {}
    for name, *options in [("ana", "--admin"), ("bo", "--permission", "READ"), ("no", "--permission", "NO_PERMISSIONS")]:
        passwords[name] = serin("user", "add", name, *options).strip().rsplit(" ", 1)[1]
    with running(serin_server(tmp_path, "--auth", "--static-prefix", "/mlflow")) as server:
        def header(name):
            return {"Authorization": "Basic " + base64.b64encode(f"{name}:{passwords[name]}".encode()).decode()}

        api = f"{server.url}/mlflow/api/2.0/mlflow"
        experiment = ask(f"{api}/experiments/create", {"name": "secret"}, header("ana"))["experiment_id"]
        run = ask(f"{api}/runs/create", {"experiment_id": experiment, "run_name": "hidden"}, header("ana"))["run"]["info"]["run_id"]
        ask(f"{api}/registered-models/create", {"name": "vault"}, header("ana"))
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.url}/mlflow")
        assert refused.value.code == 401 and "Basic" in refused.value.headers["WWW-Authenticate"]
        for name, level in [("ana", 2), ("bo", 1), ("no", 0)]:
            watched = Watched(browser, server.url, http_credentials={"username": name, "password": passwords[name]})
            watched.allowed = {401, 403}
            page = watched.open("/mlflow/experiments")
            assert page.get_by_role("link", name="secret").count() == min(level, 1)
            page = watched.open("/mlflow/models")
            assert page.get_by_role("link", name="vault").count() == min(level, 1)
            for path in [f"/mlflow/experiments/{experiment}", f"/mlflow/runs/{run}", "/mlflow/models/vault"]:
                page = watched.open(path)
                title = page.get_by_role("heading", level=1)
                (expect(title).not_to_have_text if level else expect(title).to_have_text)("Not permitted")
            page = watched.open(f"/mlflow/runs/{run}") if level else page
            assert page.get_by_role("button", name="Delete run").count() == (level == 2)
            page = watched.open("/mlflow/settings")
            assert ("Shown to administrators" in page.content()) == (level < 2)
            for path in ["trash/empty", f"runs/{run}/delete", f"experiments/{experiment}/delete", "models/vault/alias"]:
                if level == 2:
                    continue
                request = urllib.request.Request(f"{server.url}/mlflow/{path}", b"", {**header(name), "content-type": "application/x-www-form-urlencoded"})
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(request)
                assert refused.value.code == 403, (name, path)
            watched.close()
            watched.check()
        # Another site's page may not press our buttons.
        request = urllib.request.Request(f"{server.url}/mlflow/trash/empty", b"", {**header("ana"), "Origin": "https://evil.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == 403
        with urllib.request.urlopen(urllib.request.Request(f"{server.url}/mlflow/", headers=header("ana"))) as got:
            policy = got.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            assert "/mlflow/assets/" in got.read().decode()


@pytest.mark.parametrize("database", ["ours", "ours_on_postgres"])
def test_empty_pages_say_what_to_do(browser, database, request):
    watched = Watched(browser, request.getfixturevalue(database).url)
    for path in ["/", "/rollouts", "/drift", "/decisions", "/performance", "/experiments", "/models", "/settings", "/trash"]:
        page = watched.open(path)
        assert page.locator(".empty, .quiet, tbody tr").count() > 0, path
        assert watched.accessible() == [], path
    watched.close()
    watched.check()


def test_a_server_stops_at_once_though_somebody_watches(browser, tmp_path):
    server = serin_server(tmp_path, "--scoring-url", "http://127.0.0.1:9")
    watched = Watched(browser, server.url)
    try:
        page = watched.open("/rollouts")
        expect(page.get_by_text("No scoring server that answers")).to_be_visible()
        assert "127.0.0.1:9" in watched.open("/settings").content() and page.get_by_text("no answer").count() == 1
        watched.open("/rollouts")
        page.wait_for_timeout(500)
    finally:
        server.stop()
    assert "still open" not in server.log.read_text() and server.process.returncode == 0
    watched.close()


def test_mlflows_own_pages_work_on_our_database(browser, tmp_path):
    import mlflow

    with running(serin_server(tmp_path)) as server:
        mlflow.set_tracking_uri(server.url)
        experiment = mlflow.set_experiment("shared").experiment_id
        with mlflow.start_run(run_name="seen-by-both"):
            mlflow.log_metric("auc", 0.75)
        watched = Watched(browser, server.url)
        expect(watched.open(f"/experiments/{experiment}").get_by_role("link", name="seen-by-both")).to_be_visible()
        watched.close()
        watched.check()
    with running(mlflow_server(tmp_path, f"sqlite:///{tmp_path}/state/serin.db")) as theirs:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(f"{theirs.url}/#/experiments/{experiment}/runs")
        expect(page.get_by_text("seen-by-both").first).to_be_visible(timeout=90_000)
        context.close()
