//! Files with bytes changed, cut off, doubled and taken out, the same in every run.

/// Numbers that look random and are the same in every run (xorshift).
pub struct Numbers(u64);

impl Numbers {
    /// `seed` must not be zero.
    pub fn new(seed: u64) -> Self {
        Numbers(seed)
    }

    /// A number below `end`, which must not be zero.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below a usize")
    }

    /// A place in `file`: headers are where lengths, counts and tables are, so half of the places lie
    /// in the first 200 bytes.
    fn place(&mut self, file: &[u8]) -> usize {
        let end = if self.below(2) == 0 { 200 } else { file.len() };
        self.below(end.min(file.len()))
    }
}

/// `file`, which must not be empty, with one to four changes.
pub fn mutated(file: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..=numbers.below(4) {
        change(&mut file, numbers);
    }
    file
}

fn change(file: &mut Vec<u8>, numbers: &mut Numbers) {
    // Ends of ranges, which are where counting goes wrong.
    const TELLING: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
    if file.is_empty() {
        return;
    }
    let at = numbers.place(file);
    match numbers.below(6) {
        0 | 1 => file[at] ^= 1 << numbers.below(8),
        2 => file[at] = TELLING[numbers.below(TELLING.len())],
        3 => file.truncate(at),
        4 => drop(file.drain(at..(at + 1 + numbers.below(20)).min(file.len()))),
        _ => {
            let piece = file[at..(at + 1 + numbers.below(60)).min(file.len())].to_vec();
            let to = numbers.place(file);
            file.splice(to..to, piece);
        }
    }
}
