//! A heatmap to the size of what it covers: the kernels of [`resample`](super::resample) over one channel
//! of floating-point numbers, as few values become many.

use super::kernel::{self, Kernel};
use super::{Heatmap, Part};
use crate::model::Resize;

/// `part` of the map, in 0..1 of its sides, at `width` x `height`, row by row from the top. Where the part
/// ends inside the map, what lies beyond still shapes the values at its edge. A bicubic curve swings a
/// little beyond 0..1.
pub(super) fn enlarge(
    heatmap: &Heatmap,
    part: Part,
    (width, height): (u32, u32),
    filter: Resize,
) -> Vec<f32> {
    let kernel = kernel::of(filter).expect("a heatmap is drawn smoothly");
    let columns = (part.left, part.width, heatmap.width);
    let rows = (part.top, part.height, heatmap.height);
    let across = weights(&kernel, columns, width);
    let wide: Vec<Vec<f32>> = heatmap
        .values
        .chunks_exact(heatmap.width as usize)
        .map(|row| across.iter().map(|window| window.apply(row)).collect())
        .collect();
    let mut values = vec![0.0; across.len() * height as usize];
    let lines = values.chunks_exact_mut(across.len());
    for (line, window) in lines.zip(weights(&kernel, rows, height)) {
        for (weight, row) in window.weights.iter().zip(&wide[window.first..]) {
            for (value, above) in line.iter_mut().zip(row) {
                *value += weight * above;
            }
        }
    }
    values
}

/// The samples from `first` on that a new one is made of.
struct Window {
    first: usize,
    weights: Vec<f32>,
}

impl Window {
    fn apply(&self, line: &[f32]) -> f32 {
        let samples = &line[self.first..];
        let products = self.weights.iter().zip(samples);
        products.map(|(weight, sample)| weight * sample).sum()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a weight is between -1 and 2"
)]
fn weights(kernel: &Kernel, (start, extent, samples): (f64, f64, u32), length: u32) -> Vec<Window> {
    let side = f64::from(samples);
    kernel
        .windows(samples, (start * side, extent * side), length)
        .map(|(range, weights)| Window {
            first: range.start as usize,
            weights: weights.into_iter().map(|weight| weight as f32).collect(),
        })
        .collect()
}
