//! Numbers and times as people read them.

/// Whole number with commas between its thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Fraction as a percentage, with one to four decimal places by its size; a dash where it is not finite.
pub(crate) fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0 %".to_owned(),
        size if size >= 10.0 => format!("{value:.1} %"),
        size if size >= 0.1 => format!("{value:.2} %"),
        _ => format!("{value:.4} %"),
    }
}

/// Number with four significant digits; whole numbers as they are.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "–".to_owned(),
        _ if value.is_infinite() => if value > 0.0 { "∞" } else { "−∞" }.to_owned(),
        0.0 => "0".to_owned(),
        size if size < 1e15 && value.fract() == 0.0 => {
            format!("{}{}", if value < 0.0 { "−" } else { "" }, count(size as u64))
        }
        size if !(1e-3..1e7).contains(&size) => format!("{value:.2e}"),
        size => {
            let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            let shown = format!("{value:.digits$}");
            if shown.contains('.') { shown.trim_end_matches('0').trim_end_matches('.').to_owned() } else { shown }
        }
    }
}

/// Amount of money, with two digits below a thousand and none above.
pub(crate) fn money(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        size if size >= 1000.0 => format!("{}{}", if value < 0.0 { "−" } else { "" }, count(size.round() as u64)),
        size => format!("{}{size:.2}", if value < 0.0 { "−" } else { "" }),
    }
}

/// Size in bytes as B, kB, MB or GB, powers of 1000.
pub(crate) fn bytes(size: u64) -> String {
    match size {
        0..1000 => format!("{size} B"),
        1000..1_000_000 => format!("{:.1} kB", size as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size as f64 / 1e6),
        _ => format!("{:.1} GB", size as f64 / 1e9),
    }
}

/// A point in time as HTML: UTC, which the page's script turns into the viewer's zone.
pub(crate) fn when(at_ms: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(at_ms) else { return "–".to_owned() };
    format!("<time datetime=\"{time}\">{} UTC</time>", time.strftime("%Y-%m-%d %H:%M:%S"))
}

/// Point in time as HTML, epoch milliseconds; a dash for `None`.
pub(crate) fn opt_when(at_ms: Option<i64>) -> String {
    at_ms.map_or_else(|| "–".to_owned(), when)
}

/// Length of time, given in milliseconds, in the unit that suits it.
pub(crate) fn lasting(ms: i64) -> String {
    let seconds = ms.max(0) as f64 / 1e3;
    match seconds {
        s if s < 1.0 => format!("{ms} ms"),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// The beginning of a long text.
pub(crate) fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_at_every_size() {
        assert_eq!((count(0), count(999), count(1_234_567)), ("0".into(), "999".into(), "1,234,567".into()));
        for (value, expected) in [
            (0.0, "0"),
            (0.123_456, "0.1235"),
            (12.345_6, "12.35"),
            (0.1, "0.1"),
            (-3.0, "−3"),
            (1234.5, "1234"),
            (1e-9, "1.00e-9"),
            (f64::NAN, "–"),
            (f64::NEG_INFINITY, "−∞"),
        ] {
            assert_eq!(number(value), expected);
        }
        assert_eq!(
            [percent(0.5), percent(0.0052), percent(0.000_012), percent(f64::NAN)],
            ["50.0 %", "0.52 %", "0.0012 %", "–"]
        );
        assert_eq!([money(-12.5), money(1234.56)], ["−12.50", "1,235"]);
        assert_eq!(short("ünïcode", 4), "ünï…");
        assert!(when(i64::MAX).contains('–') && when(0).contains("1970-01-01 00:00:00 UTC"));
    }
}
