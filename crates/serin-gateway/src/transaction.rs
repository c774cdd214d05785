//! Transactions as requests describe them: the one place where their ids and times are bounded and become types.
//!
//! Every protocol builds a [`Transaction`] from what it was sent, and nothing behind it checks again. Ids and entities have
//! at most [`LONGEST_TEXT`] bytes and no control characters. A time is epoch milliseconds or RFC 3339; both obey the same
//! bounds, those of [`EventTimes`].

use jiff::Timestamp;
use serde_json::Value;

/// Longest id of a transaction or entity, bytes: the decision log keeps its length in one byte.
pub(crate) const LONGEST_TEXT: usize = 255;
/// How far a payment may lie ahead of the server's clock, milliseconds: an hour, more than clocks of shops are apart.
const AHEAD_MS: i64 = 3_600_000;
/// Earliest time of a payment, epoch milliseconds: 1973-03-03T09:46:40Z. A smaller number is a time in seconds, up to the
/// year 5138.
const EARLIEST_MS: i64 = 100_000_000_000;

/// Why an id or an entity is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TextError {
    /// The text has more bytes than the decision log can keep.
    #[error("String should have at most {LONGEST_TEXT} bytes")]
    TooLong,
    /// The text has a character that no line of a log or table can show.
    #[error("String should have no control characters")]
    ControlCharacter,
}

impl TextError {
    /// Kind of fault in a 422, pydantic's word.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::TooLong => "string_too_long",
            Self::ControlCharacter => "string_pattern_mismatch",
        }
    }
}

/// Why the time of a payment is not taken. Each message says what to send instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventTimeError {
    /// The number is a time in another unit.
    #[error("Input should be epoch milliseconds, and {given} looks like {unit}: send {milliseconds}")]
    OtherUnit {
        /// Number that was sent.
        given: i64,
        /// Unit that makes it a time of our days: `seconds`, `microseconds` or `nanoseconds`.
        unit: &'static str,
        /// The same time in epoch milliseconds.
        milliseconds: i64,
    },
    /// The time lies too far ahead of the server's clock.
    #[error(
        "Input should lie at most one hour ahead of the server's clock, which is at {now_ms} (epoch milliseconds): a payment of the future has not happened"
    )]
    Ahead {
        /// Time of the server's clock, epoch milliseconds.
        now_ms: i64,
    },
    /// The time lies before the earliest one that is taken.
    #[error("Input should not lie before 1973-03-03T09:46:40Z ({EARLIEST_MS} epoch milliseconds)")]
    TooEarly,
    /// A number with a fraction, or one beyond 64 bits.
    #[error("Input should be whole epoch milliseconds, such as 1795600800000")]
    NotWhole,
    /// The text is no time with its zone.
    #[error("Input should be a time with its zone in RFC 3339, as 2026-11-25T10:00:00Z: {0}")]
    Unreadable(String),
    /// Neither a number nor a text.
    #[error("Input should be a time: RFC 3339, or epoch milliseconds")]
    NotATime,
}

fn bounded(text: &str) -> Result<&str, TextError> {
    if text.len() > LONGEST_TEXT {
        Err(TextError::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(TextError::ControlCharacter)
    } else {
        Ok(text)
    }
}

/// Text by which the caller names something: at most [`LONGEST_TEXT`] bytes without control characters; empty where it names
/// nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CallerText<'a>(&'a str);

/// The caller's id of a transaction.
pub(crate) type TransactionId<'a> = CallerText<'a>;
/// Card, customer or terminal of a transaction.
pub(crate) type Entity<'a> = CallerText<'a>;

impl<'a> CallerText<'a> {
    /// Takes a text within its bounds; an empty one names nothing.
    pub(crate) fn new(text: &'a str) -> Result<Self, TextError> {
        bounded(text).map(Self)
    }

    /// The text, empty where nothing is named.
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether nothing is named.
    pub(crate) fn is_none(self) -> bool {
        self.0.is_empty()
    }
}

/// Bounds of event times at one moment.
///
/// A time is taken from 1973-03-03 until one hour after the server's clock. Of times older than `max_age_ms` (90 days,
/// where the options say nothing else) the monitor does not keep hours of their own: a payment that old tells nothing about
/// today's traffic, and each such hour would cost memory and rows of the database. They are decided and logged as they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventTimes {
    now_ms: i64,
    max_age_ms: i64,
}

/// Time at which a transaction happened, within the bounds of [`EventTimes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventTime {
    ms: i64,
    is_recent: bool,
}

