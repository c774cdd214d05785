//! Payments to try things on: a generator after the published design of the Fraud Detection Handbook
//! (Le Borgne and others), written from its prose.
//!
//! Customers and terminals lie on a 100 x 100 plane; a customer pays at terminals within a radius, a Poisson
//! number of times a day, amounts normal around a mean of their own. Fraud: amounts above 220 (scenario 1),
//! two terminals a day compromised for 28 days (2), three customers a day for 14 days with a third of their
//! payments five times as high (3). Every draw comes from a stream named by (seed, purpose, customer or day):
//! the same seed gives the same bytes whatever else changes. A simulated figure is never a real-world one.

use crate::random::Random;
use crate::windows::{Windowed, Windows};

/// Midnight (UTC) of 2018-04-01, the first day of the published data, epoch milliseconds.
pub const FIRST_DAY_MS: i64 = 1_522_540_800_000;
const SECONDS: i64 = 86_400;

/// Size and seed of a simulation.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// Number of customers that pay.
    pub customers: usize,
    /// Number of terminals that are paid at.
    pub terminals: usize,
    /// Number of days from 2018-04-01.
    pub days: u32,
    /// Seed from which all random streams are made.
    pub seed: u64,
    /// Distance up to which a customer reaches terminals, on the map of the published simulator.
    pub radius: f64,
    /// Drifts to put into the data, each from a day on.
    pub drifts: Vec<Drift>,
}

impl Default for Simulation {
    /// The published sizes: 5,000 customers, 10,000 terminals, 183 days, radius 5.
    fn default() -> Self {
        Self { customers: 5_000, terminals: 10_000, days: 183, seed: 0, radius: 5.0, drifts: Vec::new() }
    }
}

/// Change of the data from one day on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Kind of change that begins on that day.
    pub kind: DriftKind,
    /// Day on which it begins; 0 is the first day of the simulation.
    pub day: u32,
}

/// Kinds of change that the other parts of serin must survive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriftKind {
    /// Amounts are written in cents.
    Cents,
    /// A new fraud: four customers a day are drained by ten small payments before dawn (scenario 4).
    NewPattern,
    /// Half of the customers pay 1.6 times as much.
    ShiftedPopulation,
    /// The named column is empty.
    Null(String),
}

/// Text that names no change of the simulation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDrift {
    /// The text has another form.
    #[error("{0:?}: write KIND@DAY with KIND one of cents, new-pattern, shifted-population, null:COLUMN")]
    Unreadable(String),
    /// The column is not one that can go null.
    #[error("no column {0:?} can go null; choose from {names}", names = NULLABLE.join(", "))]
    NoColumn(String),
}

impl std::str::FromStr for Drift {
    type Err = InvalidDrift;

    /// Reads `cents@60`, `new-pattern@60`, `shifted-population@60` or `null:COLUMN@60`; the number is the day.
    fn from_str(text: &str) -> Result<Self, InvalidDrift> {
        let usage = || InvalidDrift::Unreadable(text.to_owned());
        let (kind, day) = text.rsplit_once('@').ok_or_else(usage)?;
        let day = day.parse().map_err(|_| usage())?;
        let kind = match kind {
            "cents" => DriftKind::Cents,
            "new-pattern" => DriftKind::NewPattern,
            "shifted-population" => DriftKind::ShiftedPopulation,
            other => match other.strip_prefix("null:") {
                Some(column) if NULLABLE.contains(&column) => DriftKind::Null(column.to_owned()),
                Some(column) => return Err(InvalidDrift::NoColumn(column.to_owned())),
                None => return Err(usage()),
            },
        };
        Ok(Self { kind, day })
    }
}

