//! 64 trees at once: AVX-512 with byte permutes (VBMI).
//!
//! Upper levels: the node that each tree stands at is picked from all nodes of that level by blending with the
//! decisions so far; one byte permute then reads 64 ranks and one compare decides 64 nodes. The blends by
//! early decisions do not wait for the late ones, so a level costs little latency. The last three levels of a
//! tree are one permute, one compare and a look-up of the leaf that the eight bits mean.
#![expect(unsafe_code, reason = "vector instructions; `add` is called only where `is_available` said so")]

use super::blocks::{Block, LEAF_OF, MAX_TOP, SlicedNode, Subtree, TREES};
use super::quantised::{Quantised, RankRoom};
use super::ranks::RankBytes;
use super::ranks::rank_row;
use std::arch::x86_64::*;

/// Rows that share one pass: their chains of additions overlap.
const ROWS: usize = 4;

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("popcnt")
}

pub(super) fn add(q: &Quantised, rows: &[f32], num_features: usize, margins: &mut [f32], outputs: usize) {
    assert!(is_available(), "AVX-512 path on a processor without it");
    // SAFETY: the features that the function is compiled for were just detected.
    unsafe {
        match q.width {
            32 => add_rows::<false>(q, rows, num_features, margins, outputs),
            _ => add_rows::<true>(q, rows, num_features, margins, outputs),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,popcnt")]
fn add_rows<const WIDE: bool>(q: &Quantised, rows: &[f32], num_features: usize, margins: &mut [f32], outputs: usize) {
    let mut room = RankRoom::new();
    let ranks = room.of(q.ranks.features.len() * ROWS);
    if rows.len() == num_features {
        // The divisions below are a tenth of the time of one row.
        return add_some::<WIDE, 1>(q, rows, num_features, margins, outputs, ranks);
    }
    let mut rows = rows.chunks_exact(ROWS * num_features);
    let mut margins = margins.chunks_exact_mut(ROWS * outputs);
    for (rows, margins) in rows.by_ref().zip(margins.by_ref()) {
        add_some::<WIDE, ROWS>(q, rows, num_features, margins, outputs, ranks);
    }
    let rest = rows.remainder().chunks_exact(num_features);
    for (row, margins) in rest.zip(margins.into_remainder().chunks_exact_mut(outputs)) {
        add_some::<WIDE, 1>(q, row, num_features, margins, outputs, ranks);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,popcnt")]
fn add_some<const WIDE: bool, const R: usize>(
    q: &Quantised,
    rows: &[f32],
    num_features: usize,
    margins: &mut [f32],
    outputs: usize,
    ranks: &mut [u16],
) {
    let used = q.ranks.features.len();
    for r in 0..R {
        let (row, ranks) = (&rows[r * num_features..][..num_features], &mut ranks[r * used..][..used]);
        rank_row!(q.ranks, row, ranks, |sixteen, x| {
            // SAFETY: a sixteen has 16 float32.
            let thresholds = unsafe { _mm512_loadu_ps(sixteen.as_ptr()) };
            _mm512_cmp_ps_mask::<_CMP_LE_OQ>(thresholds, _mm512_set1_ps(x)).count_ones() as usize
        });
    }
    let mut bytes = [RankBytes::EMPTY; R];
    for table in &q.tables {
        for (r, bytes) in bytes.iter_mut().enumerate() {
            table.fill(&ranks[r * used..][..used], q.width, bytes);
        }
        for block in &table.blocks {
            add_block::<WIDE, R>(block, &bytes, margins, outputs);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,popcnt")]
fn add_block<const WIDE: bool, const R: usize>(
    block: &Block,
    bytes: &[RankBytes; R],
    margins: &mut [f32],
    outputs: usize,
) {
    match block.top {
        0 => add_block_at::<WIDE, R, 0>(block, bytes, margins, outputs),
        1 => add_block_at::<WIDE, R, 1>(block, bytes, margins, outputs),
        2 => add_block_at::<WIDE, R, 2>(block, bytes, margins, outputs),
        3 => add_block_at::<WIDE, R, 3>(block, bytes, margins, outputs),
        4 => add_block_at::<WIDE, R, 4>(block, bytes, margins, outputs),
        _ => add_block_at::<WIDE, R, MAX_TOP>(block, bytes, margins, outputs),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,popcnt")]
fn add_block_at<const WIDE: bool, const R: usize, const T: usize>(
    block: &Block,
    bytes: &[RankBytes; R],
    margins: &mut [f32],
    outputs: usize,
) {
    assert!(block.trees <= TREES && block.subtrees.len() == block.trees << T, "a block out of shape");
    let mut tables = [[_mm512_setzero_si512(); 2]; R];
    let mut chosen = [[0u16; TREES]; R];
    for ((table, bytes), chosen) in tables.iter_mut().zip(bytes).zip(&mut chosen) {
        // SAFETY: a table's bytes are 128; narrow tables use the first 64. `chosen` has 64 places of 16 bits.
        unsafe {
            *table = [_mm512_loadu_si512(bytes.0.as_ptr().cast()), _mm512_loadu_si512(bytes.0.as_ptr().add(64).cast())];
            let subtrees = choose_at::<WIDE, T>(block, table);
            let (low, high) = (_mm512_castsi512_si256(subtrees), _mm512_extracti64x4_epi64::<1>(subtrees));
            _mm512_storeu_si512(chosen.as_mut_ptr().cast(), _mm512_cvtepu8_epi16(low));
            _mm512_storeu_si512(chosen.as_mut_ptr().add(32).cast(), _mm512_cvtepu8_epi16(high));
        }
    }
    if outputs == 1 {
        let mut sums = [0.0f32; R];
        sums.copy_from_slice(margins);
        for (tree, subtrees) in block.subtrees.chunks_exact(1 << T).enumerate() {
            for ((sum, chosen), table) in sums.iter_mut().zip(&chosen).zip(&tables) {
                // SAFETY: at most 64 trees (asserted); `choose_at` gives indexes below 2^T.
                *sum +=
                    leaf::<WIDE>(unsafe { subtrees.get_unchecked(usize::from(*chosen.get_unchecked(tree))) }, table);
            }
        }
        margins.copy_from_slice(&sums);
    } else {
        for ((tree, subtrees), &output) in block.subtrees.chunks_exact(1 << T).enumerate().zip(&block.outputs) {
            for ((margins, chosen), table) in margins.chunks_exact_mut(outputs).zip(&chosen).zip(&tables) {
                margins[output as usize] += leaf::<WIDE>(&subtrees[usize::from(chosen[tree])], table);
            }
        }
    }
}

/// Value of the leaf that a row comes to.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,popcnt")]
fn leaf<const WIDE: bool>(subtree: &Subtree, table: &[__m512i; 2]) -> f32 {
    // SAFETY: both have 16 bytes.
    let (entries, ranks) =
        unsafe { (_mm_load_si128(subtree.entries.as_ptr().cast()), _mm_load_si128(subtree.ranks.as_ptr().cast())) };
    let values = look_up::<WIDE>(_mm512_castsi128_si512(entries), table);
    let right = usize::from(_mm_cmpgt_epu8_mask(_mm512_castsi512_si128(values), ranks));
    // SAFETY: places 8 to 15 compare with 255 and never go right, so the mask is below 256; every element of
    // `LEAF_OF` is below 8.
    unsafe { *subtree.leaves.get_unchecked(usize::from(*LEAF_OF.get_unchecked(right))) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,popcnt")]
fn look_up<const WIDE: bool>(entries: __m512i, table: &[__m512i; 2]) -> __m512i {
    if WIDE {
        _mm512_permutex2var_epi8(table[0], entries, table[1])
    } else {
        _mm512_permutexvar_epi8(entries, table[0])
    }
}

/// Index of the subtree that each of 64 trees comes to.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,popcnt")]
fn choose_at<const WIDE: bool, const T: usize>(block: &Block, table: &[__m512i; 2]) -> __m512i {
    assert_eq!(block.sliced.len(), (1 << T) - 1, "a block of another height");
    let nodes = block.sliced.as_ptr();
    let one = _mm512_set1_epi8(1);
    let mut chosen = _mm512_setzero_si512();
    let mut right = [0u64; MAX_TOP];
    macro_rules! level {
        ($l:literal, $pick:ident) => {
            if T > $l {
                // SAFETY: level l starts at 2^l - 1 and has 2^l nodes; all T levels are there (asserted).
                let (entry, rank) = unsafe { $pick(nodes.add((1 << $l) - 1), &right) };
                right[$l] = _mm512_cmpgt_epu8_mask(look_up::<WIDE>(entry, table), rank);
                chosen = _mm512_add_epi8(chosen, chosen);
                chosen = _mm512_mask_add_epi8(chosen, right[$l], chosen, one);
            }
        };
    }
    level!(0, pick_0);
    level!(1, pick_1);
    level!(2, pick_2);
    level!(3, pick_3);
    level!(4, pick_4);
    chosen
}

type Picked = (__m512i, __m512i);

/// Loads the one node of the first level, for all trees of a slice.
///
/// # Safety
/// `nodes` points to at least one node.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,popcnt")]
unsafe fn pick_0(nodes: *const SlicedNode, _right: &[u64; MAX_TOP]) -> Picked {
    // SAFETY: by contract; a node is two times 64 bytes, aligned to 64.
    unsafe {
        (_mm512_load_si512((&raw const (*nodes).entry).cast()), _mm512_load_si512((&raw const (*nodes).rank).cast()))
    }
}

macro_rules! pick {
    ($name:ident, $below:ident, $bit:literal) => {
        /// Picks each tree's node among the `2^(bit + 1)` of a level, by the bits of `right`.
        ///
        /// # Safety
        /// `nodes` points to at least `2^(bit + 1)` nodes.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,popcnt")]
        unsafe fn $name(nodes: *const SlicedNode, right: &[u64; MAX_TOP]) -> Picked {
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
