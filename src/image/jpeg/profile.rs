//! The colour profile of a JPEG, which may come in parts.

use super::header::{marker, next_segment};

/// The profile: what its segments hold, in the order of their numbers.
pub(in super::super) fn read(file: &[u8]) -> Option<Vec<u8>> {
    let mut parts = Vec::new();
    let mut rest = file.get(2..)?;
    while let Some((found, segment, behind)) = next_segment(rest) {
        match found {
            marker::SCAN | marker::END => break,
            marker::PROFILE => {
                if let Some([number, _count, part @ ..]) = segment.strip_prefix(b"ICC_PROFILE\0") {
                    parts.push((*number, part));
                }
            }
            _ => {}
        }
        rest = behind;
    }
    parts.sort_by_key(|(number, _)| *number);
    let whole: Vec<&[u8]> = parts.into_iter().map(|(_, part)| part).collect();
    (!whole.is_empty()).then(|| whole.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_by_number() {
        let part = |number: u8, text: &[u8]| {
            let mut body = b"ICC_PROFILE\0".to_vec();
            body.extend([number, 2]);
            body.extend(text);
            let length = u16::try_from(body.len() + 2).expect("short");
            [&[0xff, 0xe2], &length.to_be_bytes()[..], &body].concat()
        };
        let start = vec![0xff, 0xd8];
        let file = [start.clone(), part(2, b"file"), part(1, b"pro")].concat();
        assert_eq!(read(&file), Some(b"profile".to_vec()));
        assert_eq!(read(&start), None);
    }
}
