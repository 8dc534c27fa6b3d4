//! What the demo's portal and billing system send: the files of `config/examples/`, compiled in so that the
//! demo runs without a checkout.

use anyhow::Context as _;

/// An event, as it is sent.
#[derive(Debug)]
pub(super) struct Event {
    /// The name of its file.
    pub(super) file: &'static str,
    pub(super) body: &'static str,
}

macro_rules! event {
    ($file:literal) => {
        Event { file: $file, body: include_str!(concat!("../../../config/examples/", $file)) }
    };
}
pub(super) use event;

macro_rules! documents {
    ($($file:literal)*) => {
        [$(($file, include_bytes!(concat!("../../../config/examples/documents/", $file)).as_slice())),*]
    };
}

/// The documents of the invoices, with the names of their files and attachments.
const DOCUMENTS: [(&str, &[u8]); 6] = documents![
    "RE-2026-0042.pdf" "RE-2026-0043.pdf" "RE-2026-0043.xml" "RE-2026-0044.pdf" "RE-2026-0045.pdf"
    "INV-2026-0007.pdf"
];

/// The document in this file.
pub(super) fn document(file: &str) -> anyhow::Result<&'static [u8]> {
    let found = DOCUMENTS.iter().find(|(name, _)| *name == file);
    found.map(|(_, bytes)| *bytes).with_context(|| format!("there is no document {file}"))
}
