//! The convolution kernels of resizing: what share a pixel at a distance has.

use std::f64::consts::PI;

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
