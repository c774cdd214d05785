//! The stated error rate, kept; and how soon harm is seen. `make proof-delivery` runs it with 10,000 rollouts a line and
//! prints the tables; `PROOF_RUNS` sets the number.
#![expect(clippy::print_stdout, reason = "test code; the tables are what one looks at")]

use serin_analysis::evidence::allocation::{Allocation, Events};
use serin_analysis::evidence::paired::{Paired, ln_e_discordant};
use serin_analysis::evidence::{Counts, Limits, judge};
use serin_analysis::rollout::Judgement;

fn runs() -> usize {
    std::env::var("PROOF_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(400)
}

/// SplitMix64: the seed is the run.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 500.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0);
        while product > limit {
            product *= self.uniform();
            count += 1;
        }
        count
    }

    fn binomial(&mut self, n: u64, p: f64) -> u64 {
        let variance = n as f64 * p * (1.0 - p);
        if variance > 100.0 {
            return (n as f64 * p + variance.sqrt() * self.normal()).round().clamp(0.0, n as f64) as u64;
        }
        (0..n).filter(|_| self.uniform() < p).count() as u64
    }
}

/// Thirty looks of a minute at 5, 10, 25 and 50 %.
fn weight(minute: usize) -> u32 {
    [500, 1000, 2500, 5000][(minute / 8).min(3)]
}

/// Minute in which each rule rolls back, if it does.
#[derive(Default)]
struct Outcome {
    flagger: Option<usize>,
    naive: Option<usize>,
    /// For alpha .05, .01 and .001.
    evidence: [Option<usize>; 3],
}

const ALPHAS: [f64; 3] = [0.05, 0.01, 0.001];

fn rollout(random: &mut Random, rps: f64, base: f64, ratio: f64, drift: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut allocation = Allocation::default();
    let (mut failed_checks, mut totals) = (0, [[0_u64; 2]; 2]);
    for minute in 0..30 {
        let weight = weight(minute);
        let w = f64::from(weight) / 1e4;
        // The base rate moves, with an outage of both in the middle.
        let base = if drift && (12..16).contains(&minute) { (base * 8.0).min(0.3) } else { base };
        let requests = random.poisson(rps * 60.0);
        let candidate = random.binomial(requests, w);
        let errors = [random.binomial(candidate, (base * ratio).min(1.0)), random.binomial(requests - candidate, base)];
        // In any order; each one is looked at.
        let (mut left, mut all) = (errors, errors[0] + errors[1]);
        while all > 0 {
            let is_candidates = random.uniform() * (all as f64) < left[0] as f64;
            left[usize::from(!is_candidates)] -= 1;
            all -= 1;
            allocation.add(weight, Events { candidate: u64::from(is_candidates), stable: u64::from(!is_candidates) });
            // Only at the candidate's own events it rises.
            if is_candidates {
                let ln_e = allocation.ln_e_above(1.25);
                for (found, alpha) in outcome.evidence.iter_mut().zip(ALPHAS) {
                    if found.is_none() && ln_e >= -alpha.ln() {
                        *found = Some(minute + 1);
                    }
                }
            }
        }
        // Flagger: success rate of the candidate in this minute, 99 at least, five failed checks; no requests is one.
        let success = if candidate == 0 { 0.0 } else { 1.0 - errors[0] as f64 / candidate as f64 };
        failed_checks += usize::from(success < 0.99);
        if failed_checks == 5 && outcome.flagger.is_none() {
            outcome.flagger = Some(minute + 2);
        }
        // The z-test of two proportions on all so far, at 5 % each minute, one-sided harm.
        for (total, (errors, requests)) in
            totals.iter_mut().zip([(errors[0], candidate), (errors[1], requests - candidate)])
        {
            total[0] += errors;
            total[1] += requests;
        }
        let [[x, n], [y, m]] = totals.map(|[errors, requests]| [errors as f64, requests as f64]);
        let pooled = (x + y) / (n + m).max(1.0);
        let deviation = (pooled * (1.0 - pooled) * (1.0 / n.max(1.0) + 1.0 / m.max(1.0))).sqrt();
        if deviation > 0.0 && (x / n.max(1.0) - y / m.max(1.0)) / deviation > 1.96 && outcome.naive.is_none() {
            outcome.naive = Some(minute + 1);
        }
    }
    outcome
}

/// 95 % interval of a share (Wilson).
fn interval(count: usize, n: usize) -> (f64, f64) {
    let (p, n, z) = (count as f64 / n as f64, n as f64, 1.96_f64);
    let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), centre + half)
}

