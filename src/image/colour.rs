//! Colour maps, from cold (0) to hot (255).

/// The colours of a heatmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the colour maps")]
pub enum ColourMap {
    Jet,
    Turbo,
    Viridis,
    Inferno,
    Magma,
}

/// Corners of matplotlib's `jet`, which is linear between them: (position, value) for red, green
/// and blue. `colorous` has the others, but not this one, which the first sites use.
const JET: [&[(f64, f64)]; 3] = [
    &[
        (0.0, 0.0),
        (0.35, 0.0),
        (0.66, 1.0),
        (0.89, 1.0),
        (1.0, 0.5),
    ],
    &[
        (0.0, 0.0),
        (0.125, 0.0),
        (0.375, 1.0),
        (0.64, 1.0),
        (0.91, 0.0),
        (1.0, 0.0),
    ],
    &[
        (0.0, 0.5),
        (0.11, 1.0),
        (0.34, 1.0),
        (0.65, 0.0),
        (1.0, 0.0),
    ],
];

impl ColourMap {
    /// The 256 colours of this map, red, green, blue.
    #[must_use]
    pub fn table(self) -> [[u8; 3]; 256] {
        std::array::from_fn(|step| {
            // `step` is below 256, so nothing is lost.
            let position = step as f64 / 255.0;
            match self.gradient() {
                Some(gradient) => gradient.eval_continuous(position).into_array(),
                None => JET.map(|corners| channel(corners, position)),
            }
        })
    }

    fn gradient(self) -> Option<colorous::Gradient> {
        match self {
            ColourMap::Jet => None,
            ColourMap::Turbo => Some(colorous::TURBO),
            ColourMap::Viridis => Some(colorous::VIRIDIS),
            ColourMap::Inferno => Some(colorous::INFERNO),
            ColourMap::Magma => Some(colorous::MAGMA),
        }
    }
}

/// The value of a piecewise linear channel at `position` in 0..1, as 0..255.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "corner values lie in 0..=1, so the product lies in 0..=255"
)]
fn channel(corners: &[(f64, f64)], position: f64) -> u8 {
    let value = corners
        .windows(2)
        .find(|pair| position <= pair[1].0)
        .map_or(0.0, |pair| {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            y0 + (position - x0) / (x1 - x0) * (y1 - y0)
        });
    (value * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jet_is_matplotlibs() {
        // matplotlib.colormaps["jet"](i, bytes=True) at these steps; one level for rounding.
        let expected = [
            (0, [0, 0, 127]),
            (64, [0, 128, 255]),
            (128, [124, 255, 121]),
            (192, [255, 148, 0]),
            (255, [127, 0, 0]),
        ];
        let table = ColourMap::Jet.table();
        for (step, colour) in expected {
            for (ours, theirs) in table[step].into_iter().zip(colour) {
                assert!(ours.abs_diff(theirs) <= 1, "{step}: {:?}", table[step]);
            }
        }
    }

    #[test]
    fn every_map_ends_brighter_or_redder_than_it_begins() {
        use ColourMap::{Inferno, Jet, Magma, Turbo, Viridis};
        for map in [Jet, Turbo, Viridis, Inferno, Magma] {
            let table = map.table();
            assert!(table[255][0] > table[0][0], "{map:?}");
        }
    }
}
