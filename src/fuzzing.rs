//! What must hold of everything that comes from outside, whatever its bytes.
//!
//! Each function takes any bytes and panics where its property does not hold. It is written once, beside the code that
//! it is about, as a module `property` with a reading of its own of the same rules; and it is asked three times:
//! by libFuzzer with what that makes up (`tests/fuzz`), by proptest in the tests beside it, and here with every
//! input of the fuzz targets' corpora.

use crate::{domain, http, mail, store};

/// A function of this module.
pub type Property = fn(&[u8]);

/// Every property, under the name of its fuzz target and of its corpus.
pub const TARGETS: [(&str, Property); 9] = [
    ("addresses", addresses),
    ("amounts", amounts),
    ("cursors", cursors),
    ("events", events),
    ("file_names", file_names),
    ("records", records),
    ("replies", replies),
    ("schedules", schedules),
    ("signatures", signatures),
];

/// An e-mail address.
pub fn addresses(text: &[u8]) {
    domain::address::property::addresses(text);
}

/// A currency's code, a blank, an amount.
pub fn amounts(text: &[u8]) {
    domain::money::property::amounts(text);
}

/// A cursor of a list, or an id and numbers of which one is made.
pub fn cursors(input: &[u8]) {
    http::cursors(input);
}

/// The body of an event.
pub fn events(body: &[u8]) {
    http::events(body);
}

/// An attachment's name.
pub fn file_names(text: &[u8]) {
    domain::address::property::file_names(text);
}

/// A byte for the kind of a record, and what is stored of it.
pub fn records(input: &[u8]) {
    store::records(input);
}

/// A byte for the pieces in which they arrive, and what a relay says.
pub fn replies(input: &[u8]) {
    mail::connection::replies::property::replies(input);
}

/// A schedule's expression; after line breaks, its time zone and when it begins.
pub fn schedules(text: &[u8]) {
    domain::schedule::property::schedules(text);
}

/// The headers of a signature, an empty line, the payload.
pub fn signatures(request: &[u8]) {
    http::signatures(request);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
    }

    /// What the path of each entry of a folder ends with, sorted.
    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn every_property_holds_for_every_input_of_its_corpus() {
        let mut broken = Vec::new();
        for (target, property) in TARGETS {
            let corpus = folder().join("corpus").join(target);
            let inputs = names(&corpus);
            assert!(!inputs.is_empty(), "{target}");
            for input in inputs {
                let bytes = fs::read(corpus.join(&input)).unwrap();
                // The panic's own words tell what does not hold, but not for which input.
                if std::panic::catch_unwind(|| property(&bytes)).is_err() {
                    broken.push(format!("tests/fuzz/corpus/{target}/{input}"));
                }
            }
        }
        assert!(broken.is_empty(), "the properties do not hold for {broken:#?}");
    }

    #[test]
    fn every_property_has_a_fuzz_target_and_a_corpus() {
        let properties = TARGETS.map(|(target, _)| target);
        assert_eq!(names(&folder().join("targets")), properties);
        assert_eq!(names(&folder().join("corpus")), properties);
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        for target in properties {
            assert!(
                manifest.contains(&format!("name = \"{target}\"\npath = \"targets/{target}.rs\"")),
                "{target}"
            );
        }
    }
}
