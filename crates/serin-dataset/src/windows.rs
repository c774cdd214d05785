//! The 12 windowed columns of the published data, computed in one pass over transactions in time order.
//!
//! Rules (checked against the published file): windows are (t - w, t] and include the current transaction;
//! terminal windows end 7 days earlier, since a fraud is only known after the label delay; the risk of a
//! terminal without transactions is 0.

use std::collections::HashMap;

const DAY: i64 = 86_400;
/// Days until a fraud label is known.
pub const LABEL_DELAY_DAYS: i64 = 7;
/// Window lengths in days.
pub const DAYS: [i64; 3] = [1, 7, 30];

/// Windowed values of one transaction, for windows of 1, 7 and 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Windowed {
    /// Transactions of the customer.
    pub customer_count: [f64; 3],
    /// Mean amount of the customer.
    pub customer_average: [f64; 3],
    /// Transactions at the terminal, label delay respected.
    pub terminal_count: [f64; 3],
    /// Share of frauds among them.
    pub terminal_risk: [f64; 3],
}

/// State of the running windows.
#[derive(Debug, Default)]
pub struct Windows {
    customers: HashMap<u32, History>,
    terminals: HashMap<u32, History>,
}

/// Times and running totals of one entity; `starts` remember where each window began last time.
#[derive(Debug, Default)]
struct History {
    times: Vec<i64>,
    /// `totals[i]` is the sum over the first i transactions.
    totals: Vec<f64>,
    starts: [usize; 7],
}

impl History {
    fn push(&mut self, time: i64, value: f64) {
        if self.totals.is_empty() {
            self.totals.push(0.0);
        }
        let total = self.totals[self.times.len()] + value;
        self.times.push(time);
        self.totals.push(total);
    }

    /// Transactions at or before `time`.
    fn up_to(&mut self, slot: usize, time: i64) -> usize {
        let start = &mut self.starts[slot];
        while *start < self.times.len() && self.times[*start] <= time {
            *start += 1;
        }
        *start
    }
}

impl Windows {
    /// Values for the next transaction. Transactions come in time order; `seconds` since any fixed day's
    /// midnight.
    pub fn next(&mut self, seconds: i64, customer: u32, terminal: u32, amount: f64, fraud: bool) -> Windowed {
        let mut windowed = Windowed::default();
        let history = self.customers.entry(customer).or_default();
        history.push(seconds, amount);
        let now = history.times.len();
        for (slot, days) in DAYS.iter().enumerate() {
            let before = history.up_to(slot, seconds - days * DAY);
            let count = (now - before) as f64;
            windowed.customer_count[slot] = count;
            windowed.customer_average[slot] = (history.totals[now] - history.totals[before]) / count;
        }
        let history = self.terminals.entry(terminal).or_default();
        history.push(seconds, f64::from(u8::from(fraud)));
        let known = history.up_to(3, seconds - LABEL_DELAY_DAYS * DAY);
        for (slot, days) in DAYS.iter().enumerate() {
            let before = history.up_to(slot, seconds - (LABEL_DELAY_DAYS + days) * DAY);
            let count = (known - before) as f64;
            windowed.terminal_count[slot] = count;
            let frauds = history.totals[known] - history.totals[before];
            windowed.terminal_risk[slot] = if count > 0.0 { frauds / count } else { 0.0 };
        }
        windowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_open_at_the_start_and_include_the_present() {
        let mut windows = Windows::default();
        windows.next(0, 1, 1, 10.0, true);
        let exactly_a_day_later = windows.next(DAY, 1, 1, 20.0, false);
        assert_eq!(exactly_a_day_later.customer_count, [1.0, 2.0, 2.0]);
        assert_eq!(exactly_a_day_later.customer_average, [20.0, 15.0, 15.0]);
        assert_eq!(exactly_a_day_later.terminal_count, [0.0; 3], "labels are 7 days late");
        let a_week_later = windows.next(7 * DAY, 2, 1, 5.0, false);
        assert_eq!(a_week_later.terminal_count, [1.0; 3]);
        assert_eq!(a_week_later.terminal_risk, [1.0; 3]);
        let later = windows.next(8 * DAY, 2, 1, 5.0, false);
        assert_eq!(later.terminal_count, [1.0, 2.0, 2.0]);
        assert_eq!(later.terminal_risk, [0.0, 0.5, 0.5]);
    }

    #[test]
    fn a_tie_sees_what_came_before_it_in_the_file() {
        let mut windows = Windows::default();
        assert_eq!(windows.next(5, 1, 1, 1.0, false).customer_count[0], 1.0);
        assert_eq!(windows.next(5, 1, 1, 3.0, false).customer_count[0], 2.0);
    }
}
