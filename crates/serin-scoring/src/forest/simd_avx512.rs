//! 64 trees at once: AVX-512 with byte permutes (VBMI).
//!
//! At each level the node that each tree stands at is picked from all nodes of that level by blending with the
//! decisions so far; one byte permute then reads 64 ranks and one compare decides 64 nodes. The blends by
//! early decisions do not wait for the late ones, so a level costs little latency.
#![expect(unsafe_code, reason = "vector instructions; `add` is called only where `is_available` said so")]

use super::blocks::{Block, SlicedNode, TREES};
use super::quantised::{MAX_WIDTH, MISSING, Quantised, RankBytes};
use super::ranks::FeatureRanks;
use std::arch::x86_64::*;

/// Rows that share one pass: their chains of additions overlap.
const ROWS: usize = 4;

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("popcnt")
}

pub(super) fn add(q: &Quantised, rows: &[f32], num_features: usize, margins: &mut [f32], outputs: usize) {
    assert!(is_available(), "AVX-512 path on a processor without it");
    // SAFETY: the features that the function is compiled for were just detected.
    unsafe { add_rows(q, rows, num_features, margins, outputs) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn add_rows(q: &Quantised, rows: &[f32], num_features: usize, margins: &mut [f32], outputs: usize) {
    let mut ranks = vec![0u16; q.features.len() * ROWS];
    let mut rows = rows.chunks_exact(ROWS * num_features);
    let mut margins = margins.chunks_exact_mut(ROWS * outputs);
    for (rows, margins) in rows.by_ref().zip(margins.by_ref()) {
        add_some::<ROWS>(q, rows, num_features, margins, outputs, &mut ranks);
    }
    let rest = rows.remainder().chunks_exact(num_features);
    for (row, margins) in rest.zip(margins.into_remainder().chunks_exact_mut(outputs)) {
        add_some::<1>(q, row, num_features, margins, outputs, &mut ranks);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn add_some<const R: usize>(
    q: &Quantised,
    rows: &[f32],
    num_features: usize,
    margins: &mut [f32],
    outputs: usize,
    ranks: &mut [u16],
) {
    for (row, ranks) in rows.chunks_exact(num_features).zip(ranks.chunks_exact_mut(q.features.len().max(1))) {
        for (feature, rank) in q.features.iter().zip(ranks) {
            *rank = rank_of(feature, row[feature.feature]);
        }
    }
    let mut bytes = [RankBytes([0; 2 * MAX_WIDTH]); R];
    let mut chosen = [[0u8; TREES]; R];
    for table in &q.tables {
        for (bytes, ranks) in bytes.iter_mut().zip(ranks.chunks_exact(q.features.len().max(1))) {
            table.fill(ranks, q.width, bytes);
        }
        for block in &table.blocks {
            for (bytes, chosen) in bytes.iter().zip(&mut chosen) {
                let leaves = match q.width {
                    32 => choose::<false>(block, bytes),
                    _ => choose::<true>(block, bytes),
                };
                // SAFETY: `chosen` has 64 bytes; the store needs no alignment.
                unsafe { _mm512_storeu_si512(chosen.as_mut_ptr().cast(), leaves) };
            }
            if outputs == 1 {
                add_leaves::<R>(block, &chosen, margins);
            } else {
                for (chosen, margins) in chosen.iter().zip(margins.chunks_exact_mut(outputs)) {
                    block.add_leaves(chosen, margins);
                }
            }
        }
    }
}

/// As [`Block::add_leaves`] for several rows of a single-output forest; each row keeps its own order.
#[inline]
fn add_leaves<const R: usize>(block: &Block, chosen: &[[u8; TREES]; R], margins: &mut [f32]) {
    let mut sums = [0.0f32; R];
    sums.copy_from_slice(&margins[..R]);
    for (tree, leaves) in block.leaves.chunks_exact(1 << block.depth).take(TREES).enumerate() {
        for (sum, chosen) in sums.iter_mut().zip(chosen) {
            *sum += leaves[usize::from(chosen[tree]) & (leaves.len() - 1)];
        }
    }
    margins[..R].copy_from_slice(&sums);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn rank_of(feature: &FeatureRanks, x: f32) -> u16 {
    if x.is_nan() {
        return MISSING;
    }
    let value = _mm512_set1_ps(x);
    let mut rank = 0usize;
    for level in feature.levels.iter().rev() {
        let sixteen = &level[rank * 16..rank * 16 + 16];
        // SAFETY: the slice has 16 float32.
        let thresholds = unsafe { _mm512_loadu_ps(sixteen.as_ptr()) };
        rank = rank * 16 + _mm512_cmp_ps_mask::<_CMP_LE_OQ>(thresholds, value).count_ones() as usize;
    }
    rank as u16
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn choose<const WIDE: bool>(block: &Block, bytes: &RankBytes) -> __m512i {
    match block.depth {
        1 => choose_at::<WIDE, 1>(block, bytes),
        2 => choose_at::<WIDE, 2>(block, bytes),
        3 => choose_at::<WIDE, 3>(block, bytes),
        4 => choose_at::<WIDE, 4>(block, bytes),
        5 => choose_at::<WIDE, 5>(block, bytes),
        6 => choose_at::<WIDE, 6>(block, bytes),
        7 => choose_at::<WIDE, 7>(block, bytes),
        _ => choose_at::<WIDE, 8>(block, bytes),
    }
}

/// Leaf index of each of 64 trees.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn choose_at<const WIDE: bool, const D: usize>(block: &Block, bytes: &RankBytes) -> __m512i {
    assert_eq!(block.sliced.len(), (1 << D) - 1, "a block of another depth");
    let nodes = block.sliced.as_ptr();
    // SAFETY: a table's bytes are 128; narrow tables use the first 64.
    let (low, high) =
        unsafe { (_mm512_loadu_si512(bytes.0.as_ptr().cast()), _mm512_loadu_si512(bytes.0.as_ptr().add(64).cast())) };
    let one = _mm512_set1_epi8(1);
    let mut leaf = _mm512_setzero_si512();
    let mut right = [0u64; 8];
    macro_rules! level {
        ($l:literal, $pick:ident) => {
            if D > $l {
                // SAFETY: level l starts at 2^l - 1 and has 2^l nodes; all D levels are there (asserted).
                let (entry, rank) = unsafe { $pick(nodes.add((1 << $l) - 1), &right) };
                let value =
                    if WIDE { _mm512_permutex2var_epi8(low, entry, high) } else { _mm512_permutexvar_epi8(entry, low) };
                right[$l] = _mm512_cmpgt_epu8_mask(value, rank);
                leaf = _mm512_add_epi8(leaf, leaf);
                leaf = _mm512_mask_add_epi8(leaf, right[$l], leaf, one);
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

type Picked = (__m512i, __m512i);

/// # Safety
/// `nodes` points to at least one node.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
unsafe fn pick_0(nodes: *const SlicedNode, _right: &[u64; 8]) -> Picked {
    // SAFETY: by contract; a node is two times 64 bytes, aligned to 64.
    unsafe {
        (_mm512_load_si512((&raw const (*nodes).entry).cast()), _mm512_load_si512((&raw const (*nodes).rank).cast()))
    }
}

macro_rules! pick {
    ($name:ident, $below:ident, $bit:literal) => {
        /// # Safety
        /// `nodes` points to at least `2^(bit + 1)` nodes.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
        unsafe fn $name(nodes: *const SlicedNode, right: &[u64; 8]) -> Picked {
            // SAFETY: by contract both halves have `2^bit` nodes.
            let (left_half, right_half) = unsafe { ($below(nodes, right), $below(nodes.add(1 << $bit), right)) };
            (
                _mm512_mask_blend_epi8(right[$bit], left_half.0, right_half.0),
                _mm512_mask_blend_epi8(right[$bit], left_half.1, right_half.1),
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
