//! Pixels to another size to the bit as Pillow resamples them, for models that were trained on pictures
//! which Pillow resized.
//!
//! A crate's own fixed point is a level away here and there, and on a picture of a few large areas a
//! network makes tenths of a percent of that. So this is Pillow's arithmetic: two passes, across and
//! then down, each with weights of [`WEIGHT_BITS`] bits and sums that end in 8 bits. A filter is as wide
//! as the reduction, which is what keeps fine patterns from turning into coarse ones (K. Turkowski,
//! *Filters for Common Resampling Tasks*, 1990).
//!
//! A weight is split in two halves of 16 bits: for those every processor has an instruction that
//! multiplies eight of them and adds the products, which [`wide`] names on x86-64 and ARM alike: left to
//! the compiler, half of it was used, or none. It wants samples that lie side by side, so each pass
//! works on lines of one channel and writes its result lying on its side, which makes the columns of the
//! first pass the lines of the second.

use std::ops::Range;

use image::Rgb;
use wide::{i16x8, i32x4};

use super::kernel::{self, Kernel};
use super::{Part, Pixels};
use crate::model::Resize;

/// Bits of a weight behind the point: 32, less 8 of a sample and 2 for what a filter overshoots.
const WEIGHT_BITS: u32 = 22;

/// Bits of the lower half of a weight.
const FINE_BITS: u32 = 11;

/// Half of the last place: sums are rounded when they are cut.
const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// How many products are made at once.
const LANES: usize = 8;

/// How many lines take a window's weights one after the other: their levels lie side by side, and one by
/// one they would be written all over the memory.
const BLOCK: usize = 8;

/// The weights of one side: which samples each of the new ones is made of.
struct Weights {
    windows: Vec<Window>,
    /// Upper and lower halves, window after window: `coarse * 2^FINE_BITS + fine`, in units of
    /// `1 / 2^WEIGHT_BITS`. A window's last ones are zeros where its samples do not fill them.
    coarse: Vec<i16x8>,
    fine: Vec<i16x8>,
}

/// The samples `first..first + count` of a line, and where their weights are.
struct Window {
    first: usize,
    count: usize,
    weights: Range<usize>,
}

impl Weights {
    /// For `length` new samples out of `extent` from `start` on, of a line that has `samples`.
    fn new(kernel: &Kernel, samples: u32, place: (f64, f64), length: u32) -> Self {
        let mut weights = Weights {
            windows: Vec::with_capacity(length as usize),
            coarse: Vec::new(),
            fine: Vec::new(),
        };
        for (samples, shares) in kernel.windows(samples, place, length) {
            weights.push(samples.start, &shares);
        }
        weights
    }

    /// Appends a window whose weights add up to one.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a weight is between -1 and 2: 24 bits with its fraction, 13 of them in the upper half"
    )]
    fn push(&mut self, first: u32, shares: &[f64]) {
        let at = self.coarse.len();
        for shares in shares.chunks(LANES) {
            let (mut coarse, mut fine) = ([0; LANES], [0; LANES]);
            for ((share, coarse), fine) in shares.iter().zip(&mut coarse).zip(&mut fine) {
                let weight = (share * f64::from(1 << WEIGHT_BITS)).round() as i32;
                *coarse = (weight >> FINE_BITS) as i16;
                *fine = (weight & ((1 << FINE_BITS) - 1)) as i16;
            }
            self.coarse.push(i16x8::new(coarse));
            self.fine.push(i16x8::new(fine));
        }
        self.windows.push(Window {
            first: first as usize,
            count: shares.len(),
            weights: at..self.coarse.len(),
        });
    }

    /// Leaves out the samples that no window needs, and says which remain.
    fn trim(&mut self) -> Range<usize> {
        let firsts = self.windows.iter().map(|window| window.first);
        let ends = self
            .windows
            .iter()
            .map(|window| window.first + window.count);
        let needed = firsts.min().unwrap_or(0)..ends.max().unwrap_or(0);
        for window in &mut self.windows {
            window.first -= needed.start;
        }
        needed
    }

    /// The new level that `window` makes of `line`, which ends with [`LANES`] samples that do not count.
    fn apply(&self, window: &Window, line: &[i16]) -> u8 {
        let (samples, _) = line[window.first..].as_chunks();
        let count = window.weights.len();
        level(dot(
            &samples[..count],
            &self.coarse[window.weights.clone()],
            &self.fine[window.weights.clone()],
        ))
    }
}

