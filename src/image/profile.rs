//! Colour profiles: pixels as the profile that came with them means them, in sRGB.
//!
//! The conversion takes place after a JPEG was decoded smaller and before the resize, where Pillow's
//! users do it too: on a photo of 12 megapixels that is 0.75 megapixels. Only matrices, curves and
//! tables of red, green and blue or of grey count. Ink is converted by formula when it is decoded,
//! and its profile is left aside.

use moxcms::{CmsError, ColorProfile, DataColorSpace, Layout, TransformOptions};

use super::{Photo, Pixels};

/// The photo in sRGB. A profile that is broken, or of another kind of colours, is none: nothing says
/// that the picture is broken as well.
pub(super) fn in_srgb(mut photo: Photo, profile: Option<Vec<u8>>) -> Photo {
    if let Some(profile) = profile
        && let Err(error) = convert(&mut photo.pixels, &profile)
    {
        tracing::debug!(%error, "a colour profile is left aside");
    }
    photo
}

fn convert(pixels: &mut Pixels, profile: &[u8]) -> Result<(), CmsError> {
    let profile = ColorProfile::new_from_slice(profile)?;
    let (layout, channels) = match profile.color_space {
        DataColorSpace::Rgb => (Layout::Rgb, 3),
        DataColorSpace::Gray => (Layout::Gray, 1),
        _ => return Err(CmsError::UnsupportedProfileConnection),
    };
    let srgb = ColorProfile::new_srgb();
    let options = TransformOptions::default();
    let transform = profile.create_transform_8bit(layout, &srgb, Layout::Rgb, options)?;
    let row_bytes = 3 * pixels.width() as usize;
    let mut stored = Vec::with_capacity(row_bytes);
    for row in pixels.chunks_exact_mut(row_bytes) {
        stored.clear();
        // Grey has been repeated in all three.
        stored.extend(row.iter().step_by(3 / channels));
        transform.transform(&stored, row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo() -> Photo {
        Photo::from(Pixels::from_pixel(2, 1, [200, 100, 50].into()))
    }

    #[test]
    fn profile_changes_colours_and_a_broken_one_does_not() {
        let p3 = ColorProfile::new_display_p3().encode().expect("its own");
        let wide = in_srgb(photo(), Some(p3.clone()));
        assert!(wide.pixels.get_pixel(1, 0).0[0] > 210, "{wide:?}");
        for end in [0, 1, 60, 128, 140, p3.len() / 2] {
            assert_eq!(in_srgb(photo(), Some(p3[..end].to_vec())), photo(), "{end}");
        }
        assert_eq!(in_srgb(photo(), None), photo());
    }
}
