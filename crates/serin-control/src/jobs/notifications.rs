//! Job `notifications`: delivers the outbox of alerts to every receiver, each on its own, until it has taken them; and tells
//! Alertmanager again and again of what is on.

use super::{Context, Job, JobError, Outcome};
use crate::monitoring::notify::{self, SendError};
use crate::settings::Receiver;
use futures_util::future::{BoxFuture, join_all};
use serin_store::{Delivery, StoreError, Tried};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Longest time between two runs, milliseconds.
const PERIOD_MS: i64 = 5_000;
/// Time before the second try of a delivery, milliseconds; it doubles with each try.
const FIRST_PAUSE_MS: i64 = 5_000;
/// Longest time between two tries of a delivery, milliseconds.
const LONGEST_PAUSE_MS: i64 = 120_000;
/// Time for which a server has a delivery to itself, milliseconds: longer than a try takes.
const CLAIM_MS: i64 = 60_000;
/// Most deliveries of one receiver that are read at once.
const AT_ONCE: i64 = 100;

/// Deliveries of alerts to all receivers.
pub(super) struct Notifications {
    context: Context,
    /// Time at which each Alertmanager was last told of everything that is on, epoch milliseconds, by the receiver's id.
    repeated: Mutex<BTreeMap<String, i64>>,
}

/// What came of one receiver's deliveries.
#[derive(Default)]
struct Sent {
    taken: usize,
    /// Reasons why deliveries were not taken.
    failed: Vec<SendError>,
}

impl Notifications {
    pub(super) fn new(context: Context) -> Self {
        Self { context, repeated: Mutex::default() }
    }

    async fn run_all(&self) -> Result<Outcome, JobError> {
        let Context { store, settings, .. } = &self.context;
        let now_ms = self.context.now_ms();
        let given_up = store.expire_deliveries(now_ms - settings.alerts.give_up_ms(), now_ms).await?;
        for delivery in &given_up {
            tracing::error!(
                receiver = delivery.receiver,
                "an alert was not delivered and is given up; it says: {}",
                notify::line(&delivery.notice)
            );
        }
        let sent = join_all(settings.alerts.to.iter().map(|receiver| self.deliver(receiver))).await;
        let (mut taken, mut failed) = (0, Vec::new());
        for sent in sent {
            let sent = sent?;
            taken += sent.taken;
            failed.extend(sent.failed);
        }
        failed.extend(self.repeat().await?);
        if let Some(first) = failed.first() {
            return Err(JobError::Undelivered { count: failed.len(), first: first.to_string() });
        }
        Ok(if taken + given_up.len() > 0 { Outcome::Worked } else { Outcome::Idle })
    }

    /// Sends a receiver what is due, oldest first, until it does not take one. The end of an alert waits for its beginning.
    async fn deliver(&self, receiver: &Receiver) -> Result<Sent, StoreError> {
        let store = &self.context.store;
        let id = receiver.id();
        let mut sent = Sent::default();
        loop {
            let due = store.due_deliveries(&id, self.context.now_ms(), AT_ONCE).await?;
            if due.is_empty() {
                return Ok(sent);
            }
            for delivery in due {
                let now_ms = self.context.now_ms();
                if !store.claim_delivery(&delivery, now_ms + CLAIM_MS).await? {
                    continue;
                }
                match notify::send(receiver, &delivery.notice, now_ms).await {
                    Ok(()) => {
                        store.end_delivery(&delivery, Tried::Taken, self.context.now_ms()).await?;
                        sent.taken += 1;
                    }
                    Err(error) => {
                        let now_ms = self.context.now_ms();
                        let next_at_ms = now_ms + pause_ms(&delivery);
                        let tried = Tried::Failed { next_at_ms, error: error.to_string() };
                        store.end_delivery(&delivery, tried, now_ms).await?;
                        let is_away = !matches!(error, SendError::Refused { .. });
                        sent.failed.push(error);
                        if is_away {
                            return Ok(sent);
                        }
                    }
                }
            }
        }
    }

    /// Tells every Alertmanager of the alerts that are on, where it is time; reasons why one was not.
    async fn repeat(&self) -> Result<Vec<SendError>, StoreError> {
        let alerts = &self.context.settings.alerts;
        let mut failed = Vec::new();
        for receiver in &alerts.to {
            let Receiver::Alertmanager { url } = receiver else { continue };
            let (id, now_ms) = (receiver.id(), self.context.now_ms());
            let last_ms = self.repeated.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
            if last_ms.is_some_and(|last_ms| (0..alerts.repeat_ms()).contains(&(now_ms - last_ms))) {
                continue;
            }
            let mut on = self.context.store.firing_alerts().await?;
            on.retain(|alert| !alerts.is_muted(&alert.rule, &alert.subject));
            if !on.is_empty()
                && let Err(error) = notify::repeat(url, &on, now_ms).await
            {
                failed.push(error);
                continue;
            }
            self.repeated.lock().unwrap_or_else(PoisonError::into_inner).insert(id, now_ms);
        }
        Ok(failed)
    }
}

/// Time until the next try of a delivery that was not taken, milliseconds.
fn pause_ms(delivery: &Delivery) -> i64 {
    FIRST_PAUSE_MS.saturating_mul(1 << delivery.tries.clamp(0, 20)).min(LONGEST_PAUSE_MS)
}

impl Job for Notifications {
    fn name(&self) -> &'static str {
        "notifications"
    }

    fn model(&self) -> &str {
        ""
    }

    fn period_ms(&self) -> i64 {
        self.context.every_ms().min(PERIOD_MS)
    }

    /// A receiver that is away keeps no other one waiting: deliveries have pauses of their own.
    fn longest_pause_ms(&self) -> i64 {
        self.period_ms()
    }

    fn run(&self) -> BoxFuture<'_, Result<Outcome, JobError>> {
        Box::pin(self.run_all())
    }
}
