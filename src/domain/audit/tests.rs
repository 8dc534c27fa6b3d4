use std::collections::BTreeSet;

use super::*;

#[test]
fn every_event_has_its_sentence() {
    let shown: BTreeSet<usize> =
        samples::entries().iter().map(|entry| samples::variant(&entry.event)).collect();
    assert_eq!(shown, (0..samples::VARIANTS).collect());
    let table: Vec<String> = samples::entries()
        .iter()
        .map(|entry| format!("{} | {}", entry.actor, sentence(entry)))
        .collect();
    let table = table.join("\n");
    insta::with_settings!({ snapshot_path => "../../../tests/golden", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("audit_sentences", table);
    });
}

#[test]
fn no_entry_holds_an_address() {
    for entry in samples::entries() {
        assert!(!format!("{entry:?}").contains('@'), "{entry:?}");
        assert!(!sentence(&entry).contains('@'), "{entry:?}");
    }
    let text = AuditText::new("asked <a@b.example>, then c@d");
    assert_eq!(text.as_str(), "asked <address> then <address>");
}
