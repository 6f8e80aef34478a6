#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dermald_fuzz::frame::run(bytes));
