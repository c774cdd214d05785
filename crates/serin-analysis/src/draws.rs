//! Random draws that are the same on every machine.

/// SplitMix64 (Steele and others 2014): `seed` gives the stream.
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn below(&mut self, n: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Multiply-shift: the bias is below n / 2^64.
        ((u128::from(z ^ (z >> 31)) * u128::from(n)) >> 64) as usize
    }
}
