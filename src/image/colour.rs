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

/// Every fifth colour of Google's `turbo`, 0xRRGGBB; linear between them it is at most two levels
/// from the whole table. `colorous` has its polynomial, which is up to 32 levels away.
const TURBO: [u32; 52] = [
    0x30_123b, 0x36_215f, 0x3b_2f80, 0x3f_3e9c, 0x42_4bb5, 0x45_59cb, 0x46_66dd, 0x47_73eb,
    0x46_80f6, 0x45_8cfd, 0x40_99ff, 0x38_a5fb, 0x2f_b2f4, 0x27_bee9, 0x1f_c9dd, 0x1a_d4d0,
    0x18_ddc2, 0x1a_e4b6, 0x22_ebaa, 0x2f_f19b, 0x3f_f68a, 0x52_fa7a, 0x65_fd69, 0x79_fe59,
    0x8b_ff4b, 0x9c_fe40, 0xa9_fb39, 0xb7_f735, 0xc3_f134, 0xd0_ea34, 0xdb_e236, 0xe5_d938,
    0xee_cf3a, 0xf5_c53a, 0xfa_ba39, 0xfd_ae35, 0xfe_a130, 0xfe_932a, 0xfc_8423, 0xf9_751d,
    0xf4_6617, 0xef_5811, 0xe8_4b0c, 0xe1_4109, 0xd8_3706, 0xce_2d04, 0xc3_2503, 0xb7_1d02,
    0xa9_1601, 0x9b_0f01, 0x8b_0902, 0x7a_0403,
];

impl ColourMap {
    /// The 256 colours of this map, red, green, blue, as matplotlib has them.
    #[must_use]
    pub fn table(self) -> [[u8; 3]; 256] {
        match self {
            ColourMap::Jet => table(|position| JET.map(|corners| channel(corners, position))),
            ColourMap::Turbo => table(turbo),
            ColourMap::Viridis => gradient(colorous::VIRIDIS),
            ColourMap::Inferno => gradient(colorous::INFERNO),
            ColourMap::Magma => gradient(colorous::MAGMA),
        }
    }
}

/// A table from the colour at each position in 0..1.
fn table(colour: impl Fn(f64) -> [u8; 3]) -> [[u8; 3]; 256] {
    // Steps are below 256, so nothing is lost.
    std::array::from_fn(|step| colour(step as f64 / 255.0))
}

fn gradient(gradient: colorous::Gradient) -> [[u8; 3]; 256] {
    table(|position| gradient.eval_continuous(position).into_array())
}

/// The colour at `position` in 0..1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions lie in 0..=1, and a mean of two numbers in 0..=255 lies there too"
)]
fn turbo(position: f64) -> [u8; 3] {
    let stretches = TURBO.len() - 1;
    let place = position * stretches as f64;
    let before = (place.floor() as usize).min(stretches - 1);
    let share = place - before as f64;
    std::array::from_fn(|channel| {
        let [from, to] = [TURBO[before], TURBO[before + 1]].map(|colour| {
            let [_, channels @ ..] = colour.to_be_bytes();
            f64::from(channels[channel])
        });
        (from + share * (to - from)).round() as u8
    })
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

    /// All 256 steps are compared in tests/python; these are three of each map.
    #[test]
    fn maps_are_matplotlibs() {
        // matplotlib.colormaps[name](i, bytes=True) at these steps.
        let expected = [
            (
                ColourMap::Jet,
                [
                    (64, [0, 128, 255]),
                    (137, [154, 255, 92]),
                    (192, [255, 148, 0]),
                ],
            ),
            (
                ColourMap::Turbo,
                [
                    (64, [40, 187, 235]),
                    (137, [187, 244, 52]),
                    (192, [250, 125, 32]),
                ],
            ),
            (
                ColourMap::Viridis,
                [
                    (64, [58, 82, 139]),
                    (137, [30, 153, 138]),
                    (192, [94, 201, 97]),
                ],
            ),
            (
                ColourMap::Inferno,
                [
                    (64, [87, 15, 109]),
                    (137, [200, 62, 75]),
                    (192, [249, 142, 8]),
                ],
            ),
            (
                ColourMap::Magma,
                [
                    (64, [80, 18, 123]),
                    (137, [197, 60, 116]),
                    (192, [251, 136, 97]),
                ],
            ),
        ];
        for (map, steps) in expected {
            let table = map.table();
            for (step, colour) in steps {
                for (ours, theirs) in table[step].into_iter().zip(colour) {
                    // It cuts off where we round; turbo may be one more away.
                    assert!(
                        ours.abs_diff(theirs) <= 2,
                        "{map:?} {step}: {:?}",
                        table[step]
                    );
                }
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
