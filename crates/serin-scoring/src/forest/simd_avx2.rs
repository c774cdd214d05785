//! 32 trees at once: AVX2, the same scheme as `simd_avx512` with byte masks in place of mask registers.
#![expect(unsafe_code, reason = "vector instructions; `add` is called only where `is_available` said so")]

use super::blocks::{Block, SlicedNode, TREES};
use super::quantised::{MAX_WIDTH, Quantised, RankBytes};
use std::arch::x86_64::*;

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
}

pub(super) fn add(q: &Quantised, rows: &[f32], num_features: usize, margins: &mut [f32], outputs: usize) {
    assert!(is_available(), "AVX2 path on a processor without it");
    // SAFETY: AVX2 was just detected.
    unsafe { add_rows(q, rows, num_features, margins, outputs) }
}

#[target_feature(enable = "avx2")]
fn add_rows(q: &Quantised, rows: &[f32], num_features: usize, margins: &mut [f32], outputs: usize) {
    let mut ranks = vec![0u16; q.features.len()];
    let mut bytes = RankBytes([0; 2 * MAX_WIDTH]);
    let mut chosen = [0u8; TREES];
    for (row, margins) in rows.chunks_exact(num_features).zip(margins.chunks_exact_mut(outputs)) {
        q.ranks_portable(row, &mut ranks);
        for table in &q.tables {
            table.fill(&ranks, q.width, &mut bytes);
            for block in &table.blocks {
                for half in 0..block.trees.div_ceil(32) {
                    let leaves = match q.width {
                        32 => choose::<4>(block, half, &bytes),
                        _ => choose::<8>(block, half, &bytes),
                    };
                    // SAFETY: `half` is 0 or 1, `chosen` has 64 bytes.
                    unsafe { _mm256_storeu_si256(chosen.as_mut_ptr().add(32 * half).cast(), leaves) };
                }
                block.add_leaves(&chosen, margins);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose<const CHUNKS: usize>(block: &Block, half: usize, bytes: &RankBytes) -> __m256i {
    match block.depth {
        1 => choose_at::<CHUNKS, 1>(block, half, bytes),
        2 => choose_at::<CHUNKS, 2>(block, half, bytes),
        3 => choose_at::<CHUNKS, 3>(block, half, bytes),
        4 => choose_at::<CHUNKS, 4>(block, half, bytes),
        5 => choose_at::<CHUNKS, 5>(block, half, bytes),
        6 => choose_at::<CHUNKS, 6>(block, half, bytes),
        7 => choose_at::<CHUNKS, 7>(block, half, bytes),
        _ => choose_at::<CHUNKS, 8>(block, half, bytes),
    }
}

/// Leaf index of each of 32 trees: the first or the second half of the block.
#[inline]
#[target_feature(enable = "avx2")]
fn choose_at<const CHUNKS: usize, const D: usize>(block: &Block, half: usize, bytes: &RankBytes) -> __m256i {
    assert_eq!(block.sliced.len(), (1 << D) - 1, "a block of another depth");
    let nodes = block.sliced.as_ptr();
    let mut table = [_mm256_setzero_si256(); CHUNKS];
    for (chunk, sixteen) in table.iter_mut().zip(bytes.0.chunks_exact(16)) {
        // SAFETY: 16 bytes are there.
        *chunk = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(sixteen.as_ptr().cast()) });
    }
    let mut leaf = _mm256_setzero_si256();
    let mut right = [_mm256_setzero_si256(); 8];
    let offset = 32 * half;
    macro_rules! level {
        ($l:literal, $pick:ident) => {
            if D > $l {
                // SAFETY: level l starts at 2^l - 1 and has 2^l nodes; all D levels are there (asserted).
                let (entry, rank) = unsafe { $pick(nodes.add((1 << $l) - 1), offset, &right) };
                let value = look_up(&table, entry);
                // value <= rank, unsigned: their minimum is the value.
                let left = _mm256_cmpeq_epi8(_mm256_min_epu8(value, rank), value);
                right[$l] = _mm256_xor_si256(left, _mm256_set1_epi8(-1));
                // The mask is -1 where the tree goes right.
                leaf = _mm256_sub_epi8(_mm256_add_epi8(leaf, leaf), right[$l]);
            }
        };
    }
    level!(0, pick_0);
    level!(1, pick_1);
    level!(2, pick_2);
    level!(3, pick_3);
    level!(4, pick_4);
    level!(5, pick_5);
    level!(6, pick_6);
    level!(7, pick_7);
    leaf
}

/// `table[index]` for indexes below 16 x CHUNKS. A shuffle gives zero where the index has its high bit: the
/// saturating addition sets it for every index outside the chunk.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up<const CHUNKS: usize>(table: &[__m256i; CHUNKS], index: __m256i) -> __m256i {
    let mut found = _mm256_setzero_si256();
    for (i, chunk) in table.iter().enumerate() {
        let relative = _mm256_sub_epi8(index, _mm256_set1_epi8(16 * i as i8));
        let inside = _mm256_adds_epu8(relative, _mm256_set1_epi8(0x70));
        found = _mm256_or_si256(found, _mm256_shuffle_epi8(*chunk, inside));
    }
    found
}

type Picked = (__m256i, __m256i);

/// # Safety
/// `nodes` points to at least one node; `offset` is 0 or 32.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn pick_0(nodes: *const SlicedNode, offset: usize, _right: &[__m256i; 8]) -> Picked {
    // SAFETY: by contract; a node is two times 64 bytes, aligned to 64.
    unsafe {
        let node = nodes.cast::<u8>().add(offset);
        (_mm256_load_si256(node.cast()), _mm256_load_si256(node.add(TREES).cast()))
    }
}

macro_rules! pick {
    ($name:ident, $below:ident, $bit:literal) => {
        /// # Safety
        /// `nodes` points to at least `2^(bit + 1)` nodes; `offset` is 0 or 32.
        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn $name(nodes: *const SlicedNode, offset: usize, right: &[__m256i; 8]) -> Picked {
            // SAFETY: by contract both halves have `2^bit` nodes.
            let (left_half, right_half) =
                unsafe { ($below(nodes, offset, right), $below(nodes.add(1 << $bit), offset, right)) };
            (
                _mm256_blendv_epi8(left_half.0, right_half.0, right[$bit]),
                _mm256_blendv_epi8(left_half.1, right_half.1, right[$bit]),
            )
        }
    };
}
pick!(pick_1, pick_0, 0);
pick!(pick_2, pick_1, 1);
pick!(pick_3, pick_2, 2);
pick!(pick_4, pick_3, 3);
pick!(pick_5, pick_4, 4);
pick!(pick_6, pick_5, 5);
pick!(pick_7, pick_6, 6);
