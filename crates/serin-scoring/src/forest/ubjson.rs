//! UBJSON as XGBoost writes it, as a serde deserializer: the same typed structs read JSON and UBJSON.
//!
//! Format: <https://ubjson.org> draft 12 with typed arrays (`[$d#`). Nothing is allocated from a count in
//! the file before the bytes that the count promises are known to be there.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

const MAX_DEPTH: u32 = 64;

#[derive(Debug)]
pub(super) struct UbjsonError {
    offset: usize,
    reason: String,
}

impl fmt::Display for UbjsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UBJSON, byte {}: {}", self.offset, self.reason)
    }
}
impl std::error::Error for UbjsonError {}
impl de::Error for UbjsonError {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self { offset: 0, reason: reason.to_string() }
    }
}

pub(super) struct Reader<'de> {
    bytes: &'de [u8],
    at: usize,
    depth: u32,
}

/// Reads one value and refuses trailing bytes.
pub(super) fn from_slice<'de, T: serde::Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, UbjsonError> {
    let mut reader = Reader { bytes, at: 0, depth: 0 };
    let value = T::deserialize(&mut reader).map_err(|e| reader.located(e))?;
    if reader.at != bytes.len() {
        return Err(reader.error(format!("{} bytes after the end of the model", bytes.len() - reader.at)));
    }
    Ok(value)
}

impl<'de> Reader<'de> {
    fn error(&self, reason: impl Into<String>) -> UbjsonError {
        UbjsonError { offset: self.at, reason: reason.into() }
    }

    fn located(&self, mut error: UbjsonError) -> UbjsonError {
        if error.offset == 0 {
            error.offset = self.at;
        }
        error
    }

    fn take(&mut self, count: usize) -> Result<&'de [u8], UbjsonError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(self.error(format!("{count} bytes expected, {} left", self.bytes.len() - self.at)));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], UbjsonError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// The next marker; `N` is a no-op by the format.
    fn marker(&mut self) -> Result<u8, UbjsonError> {
        loop {
            let marker = self.take(1)?[0];
            if marker != b'N' {
                return Ok(marker);
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn integer(&mut self, marker: u8) -> Result<i64, UbjsonError> {
        Ok(match marker {
            b'i' => i64::from(i8::from_be_bytes(self.array()?)),
            b'U' => i64::from(self.array::<1>()?[0]),
            b'I' => i64::from(i16::from_be_bytes(self.array()?)),
            b'l' => i64::from(i32::from_be_bytes(self.array()?)),
            b'L' => i64::from_be_bytes(self.array()?),
            other => return Err(self.error(format!("an integer expected, found {}", printable(other)))),
        })
    }

    fn length(&mut self) -> Result<usize, UbjsonError> {
        let marker = self.marker()?;
        let length = self.integer(marker)?;
        usize::try_from(length).map_err(|_| self.error(format!("negative length {length}")))
    }

    fn text(&mut self) -> Result<&'de str, UbjsonError> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.error("a text that is not UTF-8"))
    }

    /// Reads `$type#count` / `#count` after an opening bracket.
    fn header(&mut self) -> Result<(Option<u8>, Option<usize>), UbjsonError> {
        let kind = if self.peek() == Some(b'$') {
            self.at += 1;
            Some(self.take(1)?[0])
        } else {
            None
        };
        let count = if self.peek() == Some(b'#') {
            self.at += 1;
            Some(self.length()?)
        } else if kind.is_some() {
            return Err(self.error("a typed array without a count"));
        } else {
            None
        };
        if let Some(count) = count {
            // A counted element takes at least its own width, or one marker byte when untyped.
            let width = match kind {
                None | Some(b'i' | b'U' | b'C' | b'S' | b'H' | b'[' | b'{') => 1,
                Some(b'I') => 2,
                Some(b'l' | b'd') => 4,
                Some(b'L' | b'D') => 8,
                Some(other) => return Err(self.error(format!("typed array of {}", printable(other)))),
            };
            let need = count.checked_mul(width);
            if need.is_none_or(|need| need > self.bytes.len() - self.at) {
                return Err(
                    self.error(format!("{count} elements announced, {} bytes left", self.bytes.len() - self.at))
                );
            }
        }
        Ok((kind, count))
    }

    fn value<'r, V: Visitor<'de>>(&'r mut self, marker: u8, visitor: V) -> Result<V::Value, UbjsonError> {
        match marker {
            b'Z' => visitor.visit_unit(),
            b'T' => visitor.visit_bool(true),
            b'F' => visitor.visit_bool(false),
            b'd' => visitor.visit_f32(f32::from_be_bytes(self.array()?)),
            b'D' => visitor.visit_f64(f64::from_be_bytes(self.array()?)),
            b'S' | b'H' => {
                let text = self.text()?;
                visitor.visit_borrowed_str(text)
            }
            b'C' => {
                let byte = self.take(1)?[0];
                visitor.visit_char(char::from(byte))
            }
            b'[' | b'{' => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(self.error(format!("nested deeper than {MAX_DEPTH}")));
                }
                let (kind, left) = self.header()?;
                let items = Items { reader: self, kind, left, object: marker == b'{' };
                let value = if marker == b'[' { visitor.visit_seq(items) } else { visitor.visit_map(items) };
                self.depth -= 1;
                value
            }
            other => {
                let integer = self.integer(other)?;
                visitor.visit_i64(integer)
            }
        }
    }
}

fn printable(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("{:?}", char::from(byte)) } else { format!("byte 0x{byte:02x}") }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = UbjsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, UbjsonError> {
        let marker = self.marker()?;
        self.value(marker, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, UbjsonError> {
        visitor.visit_some(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Items<'r, 'de> {
    reader: &'r mut Reader<'de>,
    kind: Option<u8>,
    left: Option<usize>,
    object: bool,
}

impl Items<'_, '_> {
    /// True when another element follows; consumes the closing bracket otherwise.
    fn more(&mut self) -> Result<bool, UbjsonError> {
        if let Some(left) = &mut self.left {
            if *left == 0 {
                return Ok(false);
            }
            *left -= 1;
            return Ok(true);
        }
        let close = if self.object { b'}' } else { b']' };
        loop {
            match self.reader.peek() {
                Some(b'N') => self.reader.at += 1,
                Some(byte) if byte == close => {
                    self.reader.at += 1;
                    return Ok(false);
                }
                Some(_) => return Ok(true),
                None => return Err(self.reader.error("the file ends inside a list or an object")),
            }
        }
    }
}

/// An element whose marker was given once, in the array's header.
struct Typed<'r, 'de> {
    reader: &'r mut Reader<'de>,
    kind: Option<u8>,
}

impl<'de> Deserializer<'de> for Typed<'_, 'de> {
    type Error = UbjsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, UbjsonError> {
        match self.kind {
            Some(kind) => self.reader.value(kind, visitor),
            None => self.reader.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, UbjsonError> {
        visitor.visit_some(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = UbjsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, UbjsonError> {
        if !self.more()? {
            return Ok(None);
        }
        seed.deserialize(Typed { reader: self.reader, kind: self.kind }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.left
    }
}

struct Key<'de>(&'de str);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = UbjsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, UbjsonError> {
        visitor.visit_borrowed_str(self.0)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = UbjsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, UbjsonError> {
        if !self.more()? {
            return Ok(None);
        }
        let key = self.reader.text()?;
        seed.deserialize(Key(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, UbjsonError> {
        seed.deserialize(Typed { reader: self.reader, kind: self.kind })
    }
}
