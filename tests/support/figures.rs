//! What tests count, for the line of figures that `tests/run` prints for each subject.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Counts what happened, to be added up over all tests of a subject. These may be processes of their own, so
/// a file collects it, which whoever asks for it names in `FIGURES`.
pub(crate) fn count(subject: &str, figures: &[(&str, usize)]) {
    let Some(path) = std::env::var_os("FIGURES") else {
        return;
    };
    let lines: Vec<String> =
        figures.iter().map(|(what, count)| format!("{subject}\t{what}\t{count}\n")).collect();
    let file = OpenOptions::new().create(true).append(true).open(path);
    // One write, so that the lines of tests at the same time do not mix.
    let written = file.and_then(|mut file| file.write_all(lines.concat().as_bytes()));
    assert!(written.is_ok(), "{written:?}");
}