impl EventTime {
    /// Time in epoch milliseconds.
    pub(crate) fn ms(self) -> i64 {
        self.ms
    }
}

impl EventTimes {
    /// Bounds at `now_ms`, epoch milliseconds. The monitor keeps hours of times that are at most `max_age_ms` old.
    pub(crate) fn at(now_ms: i64, max_age_ms: i64) -> Self {
        Self { now_ms, max_age_ms }
    }

    /// Reads a JSON value; null is no time.
    pub(crate) fn read(self, value: &Value) -> Result<Option<EventTime>, EventTimeError> {
        match value {
            Value::Null => Ok(None),
            Value::Number(number) => match number.as_i64() {
                Some(milliseconds) => self.of_number(milliseconds).map(Some),
                // Beyond 64 bits with a sign it is a time of no unit.
                None => Err(EventTimeError::NotWhole),
            },
            Value::String(text) => match text.parse::<Timestamp>() {
                Ok(time) => self.of_ms(time.as_millisecond()).map(Some),
                Err(error) => Err(EventTimeError::Unreadable(error.to_string())),
            },
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(EventTimeError::NotATime),
        }
    }

    /// Takes a number that should be epoch milliseconds, and tells other units by their size.
    fn of_number(self, given: i64) -> Result<EventTime, EventTimeError> {
        // What number EARLIEST_MS is in each unit: below it no time of that unit is taken.
        let other = |unit, milliseconds| Err(EventTimeError::OtherUnit { given, unit, milliseconds });
        match given {
            100_000_000..EARLIEST_MS => other("seconds", given * 1000),
            100_000_000_000_000..100_000_000_000_000_000 => other("microseconds", given / 1000),
            100_000_000_000_000_000.. => other("nanoseconds", given / 1_000_000),
            _ => self.of_ms(given),
        }
    }

    /// Takes a time in epoch milliseconds.
    fn of_ms(self, ms: i64) -> Result<EventTime, EventTimeError> {
        if ms < EARLIEST_MS {
            return Err(EventTimeError::TooEarly);
        }
        if ms > self.now_ms.saturating_add(AHEAD_MS) {
            return Err(EventTimeError::Ahead { now_ms: self.now_ms });
        }
        Ok(EventTime { ms, is_recent: self.now_ms.saturating_sub(ms) <= self.max_age_ms })
    }
}

/// Transaction that a row of a request is about. What the protocol does not say is not known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Transaction<'a> {
    pub(crate) id: TransactionId<'a>,
    pub(crate) entity: Entity<'a>,
    pub(crate) event_time: Option<EventTime>,
}

impl Transaction<'_> {
    /// Time under which the monitor counts the transaction, epoch milliseconds: that of its event, or `now_ms` where it has
    /// none or one that is too old.
    pub(crate) fn monitored_at_ms(self, now_ms: i64) -> i64 {
        self.event_time.filter(|time| time.is_recent).map_or(now_ms, |time| time.ms)
    }
}

/// Ids of the transactions of a request that has one id for all of its rows: the id itself for one row, `ID/0`, `ID/1` and
/// so on for several; none where the request has no id.
///
/// # Errors
/// When the longest of them is no id.
pub(crate) fn ids_of_rows(id: &str, rows: usize) -> Result<Vec<String>, TextError> {
    if id.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = match rows {
        1 => vec![id.to_owned()],
        // Refused before any is made.
        _ if id.len() > LONGEST_TEXT => return Err(TextError::TooLong),
        rows => (0..rows).map(|row| format!("{id}/{row}")).collect(),
    };
    ids.last().map_or(Ok(""), |longest| bounded(longest))?;
    Ok(ids)
}

