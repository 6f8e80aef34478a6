//! TIFF: what its directory makes the decoder hold before the limits are known to it.
//!
//! `image` tells `tiff` the limits only when the directory has been read. Until then a list of numbers
//! in it may take 256 MiB (8.4 million numbers of one byte in the file, 32 bytes each in memory), and a
//! file of 9 MB can have that. The lists that are read are those of the first directory that say where
//! the pixels are and how they are coded; they are counted here, in one look at its entries.

use image::ImageDecoder;

use super::PictureError;

/// More numbers in a list than a picture needs: a strip for each of 65,535 rows in each of four planes.
const MAX_VALUES: u64 = 1 << 18;

/// Refuses a file whose directory has longer lists than a picture needs. One that cannot be followed
/// passes: the decoder says better what is wrong with it.
///
/// # Errors
///
/// [`PictureError::Broken`] names the entry.
pub(super) fn check(file: &[u8]) -> Result<(), PictureError> {
    let Some(directory) = Directory::first_of(file) else {
        return Ok(());
    };
    let fits = |entry: &Entry| {
        entry.count <= MAX_VALUES && entry.count * entry.value_length() <= file.len() as u64
    };
    let mut lists = directory.entries().filter(|entry| is_read(entry.tag));
    match lists.find(|entry| !fits(entry)) {
        Some(Entry { tag, count, .. }) => Err(PictureError::Broken(format!(
            "entry {tag} of its directory has {count} values, which is more than the file holds or a \
             picture needs"
        ))),
        None => Ok(()),
    }
}

/// The decoder fills a buffer of its own, with four colours where the file has ink, and copies it.
pub(super) fn bytes_beside(decoder: &impl ImageDecoder) -> u64 {
    let (width, height) = decoder.dimensions();
    let bits = decoder.original_color_type().bits_per_pixel();
    let stored = (u64::from(width) * u64::from(height)).saturating_mul(u64::from(bits.div_ceil(8)));
    stored.max(decoder.total_bytes())
}

/// Whether the decoder reads all values of an entry. Not what programs add: profiles, previews and
/// layers may be as long as they are.
fn is_read(tag: u16) -> bool {
    // Baseline and JPEG tags but for texts (270 to 272, 305 to 316), colour maps and what nobody reads.
    matches!(tag, 254..=266 | 273..=284 | 317 | 320..=325 | 330..=339 | 347 | 512..=532)
}

/// The entries of a directory, of a classic or a big TIFF.
struct Directory<'a> {
    order: Order,
    big: bool,
    entries: &'a [u8],
}

impl<'a> Directory<'a> {
    fn first_of(file: &'a [u8]) -> Option<Self> {
        let order = match file.first_chunk()? {
            b"II" => Order::Little,
            b"MM" => Order::Big,
            _ => return None,
        };
        let big = order.number(file.get(2..4)?) == 43;
        // Version, in a big one the width of an offset and two zeros, the offset.
        let offset = order.number(file.get(if big { 8..16 } else { 4..8 })?);
        let directory = file.get(usize::try_from(offset).ok()?..)?;
        let (count, entries) = directory.split_at_checked(if big { 8 } else { 2 })?;
        let length = order.number(count).saturating_mul(entry_length(big) as u64);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Some(Directory {
            order,
            big,
            entries: &entries[..length.min(entries.len())],
        })
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries
            .chunks_exact(entry_length(self.big))
            .map(|entry| {
                let short = |at: usize| {
                    let number = self.order.number(&entry[at..at + 2]);
                    u16::try_from(number).expect("of two bytes")
                };
                Entry {
                    tag: short(0),
                    kind: short(2),
                    count: self.order.number(&entry[4..if self.big { 12 } else { 8 }]),
                }
            })
    }
}

struct Entry {
    tag: u16,
    kind: u16,
    /// How many values it has.
    count: u64,
}

impl Entry {
    /// Bytes of each value in the file; one for a kind that there is not.
    fn value_length(&self) -> u64 {
        match self.kind {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            _ => 1,
        }
    }
}

/// Tag and type, two bytes each, then number of values and the values or where they are.
const fn entry_length(big: bool) -> usize {
    if big { 20 } else { 12 }
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    /// A number of at most eight bytes.
    fn number(self, bytes: &[u8]) -> u64 {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        match self {
            Order::Little => bytes.iter().rev().fold(0, add),
            Order::Big => bytes.iter().fold(0, add),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with one entry, in all four kinds of file.
    fn files(tag: u16, count: u32) -> [Vec<u8>; 4] {
        let [tag_little, tag_big] = [tag.to_le_bytes(), tag.to_be_bytes()];
        let [count_little, count_big] = [count.to_le_bytes(), count.to_be_bytes()];
        let join = |parts: &[&[u8]]| parts.concat();
        [
            join(&[
                b"II*\0\x08\0\0\0\x01\0",
                &tag_little,
                b"\x04\0",
                &count_little,
                &[0; 8],
            ]),
            join(&[
                b"MM\0*\0\0\0\x08\0\x01",
                &tag_big,
                b"\0\x04",
                &count_big,
                &[0; 8],
            ]),
            join(&[
                b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0",
                &tag_little,
                b"\x04\0",
                &count_little,
                &[0; 12],
            ]),
            join(&[
                b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x01",
                &tag_big,
                b"\0\x04\0\0\0\0",
                &count_big,
                &[0; 8],
            ]),
        ]
    }

    #[test]
    fn long_lists_are_refused_in_every_kind_of_file_and_long_profiles_are_not() {
        for file in files(273, 262_145) {
            let message = check(&file).expect_err("too long").to_string();
            assert!(message.contains("entry 273 "), "{message}");
            assert!(message.contains("262145 values"), "{message}");
        }
        let profile = files(34_675, 10_000_000);
        for file in profile {
            assert!(check(&file).is_ok());
        }
        for mut file in files(273, 262_144) {
            assert!(check(&file).is_err(), "the file has no room for it");
            file.resize(4 * 262_144, 0);
            assert!(check(&file).is_ok());
        }
    }

    #[test]
    fn files_that_end_anywhere_pass() {
        for file in files(273, 1) {
            for end in 0..=file.len() {
                assert!(check(&file[..end]).is_ok());
            }
        }
    }
}
