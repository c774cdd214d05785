//! The hot body, `{"data":[[1.5,2],…]}` with numbers and nulls, read in one pass without building JSON values.
//!
//! Whatever else stands there makes it give up: the general reader then decides whether it is right and, if not, says
//! what is wrong. Both give the same features, bit for bit.

use serin_scoring::{ColumnValue, EncodedRows, RowEncoder};

/// Powers of ten that a double holds exactly.
const EXACT: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Rows of the body, encoded by `rows` for its model; none when the body is another or has more than `max_rows`.
pub(crate) fn rows(body: &[u8], mut rows: RowEncoder<'_>, max_rows: usize) -> Option<EncodedRows> {
    let mut at = Reader { body, at: 0 };
    at.token(b'{')?;
    at.literal(b"\"data\"")?;
    at.token(b':')?;
    at.token(b'[')?;
    let mut count = 0;
    loop {
        at.token(b'[')?;
        rows.push_row(|column| {
            if column > 0 {
                at.token(b',')?;
            }
            at.value()
        })?;
        at.token(b']')?;
        count += 1;
        if count > max_rows {
            return None;
        }
        match at.next()? {
            b',' => {
                if count == 1 {
                    // As many rows as the rest has room for, in one allocation.
                    let row_bytes = at.at.max(1);
                    rows.reserve((body.len() / row_bytes).min(max_rows));
                }
            }
            b']' => break,
            _ => return None,
        }
    }
    at.token(b'}')?;
    at.space();
    (at.at == body.len()).then(|| rows.finish())
}

