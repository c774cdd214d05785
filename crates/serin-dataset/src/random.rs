//! Random numbers that are the same on every machine and in every release: xoshiro256++ (Blackman, Vigna)
//! seeded by splitmix64, with `libm` for logarithms so that no system library decides a bit.

#[derive(Debug, Clone)]
pub(crate) struct Random([u64; 4]);

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Random {
    /// A stream of its own for each (seed, purpose, number).
    pub(crate) fn new(seed: u64, purpose: u64, number: u64) -> Self {
        let mut state = seed;
        for part in [purpose, number] {
            state = splitmix(&mut state) ^ part.wrapping_mul(0xD605_BBB5_8C8A_BC03);
        }
        Self(std::array::from_fn(|_| splitmix(&mut state)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0..count. Multiply-shift: its bias is below count / 2^64.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// Marsaglia's polar method; the second value is dropped so that a draw never depends on the one before.
    pub(crate) fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        loop {
            let (u, v) = (self.between(-1.0, 1.0), self.between(-1.0, 1.0));
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                return mean + deviation * u * (-2.0 * libm::log(s) / s).sqrt();
            }
        }
    }

    /// Poisson by products of uniforms (Knuth); for means of a few units.
    pub(crate) fn poisson(&mut self, mean: f64) -> u32 {
        let limit = libm::exp(-mean);
        let mut product = self.unit();
        let mut count = 0;
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_right() {
        let mut random = Random::new(1, 2, 3);
        let n = 200_000;
        let normal: Vec<f64> = (0..n).map(|_| random.normal(3.0, 2.0)).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let variance = normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!((mean - 3.0).abs() < 0.02 && (variance - 4.0).abs() < 0.06, "{mean} {variance}");
        let counts = (0..n).map(|_| f64::from(random.poisson(2.5))).sum::<f64>() / f64::from(n);
        assert!((counts - 2.5).abs() < 0.02, "{counts}");
    }
}
