//! What a JPEG says about itself, read without decoding anything.
//!
//! One walk over the markers of the whole file finds its size, coding, orientation and number of
//! scans, and whether it has an end. Decoders tell some of this too, but late (scans are counted by
//! decoding them) or not at all (all of ours read zeros where something is missing, and say nothing).

use image::metadata::Orientation;

use super::super::PictureError;

/// More passes over a picture than any encoder makes: libjpeg's progressive script has 10, the
/// searching ones (mozjpeg, jpegrescan) up to about 15. Each pass visits every block again, which is
/// how a small file takes minutes.
const MAX_SCANS: u32 = 32;

/// Facts about a JPEG that is whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// In pixels, as stored.
    pub(super) width: u32,
    /// In pixels, as stored.
    pub(super) height: u32,
    /// Horizontal and vertical sampling factor of each component.
    pub(super) components: Vec<(u8, u8)>,
    /// Whether all coefficients must be kept until the last scan.
    pub(super) keeps_coefficients: bool,
    /// How the stored picture is turned upright.
    pub(super) orientation: Orientation,
    /// Bytes of the file up to its end marker; some cameras append to it.
    pub(super) length: usize,
    /// Whether there is an end marker; without one, `length` is where the last whole segment ends.
    pub(super) whole: bool,
}

impl Header {
    /// Walks over `file`.
    ///
    /// # Errors
    ///
    /// [`PictureError`] for a file that ends early, a coding that we do not read and too many scans.
    pub(super) fn read(file: &[u8]) -> Result<Self, PictureError> {
        let header = Self::read_what_is_there(file)?;
        if header.whole {
            Ok(header)
        } else {
            Err(PictureError::Broken(
                "the file ends before the picture does".into(),
            ))
        }
    }

    /// Walks over `file`, which may end within or behind its first scan.
    ///
    /// # Errors
    ///
    /// As [`Header::read`], but for the end.
    pub(super) fn read_what_is_there(file: &[u8]) -> Result<Self, PictureError> {
        let mut rest = file.get(2..).unwrap_or_default();
        let (mut frame, mut orientation, mut scans) = (None, None, 0);
        while let Some((marker, segment, behind)) = next_segment(rest) {
            if behind.is_empty() && !marker::stands_alone(marker) {
                break;
            }
            rest = behind;
            match marker {
                marker::END => {
                    let length = file.len() - rest.len();
                    return finish(frame, orientation, scans, (length, true));
                }
                marker::EXIF if orientation.is_none() => {
                    orientation = segment
                        .strip_prefix(b"Exif\0\0")
                        .and_then(Orientation::from_exif_chunk);
                }
                marker::SCAN => {
                    scans += 1;
                    rest = behind_scan(rest);
                }
                _ if marker::is_frame(marker) => {
                    if frame.is_some() {
                        return Err(PictureError::Unsupported(
                            "it is a hierarchical JPEG".into(),
                        ));
                    }
                    frame = Some(read_frame(marker, segment)?);
                }
                _ => {}
            }
        }
        finish(frame, orientation, scans, (file.len() - rest.len(), false))
    }

    /// Bytes of the coefficients that a progressive decoder keeps: two a sample, in whole MCUs,
    /// however small the picture is wanted.
    pub(super) fn coefficient_bytes(&self) -> u64 {
        let most = |of: fn(&(u8, u8)) -> u8| self.components.iter().map(of).max().unwrap_or(1);
        let (across, down) = (u32::from(most(|c| c.0)), u32::from(most(|c| c.1)));
        let mcus =
            u64::from(self.width.div_ceil(8 * across)) * u64::from(self.height.div_ceil(8 * down));
        let blocks: u64 = self
            .components
            .iter()
            .map(|(across, down)| u64::from(*across) * u64::from(*down))
            .sum();
        mcus * blocks * 64 * 2
    }
}

pub(super) mod marker {
    pub(in super::super) const END: u8 = 0xd9;
    pub(in super::super) const SCAN: u8 = 0xda;
    pub(super) const EXIF: u8 = 0xe1;
    pub(in super::super) const PROFILE: u8 = 0xe2;

    /// Frame headers; C4, C8 and CC are tables and an extension.
    pub(super) fn is_frame(marker: u8) -> bool {
        matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
    }

    /// Whether nothing but the marker itself belongs to it.
    pub(super) fn stands_alone(marker: u8) -> bool {
        matches!(marker, 0x00 | 0x01 | 0xd0..=0xd9)
    }
}

/// The next marker, its segment and what follows; bytes before it are skipped, as libjpeg does.
/// `None` at the end of the file. A segment that is cut off is as long as it is.
pub(super) fn next_segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let start = bytes.iter().position(|byte| *byte == 0xff)?;
    let fill = bytes[start..].iter().take_while(|byte| **byte == 0xff);
    let at = start + fill.count();
    let (marker, rest) = (*bytes.get(at)?, &bytes[at + 1..]);
    if marker::stands_alone(marker) {
        return Some((marker, &[], rest));
    }
    let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?)).max(2);
    let (segment, behind) = rest.split_at(length.min(rest.len()));
    Some((marker, &segment[2..], behind))
}

/// What follows a scan's data: the next marker that is no escape (00) and no restart (D0 to D7).
fn behind_scan(mut bytes: &[u8]) -> &[u8] {
    while let Some(at) = bytes.iter().position(|byte| *byte == 0xff) {
        match bytes.get(at + 1) {
            Some(0x00 | 0xd0..=0xd7) => bytes = &bytes[at + 2..],
            Some(0xff) => bytes = &bytes[at + 1..],
            Some(_) => return &bytes[at..],
            None => break,
        }
    }
    &[]
}

struct Frame {
    width: u32,
    height: u32,
    progressive: bool,
    components: Vec<(u8, u8)>,
}

