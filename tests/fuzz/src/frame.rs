//! One execution of the frame path: a stream, whole and in pieces, to messages and back to bytes.

use bytes::{Bytes, BytesMut};
use dermald::wire::{self, Frames, Message, Reply, Request};

use crate::allowance::peak_of;

/// The longest frame.
const LIMIT: u32 = 1 << 16;

/// What an execution may have at a time: the frame that was announced, some copies of what was really
/// sent (the buffer, its pieces, what is encoded again), and for each byte sent the share of a list's
/// element in memory: 17 bytes on the wire make an extension of 72.
const fn allowed(sent: usize) -> usize {
    2 * LIMIT as usize + 16 * sent + 16 * 1024
}

/// Reads `stream` as a peer's, in both directions.
pub fn run(stream: &[u8]) {
    let ((), peak) = peak_of(|| {
        let whole = frames(stream, std::iter::repeat(stream.len().max(1)));
        assert_eq!(
            whole,
            frames(stream, pieces(stream)),
            "pieces read otherwise"
        );
        for frame in &whole.0 {
            message::<Request>(frame);
            message::<Reply>(frame);
        }
    });
    let most = allowed(stream.len());
    assert!(
        peak <= most,
        "reading {} bytes took {peak} bytes of memory, allowed are {most}",
        stream.len()
    );
}

/// The frames of a stream that arrives in pieces of these sizes, and whether it ended in an error.
fn frames(mut stream: &[u8], mut sizes: impl Iterator<Item = usize>) -> (Vec<Bytes>, bool) {
    let mut codec = Frames::new(LIMIT);
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    while !stream.is_empty() {
        let size = sizes.next().expect("endless").min(stream.len());
        let (piece, rest) = stream.split_at(size);
        stream = rest;
        buffer.extend_from_slice(piece);
        loop {
            match codec.next(&mut buffer) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

/// Sizes of 1 to 16 bytes that look random and are the stream's own, so that a finding repeats.
fn pieces(stream: &[u8]) -> impl Iterator<Item = usize> {
    let seed = stream.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    std::iter::successors(Some(seed | 1), |last| {
        let mut next = *last;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        Some(next)
    })
    .map(|number| usize::try_from(number % 16 + 1).expect("small"))
}

/// What can be read is written as it was: there is one way to say a thing.
fn message<M: Message>(frame: &Bytes) {
    if let Ok(message) = wire::decode::<M>(frame) {
        let mut again = BytesMut::new();
        wire::encode(&message, &mut again);
        assert_eq!(&again[4..], &frame[..], "written differently");
    }
}
