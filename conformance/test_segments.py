"""A candidate that is alike on the whole and flags one segment: `serin.dev/segments`."""

from test_rollout import CANARY, Shop, run

NAMES = "serin.dev/segments: \"TX_DURING_NIGHT, TX_DURING_WEEKEND, NO_SUCH\", serin.dev/max-disagreement: \"0.89\""


def test_a_candidate_that_flags_one_segment_is_stopped_and_the_segment_named(tmp_path):
    canary = CANARY.replace("{serin.dev/min-shadow: 300ms}", f"{{serin.dev/min-shadow: 2s, {NAMES}}}")
    shop = Shop(tmp_path, canary=canary)
    try:
        # The largest amounts of nights are frauds in its data: it gives them a part of the alerts of the day.
        nights = shop.frame.TX_AMOUNT.where(shop.frame.TX_DURING_NIGHT == 1, 0)
        taken = nights >= nights.nlargest(int(0.05 * len(nights))).min()
        phase, message, exposed, asked = shop.release(shop.train(shop.frame.assign(TX_FRAUD=shop.frame.TX_FRAUD.where(~taken, 1))))
        print(f"{phase} after {asked} requests, {exposed} decided by it: {message}")
        assert phase == "Failed" and "segment: " in message and "where TX_DURING_" in message, message
        assert exposed < 0.1 * asked
        shown = shop.status()
        segments = {one["segment"]: one for one in shown["segments"]}
        assert set(segments) == {"TX_DURING_NIGHT=0", "TX_DURING_NIGHT=1", "TX_DURING_WEEKEND=0", "TX_DURING_WEEKEND=1"}
        assert segments["TX_DURING_NIGHT=1"]["alert_ratio"] > 2.25 and segments["TX_DURING_NIGHT=0"]["requests"] > 1000
        assert segments["TX_DURING_NIGHT=0"]["requests"] + segments["TX_DURING_NIGHT=1"]["requests"] == shown["shadow"]["requests"]
        assert any("no column \"NO_SUCH\"" in entry["message"] for entry in shown["history"])
        # An honest one passes with them.
        version = shop.train(shop.frame.sample(frac=0.9, random_state=1).sort_values("TX_DATETIME"))
        phase, message, *_ = shop.release(version)
        assert phase == "Succeeded", message
    finally:
        shop.stop()


def test_a_tolerance_that_is_none_is_refused(tmp_path):
    file = tmp_path / "canary.yaml"
    file.write_text(CANARY.replace("{serin.dev/min-shadow: 300ms}", "{serin.dev/segments: a, serin.dev/segment-tolerance: \"0.5\"}"))
    printed = run("rollout", "explain", file, ok=False)
    assert "segment-tolerance" in printed and "above 1" in printed
    file.write_text(CANARY.replace("{serin.dev/min-shadow: 300ms}", "{serin.dev/slow: \"100ms, 20ms\"}"))
    assert "ascending durations" in run("rollout", "explain", file, ok=False)
    file.write_text(CANARY.replace("{serin.dev/min-shadow: 300ms}", "{serin.dev/min-shadow-requests: many}"))
    assert "a number of requests" in run("rollout", "explain", file, ok=False)
    file.write_text(CANARY.replace("{serin.dev/min-shadow: 300ms}", "{serin.dev/min-shadow: 5s, serin.dev/min-shadow-requests: \"700\"}"))
    assert "at least 5 s and 700 requests" in run("rollout", "explain", file)
