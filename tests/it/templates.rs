//! What an administrator may change in the words of a mail, and what is refused when it is loaded.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

use std::fs;
use std::path::Path;

use invoice_router::domain::contact::Language;
use invoice_router::mail::template::Templates;
use tempfile::TempDir;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/templates");

/// A directory of templates with these files.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, source) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, source).unwrap();
    }
    directory
}

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(SHIPPED).join(name)).unwrap()
}

/// What is wrong with these files, one mistake a line, without the directory before each.
fn mistakes(files: &[(&str, &str)]) -> String {
    let directory = directory(files);
    let errors = Templates::load(Some(directory.path())).unwrap_err().to_string();
    errors.replace(&format!("{}/", directory.path().display()), "")
}

fn languages(templates: &Templates) -> Vec<&str> {
    templates.languages().map(Language::as_str).collect()
}

#[test]
fn german_and_english_are_shipped() {
    let templates = Templates::load(None).unwrap();
    assert_eq!(languages(&templates), ["de", "en"]);
    assert!(templates.has(&Language::parse("de-AT").unwrap()));
    assert!(!templates.has(&Language::parse("fr").unwrap()));
}

#[test]
fn the_shipped_directory_is_an_override_of_itself() {
    let templates = Templates::load(Some(Path::new(SHIPPED))).unwrap();
    assert_eq!(languages(&templates), ["de", "en"]);
}

#[test]
fn a_language_without_templates_falls_back_to_the_default() {
    let templates = Templates::load(None).unwrap();
    let [german, english, french] = ["de", "en", "fr"].map(|raw| Language::parse(raw).unwrap());
    assert_eq!(templates.choose(Some(&german), &english), &german);
    assert_eq!(templates.choose(Some(&french), &english), &english);
    assert_eq!(templates.choose(None, &english), &english);
}

#[test]
fn a_further_language_is_taken_when_it_is_complete() {
    let names = [
        "formats.toml",
        "common.txt",
        "corrected_invoice.txt",
        "credit_note.txt",
        "invoice.txt",
        "reminder.txt",
    ];
    let files: Vec<(String, String)> =
        names.iter().map(|name| (format!("fr/{name}"), shipped(&format!("en/{name}")))).collect();
    let files: Vec<(&str, &str)> =
        files.iter().map(|(name, source)| (name.as_str(), source.as_str())).collect();

    let complete = directory(&files);
    let templates = Templates::load(Some(complete.path())).unwrap();
    assert_eq!(languages(&templates), ["de", "en", "fr"]);

    let errors = mistakes(&files[..4]);
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 2, "{errors}");
    assert!(lines[0].starts_with("fr/invoice.txt: expected this file"), "{errors}");
    assert!(lines[1].starts_with("fr/reminder.txt: expected this file"), "{errors}");
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let errors = mistakes(&[("de/invoice.txt", "{% set subject %}a{% endset %}\n\n{% if %}\n")]);
    assert!(errors.starts_with("de/invoice.txt:3: syntax error"), "{errors}");
}

#[test]
fn an_unknown_name_is_found_with_its_line_even_where_no_sample_leads() {
    let source =
        shipped("de/invoice.txt") + "{% if number == 'never' %}\n{{ nummer }}\n{% endif %}\n";
    let line = shipped("de/invoice.txt").lines().count() + 2;
    let errors = mistakes(&[("de/invoice.txt", &source)]);
    let expected =
        format!("de/invoice.txt:{line}: unknown name \"nummer\": expected one of account, ");
    assert!(errors.starts_with(&expected), "{errors}");
}

#[test]
fn a_value_that_may_be_absent_has_to_be_asked_for() {
    let source = shipped("en/invoice.txt");
    let line = 1 + source.lines().position(|line| line.contains("{{ total }}")).unwrap();
    let source = source.replace("{{ total }}", "{{ due_on }}");
    let errors = mistakes(&[("en/invoice.txt", &source)]);
    assert!(errors.starts_with(&format!("en/invoice.txt:{line}: ")), "{errors}");
    assert!(errors.contains("inside {% if … %}"), "{errors}");
}

#[test]
fn a_missing_or_empty_subject_is_refused() {
    let without = mistakes(&[("de/reminder.txt", "{% set heading %}a{% endset %}")]);
    assert!(without.starts_with("de/reminder.txt: expected {% set subject %}"), "{without}");
    let source = shipped("de/reminder.txt") + "{% set subject %} {% endset %}";
    let empty = mistakes(&[("de/reminder.txt", &source)]);
    assert!(empty.contains("a subject that is not empty"), "{empty}");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let latin1 = tempfile::tempdir().unwrap();
    fs::create_dir(latin1.path().join("de")).unwrap();
    fs::write(latin1.path().join("de/common.txt"), b"Gr\xfc\xdfe").unwrap();
    fs::write(latin1.path().join("de/invioce.txt"), "a typing error").unwrap();
    fs::write(latin1.path().join("de/formats.toml"), "date = \"{tag}\"\n").unwrap();
    fs::create_dir(latin1.path().join("german")).unwrap();
    fs::write(latin1.path().join("layout.html"), "{{ x").unwrap();
    fs::write(latin1.path().join(".layout.txt.swp"), "an editor's").unwrap();
    fs::write(latin1.path().join("layout.txt~"), "an editor's").unwrap();

    let errors = Templates::load(Some(latin1.path())).unwrap_err().to_string();
    assert_eq!(errors.lines().count(), 5, "{errors}");
    for expected in [
        "de/common.txt: expected UTF-8",
        "de/invioce.txt: expected only formats.toml, ",
        "de/formats.toml:1: ",
        "german: expected the name of a language",
        "layout.html:1: syntax error",
    ] {
        assert!(errors.contains(expected), "{expected} in {errors}");
    }
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let errors = Templates::load(Some(Path::new("/nonexistent/templates"))).unwrap_err();
    assert!(errors.to_string().contains("/nonexistent/templates"), "{errors}");
}
