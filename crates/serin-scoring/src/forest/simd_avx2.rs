//! 32 trees at once: AVX2, the same scheme as `simd_avx512` with byte masks in place of mask registers, and
//! the last levels of four trees in one vector.
#![expect(unsafe_code, reason = "vector instructions; `add` is called only where `is_available` said so")]

use super::blocks::{Block, LEAF_OF, MAX_TOP, SlicedNode, TREES};
use super::quantised::{Quantised, RankRoom};
use super::ranks::RankBytes;
use super::ranks::rank_row;
use std::arch::x86_64::*;

/// Trees whose last levels share a vector.
const TOGETHER: usize = 4;

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")
}

pub(super) fn add(q: &Quantised, rows: &[f32], num_features: usize, margins: &mut [f32], outputs: usize) {
    assert!(is_available(), "AVX2 path on a processor without it");
    // SAFETY: the features that the function is compiled for were just detected.
    unsafe {
        match q.width {
            32 => add_rows::<4>(q, rows, num_features, margins, outputs),
            _ => add_rows::<8>(q, rows, num_features, margins, outputs),
        }
    }
}

#[target_feature(enable = "avx2,popcnt")]
fn add_rows<const CHUNKS: usize>(
    q: &Quantised,
    rows: &[f32],
    num_features: usize,
    margins: &mut [f32],
    outputs: usize,
) {
    let mut room = RankRoom::new();
    let ranks = room.of(q.ranks.features.len());
    let mut bytes = RankBytes::EMPTY;
    for (row, margins) in rows.chunks_exact(num_features).zip(margins.chunks_exact_mut(outputs)) {
        rank_row!(q.ranks, row, ranks, |sixteen, x| {
            let x = _mm256_set1_ps(x);
            // SAFETY: a sixteen has 16 float32.
            let (low, high) = unsafe { (_mm256_loadu_ps(sixteen.as_ptr()), _mm256_loadu_ps(sixteen.as_ptr().add(8))) };
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(low, x));
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(high, x));
            (low | high << 8).count_ones() as usize
        });
        for table in &q.tables {
            table.fill(ranks, q.width, &mut bytes);
            let mut chunks = [_mm256_setzero_si256(); CHUNKS];
            for (chunk, sixteen) in chunks.iter_mut().zip(bytes.0.chunks_exact(16)) {
                // SAFETY: 16 bytes are there.
                *chunk = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(sixteen.as_ptr().cast()) });
            }
            for block in &table.blocks {
                add_block(block, &chunks, margins);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn add_block<const CHUNKS: usize>(block: &Block, table: &[__m256i; CHUNKS], margins: &mut [f32]) {
    let mut chosen = [0u8; TREES];
    for half in 0..block.trees.div_ceil(32) {
        let subtrees = choose(block, half, table);
        // SAFETY: `half` is 0 or 1, `chosen` has 64 bytes.
        unsafe { _mm256_storeu_si256(chosen.as_mut_ptr().add(32 * half).cast(), subtrees) };
    }
    assert!(block.trees <= TREES && block.subtrees.len() == block.trees << block.top, "a block out of shape");
    let subtrees = block.subtrees.as_ptr();
    let mut sum = margins[0];
    let mut first = 0;
    while first < block.trees {
        let at = |i: usize| {
            let tree = (first + i).min(block.trees - 1);
            // SAFETY: `choose` gives indexes below 2^top, and there are 2^top subtrees a tree (asserted).
            unsafe { &*subtrees.add((tree << block.top) + usize::from(chosen[tree])) }
        };
        let four = [at(0), at(1), at(2), at(3)];
        let entries = eight_of_each(&four[0].entries, &four[1].entries, &four[2].entries, &four[3].entries);
        let ranks = eight_of_each(&four[0].ranks, &four[1].ranks, &four[2].ranks, &four[3].ranks);
        let values = look_up(table, entries);
        // value <= rank, unsigned: their minimum is the value.
        let left = _mm256_cmpeq_epi8(_mm256_min_epu8(values, ranks), values);
        let right = !_mm256_movemask_epi8(left) as u32;
        // SAFETY: every element of `LEAF_OF` is below 8.
        let leaf = |i: usize| unsafe {
            *four[i].leaves.get_unchecked(usize::from(LEAF_OF[(right >> (8 * i) & 0xff) as usize]))
        };
        if margins.len() == 1 && first + TOGETHER <= block.trees {
            // In a register: a sum in memory would wait for its own store at every tree.
            sum = sum + leaf(0) + leaf(1) + leaf(2) + leaf(3);
        } else {
            margins[0] = if margins.len() == 1 { sum } else { margins[0] };
            for (i, &output) in block.outputs[first..].iter().take(TOGETHER).enumerate() {
                margins[output as usize] += leaf(i);
            }
            sum = margins[0];
        }
        first += TOGETHER;
    }
    margins[0] = if margins.len() == 1 { sum } else { margins[0] };
}

/// The first eight bytes of each of four places.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn eight_of_each(a: &[u8; 16], b: &[u8; 16], c: &[u8; 16], d: &[u8; 16]) -> __m256i {
    // SAFETY: 16 bytes each.
    let (a, b, c, d) = unsafe {
        (
            _mm_loadl_epi64(a.as_ptr().cast()),
            _mm_loadl_epi64(b.as_ptr().cast()),
            _mm_loadl_epi64(c.as_ptr().cast()),
            _mm_loadl_epi64(d.as_ptr().cast()),
        )
    };
    _mm256_set_m128i(_mm_unpacklo_epi64(c, d), _mm_unpacklo_epi64(a, b))
}