#[test]
fn harmless_candidates_are_rolled_back_no_oftener_than_stated() {
    let n = runs();
    println!(
        "false rollbacks of {n} A/A rollouts a line: 30 minutes, weights 5/10/25/50 %, looked at after every event"
    );
    println!(
        "{:>6} {:>8} {:>10} {:>9} {:>9} | at r = 1.25, the edge of what is tolerated",
        "rps", "errors", "Flagger", "z-test", "E .001"
    );
    let mut all = [0_usize; 3];
    for (rps, base) in [(0.2, 0.002), (2.0, 0.008), (20.0, 0.002), (20.0, 0.008), (200.0, 0.002)] {
        let mut counts = [0_usize; 3];
        let mut edge = [0_usize; 3];
        for run in 0..n {
            let mut random = Random(run as u64 * 7919 + (rps * 1000.0) as u64 + (base * 1e6) as u64);
            let healthy = rollout(&mut random, rps, base, 1.0, run % 2 == 1);
            counts[0] += usize::from(healthy.flagger.is_some());
            counts[1] += usize::from(healthy.naive.is_some());
            counts[2] += usize::from(healthy.evidence[2].is_some());
            let at_the_edge = rollout(&mut random, rps, base, 1.25, run % 2 == 1);
            for (count, found) in edge.iter_mut().zip(at_the_edge.evidence) {
                *count += usize::from(found.is_some());
            }
        }
        let share = |count: usize| format!("{:.2} %", count as f64 / n as f64 * 100.0);
        let edges: Vec<String> = edge
            .iter()
            .zip(ALPHAS)
            .map(|(count, alpha)| {
                let (low, high) = interval(*count, n);
                format!("alpha {alpha}: {} [{:.2}, {:.2}]", share(*count), low * 100.0, high * 100.0)
            })
            .collect();
        println!(
            "{rps:>6} {:>7.1}% {:>10} {:>9} {:>9} | {}",
            base * 100.0,
            share(counts[0]),
            share(counts[1]),
            share(counts[2]),
            edges.join("  ")
        );
        for ((count, alpha), all) in edge.iter().zip(ALPHAS).zip(&mut all) {
            *all += count;
            assert!(interval(*count, n).0 <= alpha, "{count} of {n} at alpha {alpha}");
        }
    }
    for (count, alpha) in all.into_iter().zip(ALPHAS) {
        assert!(interval(count, 5 * n).0 <= alpha, "{count} of {} at alpha {alpha}", 5 * n);
    }
}