/// `part` of `source` at `width` x `height`; `None` for a filter that mixes nothing.
pub(super) fn resample(
    source: &Pixels,
    part: Part,
    (width, height): (u32, u32),
    filter: Resize,
) -> Option<Pixels> {
    let kernel = kernel::of(filter)?;
    let (columns, rows) = source.dimensions();
    let across = Weights::new(&kernel, columns, (part.left, part.width), width);
    let down = Weights::new(&kernel, rows, (part.top, part.height), height);
    // Ribbons would grow between the passes: Pillow takes those down first.
    if rows > 100 * columns && height < rows {
        Some(down_then_across(source, &down, &across))
    } else {
        Some(across_then_down(source, &across, down))
    }
}

fn across_then_down(source: &Pixels, across: &Weights, mut down: Weights) -> Pixels {
    let stride = source.width() as usize * 3;
    let rows = down.trim();
    let narrow = pass(rows.len(), across, |row, channel, line| {
        let row = &source.as_raw()[(rows.start + row) * stride..][..stride];
        line.extend(row[channel..].iter().step_by(3).copied().map(i16::from));
    });
    let width = across.windows.len();
    let small = pass(width, &down, |x, channel, line| {
        let column = &narrow[channel][x * rows.len()..][..rows.len()];
        line.extend(column.iter().copied().map(i16::from));
    });
    picture((width, down.windows.len()), |channel, x, y| {
        small[channel][y * width + x]
    })
}

fn down_then_across(source: &Pixels, down: &Weights, across: &Weights) -> Pixels {
    let columns = source.width() as usize;
    let low = pass(columns, down, |column, channel, line| {
        let column = source.as_raw()[column * 3 + channel..]
            .iter()
            .step_by(columns * 3);
        line.extend(column.copied().map(i16::from));
    });
    let height = down.windows.len();
    let small = pass(height, across, |y, channel, line| {
        let row = &low[channel][y * columns..][..columns];
        line.extend(row.iter().copied().map(i16::from));
    });
    picture((across.windows.len(), height), |channel, x, y| {
        small[channel][x * height + y]
    })
}

/// Applies `weights` to each channel of so many lines, which `read` appends to what is there. Of the
/// result, the levels of one window lie side by side.
fn pass(
    lines: usize,
    weights: &Weights,
    read: impl Fn(usize, usize, &mut Vec<i16>),
) -> [Vec<u8>; 3] {
    let mut planes = [0; 3].map(|level| vec![level; lines * weights.windows.len()]);
    let mut block = Vec::new();
    for first in (0..lines).step_by(BLOCK) {
        let numbers = first..lines.min(first + BLOCK);
        for (channel, plane) in planes.iter_mut().enumerate() {
            block.clear();
            for number in numbers.clone() {
                read(number, channel, &mut block);
                block.resize(block.len() + LANES, 0);
            }
            let length = block.len() / numbers.len();
            for (window, levels) in weights.windows.iter().zip(plane.chunks_exact_mut(lines)) {
                let places = levels[numbers.clone()].iter_mut();
                for (place, line) in places.zip(block.chunks_exact(length)) {
                    *place = weights.apply(window, line);
                }
            }
        }
    }
    planes
}

/// The sum of samples times weights. The sum of one half may wrap: the whole ends where it should.
fn dot(samples: &[[i16; LANES]], coarse: &[i16x8], fine: &[i16x8]) -> i32 {
    let (mut upper, mut lower) = (i32x4::ZERO, i32x4::ZERO);
    for ((samples, coarse), fine) in samples.iter().zip(coarse).zip(fine) {
        let samples = i16x8::new(*samples);
        upper += samples.dot(*coarse);
        lower += samples.dot(*fine);
    }
    ((upper << FINE_BITS) + lower).reduce_add()
}

fn level(sum: i32) -> u8 {
    let value = sum.saturating_add(HALF) >> WEIGHT_BITS;
    u8::try_from(value.clamp(0, 255)).expect("clamped")
}

/// A picture of the level that each channel has at a place.
fn picture((width, height): (usize, usize), level: impl Fn(usize, usize, usize) -> u8) -> Pixels {
    let side = |side: usize| u32::try_from(side).expect("it was a u32");
    Pixels::from_fn(side(width), side(height), |x, y| {
        Rgb([0, 1, 2].map(|channel| level(channel, x as usize, y as usize)))
    })
}