const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Number of leading bytes that are decimal digits, 0 to 8, and the number they make.
#[inline]
fn leading_digits(bytes: [u8; 8]) -> (usize, u64) {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The first byte lowest. A digit becomes 0 to 9, whatever else becomes 10 or more.
    let values = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
    // A byte's highest bit is set where it is 10 or more; a carry only reaches bytes behind the first such one.
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & HIGH;
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    // Moved to the end, so that zeros lead; then pairs, fours and eights of digits are put together.
    let digits = values << (64 - 8 * count);
    let pairs = (digits * 10 + (digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    (count, (fours * 10_000 + (fours >> 32)) & 0xFFFF_FFFF)
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.body.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        self.space();
        let byte = *self.body.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn token(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn literal(&mut self, expected: &[u8]) -> Option<()> {
        self.space();
        self.body[self.at..].starts_with(expected).then(|| self.at += expected.len())
    }

    #[inline]
    fn value(&mut self) -> Option<ColumnValue<'static>> {
        self.space();
        match self.body.get(self.at)? {
            b'n' => self.literal(b"null").map(|()| ColumnValue::Null),
            _ => self.number().map(ColumnValue::Number),
        }
    }

    /// Adds the digits that follow to a number, modulo 2⁶⁴, and returns how many there were.
    #[inline]
    fn digits(&mut self, mantissa: &mut u64) -> usize {
        let start = self.at;
        while let Some(bytes) = self.body.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let (count, value) = leading_digits(*bytes);
            *mantissa = mantissa.wrapping_mul(POWERS[count]).wrapping_add(value);
            self.at += count;
            if count < 8 {
                return self.at - start;
            }
        }
        while let Some(digit) = self.body.get(self.at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        self.at - start
    }

    /// A number in JSON's grammar, rounded to the nearest double.
    fn number(&mut self) -> Option<f64> {
        let start = self.at;
        let negative = self.body[self.at] == b'-';
        self.at += usize::from(negative);
        let mut mantissa = 0_u64;
        let leading_zero = self.body.get(self.at) == Some(&b'0');
        let whole = self.digits(&mut mantissa);
        if whole == 0 || (leading_zero && whole > 1) {
            return None;
        }
        let mut fraction = 0;
        if self.body.get(self.at) == Some(&b'.') {
            self.at += 1;
            fraction = self.digits(&mut mantissa);
            if fraction == 0 {
                return None;
            }
        }
        let exponent = matches!(self.body.get(self.at), Some(b'e' | b'E'));
        // With at most 15 digits and a power of ten up to 22 both are exact, so one division rounds once (Clinger,
        // "How to read floating point numbers accurately", 1990).
        if !exponent && whole + fraction <= 15 {
            let value = mantissa as f64 / EXACT[fraction];
            return Some(if negative { -value } else { value });
        }
        if exponent {
            self.at += 1;
            self.at += usize::from(matches!(self.body.get(self.at), Some(b'+' | b'-')));
            if self.digits(&mut mantissa) == 0 {
                return None;
            }
        }
        std::str::from_utf8(&self.body[start..self.at]).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_scoring::{Column, ColumnKind, Signature};

    fn signature(width: usize) -> Signature {
        let column = |i| Column { name: format!("f{i}"), kind: ColumnKind::Number, nullable: true };
        Signature { columns: (0..width).map(column).collect() }
    }

    fn features(body: &[u8], signature: &Signature, max_rows: usize) -> Option<Vec<f32>> {
        let rows = rows(body, signature.encoder(1), max_rows)?;
        Some(rows.values().to_vec())
    }

    #[test]
    fn digits_are_counted_and_put_together() {
        for (text, expected) in [
            ("12345678", (8, 12_345_678)),
            ("00000000", (8, 0)),
            ("99999999", (8, 99_999_999)),
            ("1.234567", (1, 1)),
            ("90,00000", (2, 90)),
            ("1234567e", (7, 1_234_567)),
            (".1234567", (0, 0)),
            ("/1234567", (0, 0)),
            (":1234567", (0, 0)),
            ("12\u{0}45678", (2, 12)),
            ("7\u{7f}345678", (1, 7)),
            ("12345é", (5, 12_345)),
        ] {
            let mut bytes = [b' '; 8];
            bytes[..text.len().min(8)].copy_from_slice(&text.as_bytes()[..text.len().min(8)]);
            assert_eq!(leading_digits(bytes), expected, "{text}");
        }
    }

    #[test]
    fn it_reads_what_the_general_reader_reads_and_nothing_more() {
        let numbers = [
            "0",
            "-0",
            "1",
            "-1.5",
            "0.1",
            "123456789012345",
            "1234567890123456",
            "0.123456789012345678",
            "1e5",
            "1E-7",
            "1.5e+3",
            "3.4028234e38",
            "1e-45",
            "2.2250738585072014e-308",
            "9007199254740993",
            "5e-324",
            "null",
            "0.000001",
            "16777217",
            "33554435.0",
            "0.30000000000000004",
        ];
        for number in numbers {
            let body = format!(" {{ \"data\" : [ [ {number} , 2 ] ,[3,{number}]\n] }} ");
            let fast = features(body.as_bytes(), &signature(2), 10).expect(number);
            let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let expected = value["data"][0][0].as_f64().map_or(f32::NAN, |number| number as f32);
            assert_eq!(fast[0].to_bits(), expected.to_bits(), "{number}");
            assert_eq!(fast[3].to_bits(), expected.to_bits(), "{number}");
        }
        // Any number that is written anyhow.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let decimals = (state >> 8) as usize % 12;
            let number = (state as i64 >> (state % 60)) as f64 / 10_f64.powi(decimals as i32);
            for text in [format!("{number:.decimals$}"), format!("{number}"), format!("{number:e}")] {
                let fast = features(format!("{{\"data\":[[{text}]]}}").as_bytes(), &signature(1), 1).expect("a number");
                let expected = serde_json::from_str::<f64>(&text).expect("a number") as f32;
                assert_eq!(fast[0].to_bits(), expected.to_bits(), "{text}");
            }
        }
        for body in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"data":[]}"#,
            r#"{"data":[[1]]}"#,
            r#"{"data":[[1,2,3]]}"#,
            r#"{"data":[[1,2]]"#,
            r#"{"data":[[1,2]]}x"#,
            r#"{"data":[[1,2]],"a":1}"#,
            r#"{"data":[[01,2]]}"#,
            r#"{"data":[[.5,2]]}"#,
            r#"{"data":[[1.,2]]}"#,
            r#"{"data":[[+1,2]]}"#,
            r#"{"data":[[1e,2]]}"#,
            r#"{"data":[[-,2]]}"#,
            r#"{"data":[["1",2]]}"#,
            r#"{"data":[[true,2]]}"#,
            r#"{"data":[[NaN,2]]}"#,
            r#"{"data":[[1e39,2]]}"#,
            r#"{"data":[[1,2],]}"#,
            r#"{"data":[[1,2]],}"#,
            r#"{"records":[]}"#,
            r#"{"data":[[nul,2]]}"#,
            r#"{"data":[[1,2],[3,4],[5,6]]}"#,
        ] {
            assert_eq!(features(body.as_bytes(), &signature(2), 2), None, "{body}");
        }
    }
}
