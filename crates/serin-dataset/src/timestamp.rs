//! Timestamps in the usual spellings, as epoch milliseconds. Without a zone a time is UTC.

use jiff::civil;

/// RFC 3339, `2018-04-01 00:00:31[.5][+02:00]`, or a date alone. None for anything else.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.len() < 8 {
        return None;
    }
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_millisecond());
    }
    let local =
        text.parse::<civil::DateTime>().or_else(|_| text.parse::<civil::Date>().map(civil::DateTime::from)).ok()?;
    Some(local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// A number in a time column: seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by
/// size (each unit covers the years 1973 to 5138).
pub(crate) fn epoch_number(number: f64) -> Option<i64> {
    if !number.is_finite() {
        return None;
    }
    let size = number.abs();
    Some(if size < 1e11 {
        (number * 1e3) as i64
    } else if size < 1e14 {
        number as i64
    } else if size < 1e17 {
        (number / 1e3) as i64
    } else {
        (number / 1e6) as i64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_spellings_are_one_instant() {
        for text in
            ["2018-04-01T00:00:31Z", "2018-04-01 00:00:31", "2018-04-01 02:00:31+02:00", "2018-04-01T00:00:31.000"]
        {
            assert_eq!(parse_timestamp(text), Some(1_522_540_831_000), "{text}");
        }
        assert_eq!(parse_timestamp("2018-04-01"), Some(1_522_540_800_000));
        for text in ["", "01/04/2018", "12345678901", "2018-13-01", "soon"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
        assert_eq!(epoch_number(1_522_540_831.0), Some(1_522_540_831_000));
        assert_eq!(epoch_number(1_522_540_831_000_000.0), Some(1_522_540_831_000));
    }
}
