//! Hostile model files: an error or a forest whose paths agree, never a panic or an outsized allocation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serin_scoring::Forest;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut forest) = Forest::from_bytes(bytes) else { return };
    if forest.num_features() == 0 || forest.num_features() > 512 || forest.num_outputs() > 64 {
        return;
    }
    let row: Vec<f32> = (0..forest.num_features()).map(|i| if i % 3 == 0 { f32::NAN } else { i as f32 - 2.5 }).collect();
    let mut expected: Option<Vec<u32>> = None;
    for path in forest.available_paths() {
        forest.use_path(path);
        let mut margins = vec![0.0; forest.num_outputs()];
        forest.margins_into(&row, &mut margins);
        let bits: Vec<u32> = margins.iter().map(|m| if m.is_nan() { 0 } else { m.to_bits() }).collect();
        assert_eq!(*expected.get_or_insert_with(|| bits.clone()), bits, "{path}");
    }
});
