//! The golden files of `tests/vectors`: whole, byte by byte, and followed by another frame.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use dermald::wire::{self, Frames, Message, MessageError, Reply, Request};
use serde::Serialize;
use serde_json::Value;

/// The limit that `frame_too_large` vectors are made for.
const LIMIT: u32 = 20 * 1024 * 1024;

fn vectors() -> Vec<(Value, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let index = std::fs::read_to_string(folder.join("index.json")).expect("the index");
    let index: Vec<Value> = serde_json::from_str(&index).expect("JSON");
    let read = |entry: &Value| {
        let name = entry["name"].as_str().expect("a name");
        std::fs::read(folder.join(format!("{name}.bin"))).expect("the vector")
    };
    index
        .into_iter()
        .map(|entry| {
            let bytes = read(&entry);
            (entry, bytes)
        })
        .collect()
}

/// What became of one frame: the message as JSON and its bytes again, or the error's code.
fn outcome<M: Message + Serialize>(frame: &Bytes) -> Result<(Value, Vec<u8>), &'static str> {
    let message: M = wire::decode(frame).map_err(|error| match error {
        MessageError::Unknown { .. } => "unknown_message",
        MessageError::Malformed(_) => "malformed",
    })?;
    let mut again = BytesMut::new();
    wire::encode(&message, &mut again);
    Ok((
        serde_json::to_value(&message).expect("JSON"),
        again.to_vec(),
    ))
}

fn judge(entry: &Value, frame: &Bytes) -> Result<(Value, Vec<u8>), &'static str> {
    match entry["direction"].as_str() {
        Some("request") => outcome::<Request>(frame),
        Some("reply") => outcome::<Reply>(frame),
        other => panic!("direction {other:?}"),
    }
}

/// Feeds `bytes` in pieces of `size` and gives the frames that come out.
fn feed(bytes: &[u8], size: usize) -> Result<Vec<Bytes>, &'static str> {
    let mut frames = Frames::new(LIMIT);
    let mut buffer = BytesMut::new();
    let mut out = Vec::new();
    for piece in bytes.chunks(size) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = frames.next(&mut buffer).map_err(|_| "frame_too_large")? {
            out.push(frame);
        }
    }
    Ok(out)
}

fn check(entry: &Value, bytes: &[u8], frames: Result<Vec<Bytes>, &'static str>) {
    let name = &entry["name"];
    let found = frames.and_then(|frames| {
        assert!(!frames.is_empty(), "{name}: no frame came out");
        judge(entry, &frames[0])
    });
    match entry["kind"].as_str() {
        Some("good") => {
            let (message, again) = found.unwrap_or_else(|code| panic!("{name}: {code}"));
            assert_eq!(message, entry["message"], "{name}");
            assert_eq!(again, bytes, "{name}: written differently");
        }
        Some("bad") => {
            assert_eq!(
                found.err(),
                entry["code"].as_str(),
                "{name}: {}",
                entry["why"]
            );
        }
        other => panic!("{name}: kind {other:?}"),
    }
}

#[test]
fn every_vector_reads_the_same_whole_and_byte_by_byte() {
    let vectors = vectors();
    assert!(vectors.len() >= 30, "{} vectors", vectors.len());
    for (entry, bytes) in &vectors {
        check(entry, bytes, feed(bytes, bytes.len()));
        check(entry, bytes, feed(bytes, 1));
    }
}

#[test]
fn every_vector_leaves_the_next_frame_alone() {
    for (entry, bytes) in vectors()
        .iter()
        .filter(|(entry, _)| entry["code"] != "frame_too_large")
    {
        let mut two = bytes.clone();
        two.extend_from_slice(&[0, 0, 0, 2, 0xab, 0xcd]);
        let frames = feed(&two, two.len()).expect("within the limit");
        assert_eq!(
            frames.last(),
            Some(&Bytes::from_static(&[0xab, 0xcd])),
            "{}",
            entry["name"]
        );
        check(entry, bytes, Ok(frames));
    }
}

/// The examples of docs/protocol.md are whole frames that say what is written beside them.
#[test]
fn examples_of_the_page_are_real() {
    let page = include_str!("../../docs/protocol.md");
    let blocks = page
        .split("```text\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let mut found = Vec::new();
    for block in blocks.filter(|block| block.contains("length, big-endian")) {
        let is_hex = |word: &&str| word.len() == 2 && u8::from_str_radix(word, 16).is_ok();
        let bytes: Vec<u8> = block
            .lines()
            .flat_map(|line| line.split(' ').take_while(|word| is_hex(word)))
            .map(|word| u8::from_str_radix(word, 16).expect("it was checked"))
            .collect();
        let frames = feed(&bytes, bytes.len()).expect("within the limit");
        assert_eq!(frames.len(), 1, "{block}");
        let request = outcome::<Request>(&frames[0]);
        let read = request.or_else(|_| outcome::<Reply>(&frames[0]));
        let (message, again) = read.unwrap_or_else(|code| panic!("{code}: {block}"));
        assert_eq!(again, bytes, "{block}");
        found.push(message["type"].as_str().expect("a type").to_owned());
    }
    assert_eq!(found, ["hello", "health", "predict", "prediction"]);
}
