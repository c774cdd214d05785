//! Bounds of one request.

/// Limits on the size of one request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes of a request's body.
    pub body_bytes: usize,
    /// Most rows in one request.
    pub rows: usize,
}

impl Default for Limits {
    /// Default limits: 8 MiB and 10,000 rows.
    fn default() -> Self {
        Self { body_bytes: 8 << 20, rows: 10_000 }
    }
}