/// Names of the 15 features of the published models: what is known of a payment when it is made.
pub const FEATURES: [&str; 15] = [
    "TX_AMOUNT",
    "TX_DURING_WEEKEND",
    "TX_DURING_NIGHT",
    "CUSTOMER_ID_NB_TX_1DAY_WINDOW",
    "CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW",
    "CUSTOMER_ID_NB_TX_7DAY_WINDOW",
    "CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW",
    "CUSTOMER_ID_NB_TX_30DAY_WINDOW",
    "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW",
    "TERMINAL_ID_NB_TX_1DAY_WINDOW",
    "TERMINAL_ID_RISK_1DAY_WINDOW",
    "TERMINAL_ID_NB_TX_7DAY_WINDOW",
    "TERMINAL_ID_RISK_7DAY_WINDOW",
    "TERMINAL_ID_NB_TX_30DAY_WINDOW",
    "TERMINAL_ID_RISK_30DAY_WINDOW",
];

/// Columns that [`DriftKind::Null`] can empty: the amount and the 12 windowed ones.
pub const NULLABLE: [&str; 13] = {
    let mut columns = [FEATURES[0]; 13];
    let mut i = 1;
    while i < 13 {
        columns[i] = FEATURES[i + 2];
        i += 1;
    }
    columns
};

/// One simulated payment with its windowed columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// Position in time order, from 0.
    pub id: u32,
    /// Seconds since the first day's midnight.
    pub seconds: i64,
    /// Number of the customer who pays, from 0.
    pub customer: u32,
    /// Number of the terminal that is paid at, from 0.
    pub terminal: u32,
    /// Amount of the payment, as written in the file.
    pub amount: f64,
    /// Scenario of the payment: 0 genuine, 1 to 3 the published fraud scenarios, 4 the injected one.
    pub scenario: u8,
    /// Windowed columns of the payment: counts, mean amounts and risks.
    pub windowed: Windowed,
}

#[derive(Debug)]
struct Customer {
    mean_amount: f64,
    payments_a_day: f64,
    terminals: Vec<u32>,
    shifts: bool,
}

/// Draws of one payment before frauds are laid over it.
#[derive(Debug)]
struct Payment {
    seconds: i64,
    customer: u32,
    terminal: u32,
    amount: f64,
    scenario: u8,
}

#[derive(Clone, Copy)]
enum Stream {
    Terminals = 1,
    Customers = 2,
    Payments = 3,
    CompromisedTerminals = 4,
    CompromisedCustomers = 5,
    Drained = 6,
}

impl Simulation {
    fn stream(&self, purpose: Stream, number: u64) -> Random {
        Random::new(self.seed, purpose as u64, number)
    }

    fn happens(&self, kind: &DriftKind, day: u32) -> bool {
        self.drifts.iter().any(|drift| drift.kind == *kind && day >= drift.day)
    }

    /// Generates the payments day by day in time order and hands each day to `sink`.
    ///
    /// # Errors
    /// The sink's.
    pub fn run<E>(&self, mut sink: impl FnMut(u32, &[Transaction]) -> Result<(), E>) -> Result<(), E> {
        let customers = self.population();
        let mut compromised_terminal = vec![i64::MIN; self.terminals];
        let mut compromised_customer = vec![i64::MIN; self.customers];
        let mut windows = Windows::default();
        let mut id = 0;
        let mut transactions = Vec::new();
        for day in 0..self.days {
            let today = i64::from(day);
            compromise(
                &mut compromised_terminal,
                &mut self.stream(Stream::CompromisedTerminals, u64::from(day)),
                2,
                today + 28,
            );
            compromise(
                &mut compromised_customer,
                &mut self.stream(Stream::CompromisedCustomers, u64::from(day)),
                3,
                today + 14,
            );
            let mut payments = self.payments_of(day, &customers, &compromised_customer);
            payments.sort_by_key(|payment| (payment.seconds, payment.customer));
            let cents = self.happens(&DriftKind::Cents, day);
            transactions.clear();
            for mut payment in payments {
                if payment.scenario == 0 && today < compromised_terminal[payment.terminal as usize] {
                    payment.scenario = 2;
                }
                let amount = if cents { payment.amount * 100.0 } else { payment.amount };
                let fraud = payment.scenario > 0;
                let windowed = windows.next(payment.seconds, payment.customer, payment.terminal, amount, fraud);
                transactions.push(Transaction {
                    id,
                    seconds: payment.seconds,
                    customer: payment.customer,
                    terminal: payment.terminal,
                    amount,
                    scenario: payment.scenario,
                    windowed,
                });
                id += 1;
            }
            self.empty_columns(day, &mut transactions);
            sink(day, &transactions)?;
        }
        Ok(())
    }

