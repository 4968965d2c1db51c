#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| strongroom_kit::fuzz::backup(input));
