//! The convolution kernels of resizing: what share a pixel at a distance has.

use std::f64::consts::PI;
use std::ops::Range;

use crate::model::Resize;

/// A kernel for enlarging; a reduction widens it.
pub(super) struct Kernel {
    /// Beyond this distance in pixels the value is 0.
    pub(super) support: f64,
    /// The share of a pixel at this distance, before shares are made to add up to one.
    pub(super) value: fn(f64) -> f64,
}

/// The kernel of a filter; none for [`Resize::Nearest`], which mixes nothing.
pub(super) fn of(filter: Resize) -> Option<Kernel> {
    let (support, value): (f64, fn(f64) -> f64) = match filter {
        Resize::Nearest => return None,
        Resize::Bilinear => (1.0, |x| (1.0 - x.abs()).max(0.0)),
        Resize::Bicubic => (2.0, catmull_rom),
        Resize::Lanczos => (3.0, lanczos),
    };
    Some(Kernel { support, value })
}

impl Kernel {
    /// What each of `length` new samples is made of, out of `extent` from `start` on, of a line that has
    /// `samples`: which of them, and their weights, which add up to one.
    pub(super) fn windows(
        &self,
        samples: u32,
        (start, extent): (f64, f64),
        length: u32,
    ) -> impl Iterator<Item = (Range<u32>, Vec<f64>)> {
        let ratio = extent / f64::from(length);
        let reduction = ratio.max(1.0);
        let support = self.support * reduction;
        (0..length).map(move |position| {
            let centre = start + (f64::from(position) + 0.5) * ratio;
            let first = sample_at(centre - support, samples);
            let end = sample_at(centre + support, samples).max(first);
            let mut weights: Vec<f64> = (first..end)
                .map(|x| (self.value)((f64::from(x) - centre + 0.5) / reduction))
                .collect();
            let sum: f64 = weights.iter().sum();
            let whole = if sum == 0.0 { 1.0 } else { sum };
            weights.iter_mut().for_each(|weight| *weight /= whole);
            (first..end, weights)
        })
    }
}

/// The number of the sample whose middle is the first at or after `position`, within `0..=samples`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped first"
)]
fn sample_at(position: f64, samples: u32) -> u32 {
    (position + 0.5).clamp(0.0, f64::from(samples)) as u32
}

/// The cubic of R. Keys with `a = -0.5`.
fn catmull_rom(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// A sinc under the middle of one three times as wide.
fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) {
        sinc(x) * sinc(x / 3.0)
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (x * PI).sin() / (x * PI)
    }
}