/// Events of both arms until the allocation process at this weight reaches 1/alpha.
fn events_to_detect(random: &mut Random, weight: u32, ratio: f64) -> u64 {
    let w = f64::from(weight) / 1e4;
    let p = w * ratio / (1.0 - w + w * ratio);
    let mut allocation = Allocation::default();
    for events in 1..200_000 {
        let candidate = u64::from(random.uniform() < p);
        allocation.add(weight, Events { candidate, stable: 1 - candidate });
        if candidate == 1 && allocation.ln_e_above(1.25) >= 1000_f64.ln() {
            return events;
        }
    }
    u64::MAX
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
fn harm_is_seen_as_soon_as_was_simulated_before() {
    // Medians of an independent simulation (notes/delivery.md, 4.3), alpha 0.001, tolerance 1.25.
    let before = [
        (500, 2.0, 1120),
        (500, 3.0, 220),
        (500, 5.0, 75),
        (500, 10.0, 22),
        (500, 50.0, 5),
        (500, 100.0, 3),
        (2500, 1.5, 2650),
        (2500, 2.0, 350),
        (2500, 3.0, 83),
        (2500, 5.0, 34),
        (2500, 10.0, 13),
        (5000, 2.0, 320),
        (5000, 3.0, 104),
        (5000, 5.0, 46),
        (5000, 10.0, 25),
    ];
    let n = (runs() / 2).clamp(200, 2000);
    println!("events of both arms until the rollback, median of {n} (an independent simulation in brackets)");
    for (weight, ratio, expected) in before {
        let found = median(
            (0..n)
                .map(|run| events_to_detect(&mut Random(run as u64 * 104_729 + u64::from(weight)), weight, ratio))
                .collect(),
        );
        println!("  weight {:>4} %, {ratio:>5} times the errors: {found:>5} ({expected})", weight / 100);
        // Small medians jump by whole events.
        let near = (found as f64 - f64::from(expected)).abs() <= (0.15 * f64::from(expected)).max(2.0);
        assert!(near, "{found} is not within 15 % of {expected}");
    }
    println!("discordant pairs until the rollback (shadow)");
    for (share, expected) in [(1.0, 14), (0.9, 22), (0.8, 38), (0.7, 83), (0.6, 401)] {
        let found = median(
            (0..n)
                .map(|run| {
                    let mut random = Random(run as u64 * 15_485_863 + 1);
                    let (mut worse, mut better) = (0, 0);
                    while ln_e_discordant(worse, better) < 1000_f64.ln() {
                        if random.uniform() < share { worse += 1 } else { better += 1 }
                    }
                    worse + better
                })
                .collect(),
        );
        println!("  {:>3.0} % one way: {found:>4} ({expected})", share * 100.0);
        // Another mixture than there, so only slower would be wrong.
        assert!(found as f64 <= 1.15 * f64::from(expected), "{found} for {expected}");
    }
    println!(
        "minutes until the rollback at the weights 5/10/25/50 %, median (share found in 30 minutes), errors 0.2 %"
    );
    for rps in [0.2, 2.0, 20.0, 200.0] {
        let line: Vec<String> = [1.5, 2.0, 5.0, 10.0, 100.0]
            .into_iter()
            .map(|ratio| {
                let found: Vec<u64> = (0..n.min(400))
                    .filter_map(|run| {
                        rollout(&mut Random(run as u64 * 31 + 5), rps, 0.002, ratio, false).evidence[2]
                            .map(|minute| minute as u64)
                    })
                    .collect();
                let share = found.len() as f64 / n.min(400) as f64 * 100.0;
                let median = if found.is_empty() { "—".to_owned() } else { median(found).to_string() };
                format!("{ratio}x {median} ({share:.0} %)")
            })
            .collect();
        println!("  {rps:>5} requests/s: {}", line.join("   "));
    }
}

/// A retrain that differs on a few rows around the threshold, both ways alike.
fn shadow(random: &mut Random, alert_rate: f64, flips: f64, ratio: f64, requests: usize) -> Option<usize> {
    let mut paired = Paired::default();
    let limits = Limits::default();
    for request in 0..requests {
        let stable = random.uniform() < alert_rate;
        let flipped = random.uniform() < flips;
        let candidate =
            if stable { !flipped } else { random.uniform() < alert_rate * (ratio - 1.0 + flips) / (1.0 - alert_rate) };
        match (stable, candidate) {
            (true, true) => paired.both += 1,
            (false, true) => paired.raised += 1,
            (true, false) => paired.lowered += 1,
            (false, false) => paired.neither += 1,
        }
        if (stable || candidate)
            && matches!(judge(&Counts { paired, ..Counts::default() }, &limits).judgement, Judgement::Fail(_))
        {
            return Some(request + 1);
        }
    }
    None
}

#[test]
fn shadow_lets_harmless_retrains_pass_and_stops_a_flood_of_alerts() {
    let n = (runs() / 4).min(400);
    let stopped = (0..n).filter(|run| shadow(&mut Random(*run as u64 * 613), 0.01, 0.2, 1.0, 20_000).is_some()).count();
    println!("{stopped} of {n} harmless retrains (a fifth of the alerts differ) were stopped in the shadow");
    assert!(interval(stopped, n).0 <= 0.001);
    for (ratio, most) in [(50.0, 200), (5.0, 2000), (2.5, 10_000)] {
        let found: Vec<u64> = (0..n.min(100))
            .map(|run| {
                shadow(&mut Random(run as u64 * 17 + 3), 0.01, 0.1, ratio, 200_000).map_or(u64::MAX, |at| at as u64)
            })
            .collect();
        let found = median(found);
        println!("{ratio} times the alerts (1 %): stopped after {found} requests, nobody exposed");
        assert!(found < most, "{found}");
    }
}

#[test]
fn evidence_of_several_processes_is_judged_as_if_it_were_of_one() {
    let mut random = Random(5);
    let (mut one, mut parts) = (Counts::default(), vec![Counts::default(); 3]);
    for _ in 0..2000 {
        let part = (random.uniform() * 3.0) as usize;
        let candidate = u64::from(random.uniform() < 0.1);
        let events = Events { candidate, stable: 1 - candidate };
        let raised = u64::from(random.uniform() < 0.02);
        for counts in [&mut one, &mut parts[part]] {
            counts.errors.add(1000, events);
            counts.alerts.add(1000, events);
            counts.paired.raised += raised;
            counts.paired.neither += 1 - raised;
        }
    }
    let mut merged = Counts::default();
    for part in parts {
        merged.merge(&part);
    }
    assert_eq!(merged, one);
    let read: Counts = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    assert_eq!(judge(&read, &Limits::default()), judge(&one, &Limits::default()));
}
