//! Bounds of one request.

/// What one request may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Rows of a request.
    pub rows: usize,
}

impl Default for Limits {
    /// 8 MiB, 10,000 rows.
    fn default() -> Self {
        Self { body_bytes: 8 << 20, rows: 10_000 }
    }
}
