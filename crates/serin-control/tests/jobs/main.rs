//! What the tracking server does by itself, on a clock that the tests move: jobs, the outbox of alerts, the monitor's hours.
#![expect(clippy::unwrap_used, reason = "test code")]

mod apart;
mod hours;
mod house;
mod outbox;
mod triggers;