    fn payments_of(&self, day: u32, customers: &[Customer], compromised: &[i64]) -> Vec<Payment> {
        let shifted = self.happens(&DriftKind::ShiftedPopulation, day);
        let mut payments = Vec::new();
        let midnight = i64::from(day) * SECONDS;
        for (number, customer) in customers.iter().enumerate() {
            let mut random = self.stream(Stream::Payments, (number as u64) << 20 | u64::from(day));
            for _ in 0..random.poisson(customer.payments_a_day) {
                let second = random.normal(SECONDS as f64 / 2.0, 20_000.0);
                if second <= 0.0 || second >= SECONDS as f64 || customer.terminals.is_empty() {
                    continue;
                }
                let mut amount = random.normal(customer.mean_amount, customer.mean_amount / 2.0);
                if amount < 0.0 {
                    amount = random.between(0.0, 2.0 * customer.mean_amount);
                }
                if shifted && customer.shifts {
                    amount *= 1.6;
                }
                let terminal = customer.terminals[random.index(customer.terminals.len())];
                let stolen = i64::from(day) < compromised[number] && random.unit() < 1.0 / 3.0;
                let amount = round_to_cents(if stolen { amount * 5.0 } else { amount });
                let scenario = if stolen { 3 } else { u8::from(amount > 220.0) };
                payments.push(Payment {
                    seconds: midnight + second as i64,
                    customer: number as u32,
                    terminal,
                    amount,
                    scenario,
                });
            }
        }
        if self.happens(&DriftKind::NewPattern, day) && !customers.is_empty() {
            let mut random = self.stream(Stream::Drained, u64::from(day));
            for _ in 0..4 {
                let number = random.index(customers.len());
                let start = midnight + random.between(2.0, 4.5) as i64 * 3_600;
                for step in 0..10 {
                    payments.push(Payment {
                        seconds: start + step * 40 + random.index(30) as i64,
                        customer: number as u32,
                        terminal: random.index(self.terminals) as u32,
                        amount: round_to_cents(random.between(1.0, 9.0)),
                        scenario: 4,
                    });
                }
            }
        }
        payments
    }

    fn population(&self) -> Vec<Customer> {
        let mut random = self.stream(Stream::Terminals, 0);
        let terminals: Vec<(f64, f64)> =
            (0..self.terminals).map(|_| (random.between(0.0, 100.0), random.between(0.0, 100.0))).collect();
        let mut random = self.stream(Stream::Customers, 0);
        (0..self.customers)
            .map(|_| {
                let (x, y) = (random.between(0.0, 100.0), random.between(0.0, 100.0));
                let reach = self.radius * self.radius;
                let near = |&(tx, ty): &(f64, f64)| (tx - x) * (tx - x) + (ty - y) * (ty - y) < reach;
                Customer {
                    mean_amount: random.between(5.0, 100.0),
                    payments_a_day: random.between(0.0, 4.0),
                    terminals: (0..).zip(&terminals).filter(|(_, at)| near(at)).map(|(number, _)| number).collect(),
                    shifts: random.unit() < 0.5,
                }
            })
            .collect()
    }

    fn empty_columns(&self, day: u32, transactions: &mut [Transaction]) {
        for drift in self.drifts.iter().filter(|drift| day >= drift.day) {
            let DriftKind::Null(column) = &drift.kind else { continue };
            let Some(place) = NULLABLE.iter().position(|name| name == column) else { continue };
            for transaction in transactions.iter_mut() {
                *transaction.column_mut(place) = f64::NAN;
            }
        }
    }
}

