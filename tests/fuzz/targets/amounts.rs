#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| invoice_router::fuzzing::amounts(input));