/// Index of the subtree that each of 32 trees comes to: the first or the second half of the block.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn choose<const CHUNKS: usize>(block: &Block, half: usize, table: &[__m256i; CHUNKS]) -> __m256i {
    match block.top {
        0 => _mm256_setzero_si256(),
        1 => choose_at::<CHUNKS, 1>(block, half, table),
        2 => choose_at::<CHUNKS, 2>(block, half, table),
        3 => choose_at::<CHUNKS, 3>(block, half, table),
        4 => choose_at::<CHUNKS, 4>(block, half, table),
        _ => choose_at::<CHUNKS, MAX_TOP>(block, half, table),
    }
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn choose_at<const CHUNKS: usize, const T: usize>(block: &Block, half: usize, table: &[__m256i; CHUNKS]) -> __m256i {
    assert_eq!(block.sliced.len(), (1 << T) - 1, "a block of another height");
    let nodes = block.sliced.as_ptr();
    let mut chosen = _mm256_setzero_si256();
    let mut right = [_mm256_setzero_si256(); MAX_TOP];
    let offset = 32 * half;
    macro_rules! level {
        ($l:literal, $pick:ident) => {
            if T > $l {
                // SAFETY: level l starts at 2^l - 1 and has 2^l nodes; all T levels are there (asserted).
                let (entry, rank) = unsafe { $pick(nodes.add((1 << $l) - 1), offset, &right) };
                let value = look_up(table, entry);
                let left = _mm256_cmpeq_epi8(_mm256_min_epu8(value, rank), value);
                right[$l] = _mm256_xor_si256(left, _mm256_set1_epi8(-1));
                // The mask is -1 where the tree goes right.
                chosen = _mm256_sub_epi8(_mm256_add_epi8(chosen, chosen), right[$l]);
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

/// `table[index]` for indexes below 16 x CHUNKS. A shuffle gives zero where the index has its high bit: the
/// saturating addition sets it for every index outside the chunk.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
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

/// Loads the one node of the first level, for all trees of a slice.
///
/// # Safety
/// `nodes` points to at least one node; `offset` is 0 or 32.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn pick_0(nodes: *const SlicedNode, offset: usize, _right: &[__m256i; MAX_TOP]) -> Picked {
    // SAFETY: by contract; a node is two times 64 bytes, aligned to 64.
    unsafe {
        let node = nodes.cast::<u8>().add(offset);
        (_mm256_load_si256(node.cast()), _mm256_load_si256(node.add(TREES).cast()))
    }
}

macro_rules! pick {
    ($name:ident, $below:ident, $bit:literal) => {
        /// Picks each tree's node among the `2^(bit + 1)` of a level, by the bits of `right`.
        ///
        /// # Safety
        /// `nodes` points to at least `2^(bit + 1)` nodes; `offset` is 0 or 32.
        #[inline]
        #[target_feature(enable = "avx2,popcnt")]
        unsafe fn $name(nodes: *const SlicedNode, offset: usize, right: &[__m256i; MAX_TOP]) -> Picked {
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