impl Transaction {
    /// Values of [`NULLABLE`]'s columns, in that order.
    #[must_use]
    pub fn columns(&self) -> [f64; 13] {
        let mut copy = self.clone();
        std::array::from_fn(|place| *copy.column_mut(place))
    }

    fn column_mut(&mut self, place: usize) -> &mut f64 {
        let w = &mut self.windowed;
        match place {
            0 => &mut self.amount,
            1 | 3 | 5 => &mut w.customer_count[(place - 1) / 2],
            2 | 4 | 6 => &mut w.customer_average[(place - 2) / 2],
            7 | 9 | 11 => &mut w.terminal_count[(place - 7) / 2],
            _ => &mut w.terminal_risk[(place - 8) / 2],
        }
    }

    /// True on Saturday or Sunday. The first day, 2018-04-01, is a Sunday.
    #[must_use]
    pub fn during_weekend(&self) -> bool {
        matches!((self.seconds / SECONDS + 6) % 7, 5 | 6)
    }

    /// True before 07:00, as published (hour <= 6).
    #[must_use]
    pub fn during_night(&self) -> bool {
        self.seconds % SECONDS / 3_600 <= 6
    }

    /// Time of the payment, epoch milliseconds.
    #[must_use]
    pub fn time_ms(&self) -> i64 {
        FIRST_DAY_MS + self.seconds * 1_000
    }
}

fn compromise(until: &mut [i64], random: &mut Random, how_many: usize, end: i64) {
    if !until.is_empty() {
        for _ in 0..how_many {
            until[random.index(until.len())] = end;
        }
    }
}

fn round_to_cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(drifts: Vec<Drift>) -> Vec<Transaction> {
        let simulation =
            Simulation { customers: 400, terminals: 800, days: 40, seed: 7, drifts, ..Simulation::default() };
        let mut all = Vec::new();
        let done: Result<(), ()> = simulation.run(|_, day| {
            all.extend_from_slice(day);
            Ok(())
        });
        done.expect("the sink does not fail");
        all
    }

    #[test]
    fn the_same_seed_gives_the_same_payments_in_time_order() {
        let first = small(vec![]);
        assert_eq!(first, small(vec![]));
        assert!(first.windows(2).all(|pair| pair[0].seconds <= pair[1].seconds && pair[0].id + 1 == pair[1].id));
        assert!(first.len() > 20_000, "{}", first.len());
        for scenario in 1..=3 {
            assert!(first.iter().any(|t| t.scenario == scenario), "scenario {scenario} never happened");
        }
        assert!(first.iter().filter(|t| t.amount > 220.0).all(|t| t.scenario > 0));
        assert!(first[0].during_weekend(), "2018-04-01 was a Sunday");
    }

    #[test]
    fn a_drift_changes_nothing_before_its_day() {
        let quiet = small(vec![]);
        for text in ["cents@20", "new-pattern@20", "shifted-population@20", "null:TERMINAL_ID_RISK_7DAY_WINDOW@20"] {
            let drifted = small(vec![text.parse().expect(text)]);
            let before =
                |all: &[Transaction]| all.iter().filter(|t| t.seconds < 20 * SECONDS).cloned().collect::<Vec<_>>();
            assert_eq!(before(&quiet), before(&drifted), "{text}");
            let after = |all: &[Transaction]| {
                all.iter()
                    .filter(|t| t.seconds >= 20 * SECONDS)
                    .map(|t| format!("{:?}", t.columns()))
                    .collect::<Vec<_>>()
            };
            assert_ne!(after(&quiet), after(&drifted), "{text}");
        }
        assert!("null:NOPE@3".parse::<Drift>().is_err());
        assert!("cents".parse::<Drift>().is_err());
    }
}