/// Reads a frame header: bits, height, width, and three bytes for each component.
fn read_frame(marker: u8, segment: &[u8]) -> Result<Frame, PictureError> {
    let unsupported = |what: &str| Err(PictureError::Unsupported(what.into()));
    match marker {
        0xc0..=0xc2 => {}
        0xc9..=0xcf => {
            return unsupported("it is a JPEG with arithmetic coding; save it as an ordinary JPEG");
        }
        0xc3 => return unsupported("it is a lossless JPEG; save it as an ordinary JPEG"),
        _ => return unsupported("it is a hierarchical JPEG"),
    }
    let broken = || PictureError::Broken("its frame header is too short".into());
    let (head, rest) = segment.split_first_chunk::<6>().ok_or_else(broken)?;
    let [bits, h1, h2, w1, w2, count] = *head;
    let components: Vec<_> = rest
        .chunks_exact(3)
        .take(usize::from(count))
        .map(|component| (component[1] >> 4, component[1] & 15))
        .collect();
    if components.len() < usize::from(count) {
        return Err(broken());
    }
    if bits != 8 {
        return unsupported("it is a JPEG with more than 8 bits a sample");
    }
    if !matches!(count, 1 | 3 | 4) {
        return unsupported("it is a JPEG with neither 1, 3 nor 4 components");
    }
    let (width, height) = (u16::from_be_bytes([w1, w2]), u16::from_be_bytes([h1, h2]));
    let factors = |factor: u8| (1..=4).contains(&factor);
    if width == 0 || height == 0 || !components.iter().all(|c| factors(c.0) && factors(c.1)) {
        return Err(PictureError::Broken(
            "its frame header makes no sense".into(),
        ));
    }
    Ok(Frame {
        width: width.into(),
        height: height.into(),
        progressive: marker == 0xc2,
        components,
    })
}

fn finish(
    frame: Option<Frame>,
    orientation: Option<Orientation>,
    scans: u32,
    (length, whole): (usize, bool),
) -> Result<Header, PictureError> {
    let Some(frame) = frame.filter(|_| scans > 0) else {
        return Err(PictureError::Broken("there is no picture in it".into()));
    };
    if scans > MAX_SCANS {
        return Err(PictureError::TooLarge {
            width: frame.width,
            height: frame.height,
            cost: format!("in {scans} scans"),
            limit: format!("{MAX_SCANS} scans"),
        });
    }
    Ok(Header {
        width: frame.width,
        height: frame.height,
        components: frame.components,
        keeps_coefficients: frame.progressive || scans > 1,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        length,
        whole,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn segment(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
        let length = u16::try_from(body.len() + 2).expect("short");
        out.extend([0xff, marker]);
        out.extend(length.to_be_bytes());
        out.extend(body);
    }

    /// A JPEG of markers only: 4:2:0, with scans that hold a byte, an escape and a restart each.
    pub(in super::super) fn jpeg_of(
        frame: u8,
        (width, height): (u16, u16),
        scans: usize,
    ) -> Vec<u8> {
        let mut file = vec![0xff, 0xd8];
        let mut body = vec![8];
        body.extend(height.to_be_bytes());
        body.extend(width.to_be_bytes());
        body.extend([3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]);
        segment(&mut file, frame, &body);
        for _ in 0..scans {
            segment(&mut file, marker::SCAN, &[1, 1, 0, 0, 63, 0]);
            file.extend([7, 0xff, 0x00, 0xff, 0xd0, 7]);
        }
        file.extend([0xff, marker::END]);
        file
    }

    pub(in super::super) fn arithmetic() -> Vec<u8> {
        jpeg_of(0xc9, (8, 8), 1)
    }

    #[test]
    fn scans_and_coefficients_are_counted() {
        let header = Header::read(&jpeg_of(0xc2, (17, 16), 3)).expect("a good header");
        assert_eq!((header.width, header.height), (17, 16));
        assert!(header.keeps_coefficients);
        // Two MCUs of 16 x 16, six blocks each, 64 coefficients of two bytes.
        assert_eq!(header.coefficient_bytes(), 2 * 6 * 64 * 2);
        let one = Header::read(&jpeg_of(0xc0, (17, 16), 1)).expect("a good header");
        assert!(!one.keeps_coefficients);
    }

    #[test]
    fn file_without_end_scan_or_frame_is_broken() {
        let whole = jpeg_of(0xc0, (17, 16), 1);
        for end in 0..whole.len() {
            let cut = Header::read(&whole[..end]);
            assert!(
                matches!(cut, Err(PictureError::Broken(_))),
                "{end}: {cut:?}"
            );
        }
        let empty = Header::read(&[0xff, 0xd8, 0xff, 0xd9]);
        assert!(matches!(empty, Err(PictureError::Broken(_))), "{empty:?}");
        let scanless = Header::read(&jpeg_of(0xc0, (17, 16), 0));
        assert!(
            matches!(scanless, Err(PictureError::Broken(_))),
            "{scanless:?}"
        );
    }

    #[test]
    fn orientation_is_the_photos_and_not_its_thumbnails() {
        let exif = |number: u8| {
            let mut body = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
            body.extend([number, 0, 0, 0, 0, 0, 0]);
            // A thumbnail is a whole JPEG.
            body.extend(jpeg_of(0xc0, (8, 8), 1));
            body
        };
        let mut file = vec![0xff, 0xd8];
        segment(&mut file, marker::EXIF, &exif(6));
        file.extend(&jpeg_of(0xc0, (40, 30), 1)[2..]);
        let header = Header::read(&file).expect("a good header");
        assert_eq!(header.orientation, Orientation::Rotate90);
        assert_eq!((header.width, header.height), (40, 30));
    }
}