/// Transactions of which nothing but ids are known.
///
/// # Errors
/// When an id is none.
pub(crate) fn with_ids(ids: &[String]) -> Result<Vec<Transaction<'_>>, TextError> {
    ids.iter().map(|id| Ok(Transaction { id: TransactionId::new(id)?, ..Transaction::default() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// 2026-11-25T10:00:00Z.
    const NOW_MS: i64 = 1_795_600_800_000;
    const DAY_MS: i64 = 86_400_000;

    fn read(value: &Value) -> Result<Option<EventTime>, EventTimeError> {
        EventTimes::at(NOW_MS, 90 * DAY_MS).read(value)
    }

    #[test]
    fn numbers_and_texts_obey_the_same_bounds() {
        for (number, text, is_recent) in [
            (NOW_MS, "2026-11-25T10:00:00Z", Some(true)),
            (NOW_MS + AHEAD_MS, "2026-11-25T12:00:00+01:00", Some(true)),
            (NOW_MS + AHEAD_MS + 1, "2026-11-25T11:00:00.001Z", None),
            (NOW_MS - 90 * DAY_MS, "2026-08-27T10:00:00Z", Some(true)),
            (NOW_MS - 90 * DAY_MS - 1, "2026-08-27T09:59:59.999Z", Some(false)),
            (EARLIEST_MS, "1973-03-03T09:46:40Z", Some(false)),
        ] {
            let expected = is_recent.map(|is_recent| EventTime { ms: number, is_recent });
            assert_eq!(read(&json!(number)).ok().flatten(), expected, "{text}");
            assert_eq!(read(&json!(text)).ok().flatten(), expected, "{text}");
        }
        assert_eq!(read(&json!("2400-01-01T00:00:00Z")), Err(EventTimeError::Ahead { now_ms: NOW_MS }));
        assert_eq!(
            read(&json!(13_569_465_600_000_i64)),
            Err(EventTimeError::Ahead { now_ms: NOW_MS }),
            "the year 2400"
        );
        assert_eq!(read(&json!("1969-12-31T23:59:59Z")), Err(EventTimeError::TooEarly));
        assert_eq!(read(&Value::Null), Ok(None));
    }

    #[test]
    fn a_time_in_another_unit_is_refused_with_the_right_value() {
        for (given, unit) in [
            (1_795_600_800, "seconds"),
            (1_795_600_800_000_000, "microseconds"),
            (1_795_600_800_000_000_000, "nanoseconds"),
        ] {
            let error = read(&json!(given)).expect_err(unit);
            assert_eq!(error, EventTimeError::OtherUnit { given, unit, milliseconds: NOW_MS });
            assert!(error.to_string().contains(unit) && error.to_string().contains("1795600800000"), "{error}");
        }
    }

    #[test]
    fn no_number_overflows_or_passes_unseen() {
        for given in [i64::MIN, i64::MIN + 1, -1, 0, 1, 99_999_999, i64::MAX - 1, i64::MAX] {
            assert!(read(&json!(given)).is_err(), "{given}");
        }
        for value in
            [json!(u64::MAX), json!(1.5), json!(1e300), json!(true), json!([1]), json!({}), json!(""), json!("x")]
        {
            assert!(read(&value).is_err(), "{value}");
        }
        let odd = EventTimes::at(i64::MAX, i64::MAX);
        assert!(odd.read(&json!(NOW_MS)).is_ok());
        assert!(EventTimes::at(i64::MIN, 0).read(&json!(NOW_MS)).is_err());
    }

    #[test]
    fn ids_are_bounded_in_bytes_and_have_no_control_characters() {
        assert_eq!(TransactionId::new(&"x".repeat(255)).map(|id| id.as_str().len()), Ok(255));
        assert_eq!(TransactionId::new(&"é".repeat(128)), Err(TextError::TooLong));
        for text in ["a\nb", "a\0", "\u{7f}", "\u{85}"] {
            assert_eq!(Entity::new(text), Err(TextError::ControlCharacter), "{text:?}");
        }
        assert!(Entity::new("").is_ok_and(Entity::is_none) && TransactionId::new("日本 ☂").is_ok());
    }

    #[test]
    fn a_request_with_one_id_has_one_for_each_row() {
        assert_eq!(ids_of_rows("pay", 1), Ok(vec!["pay".to_owned()]));
        assert_eq!(ids_of_rows("pay", 3), Ok(vec!["pay/0".to_owned(), "pay/1".to_owned(), "pay/2".to_owned()]));
        assert_eq!(ids_of_rows("", 3), Ok(Vec::new()));
        let longest = "x".repeat(253);
        assert!(ids_of_rows(&longest, 10).is_ok());
        assert_eq!(ids_of_rows(&longest, 11), Err(TextError::TooLong));
        assert_eq!(ids_of_rows("a\tb", 2), Err(TextError::ControlCharacter));
    }

    #[test]
    fn the_monitor_counts_what_is_old_or_has_no_time_at_the_decision() {
        let at = |time: Value| Transaction { event_time: read(&time).expect("a time"), ..Transaction::default() };
        assert_eq!(at(json!(NOW_MS - DAY_MS)).monitored_at_ms(NOW_MS), NOW_MS - DAY_MS);
        assert_eq!(at(json!(NOW_MS - 91 * DAY_MS)).monitored_at_ms(NOW_MS), NOW_MS);
        assert_eq!(at(Value::Null).monitored_at_ms(NOW_MS), NOW_MS);
    }
}
