//! Reads the templates, and finds every mistake in them before a mail does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use chrono::NaiveDate;
use minijinja::Environment;

use crate::domain::Invalid;
use crate::domain::address::{FileName, HeaderText};
use crate::domain::contact::{Addresses, Contact, Language};
use crate::domain::id::{AccountId, Digest, InvoiceNumber};
use crate::domain::invoice::{Document, Documents, Invoice, Kind, MediaType, PortalUrl, Release};
use crate::domain::money::{Currency, Money};

use super::{Facts, Formats, PARAGRAPHS, TEXTS, TemplateError, TemplateErrors, Templates};

/// Largest file of templates, in bytes.
const TEMPLATE_BYTES: u64 = 256 * 1024;

/// What every language shares.
const SHARED_FILES: [&str; 2] = ["layout.html", "layout.txt"];

/// What makes a language; one that an administrator adds needs all of them.
const LANGUAGE_FILES: [&str; 6] = [
    FORMATS,
    "common.txt",
    "corrected_invoice.txt",
    "credit_note.txt",
    "invoice.txt",
    "reminder.txt",
];

const FORMATS: &str = "formats.toml";

macro_rules! shipped {
    ($($folder:literal: $($name:literal),*;)*) => {
        [$($((
            concat!($folder, $name),
            include_str!(concat!("../../../config/templates/", $folder, $name)),
        )),*),*]
    };
}

const SHIPPED: [(&str, &str); 14] = shipped![
    "": "layout.html", "layout.txt";
    "de/": "formats.toml", "common.txt", "corrected_invoice.txt", "credit_note.txt", "invoice.txt", "reminder.txt";
    "en/": "formats.toml", "common.txt", "corrected_invoice.txt", "credit_note.txt", "invoice.txt", "reminder.txt";
];

/// The files by their names relative to the directory, such as `de/invoice.txt`.
#[derive(Default)]
struct Files {
    sources: BTreeMap<String, String>,
    /// Where the ones that are not shipped lie.
    paths: BTreeMap<String, String>,
    mistakes: BTreeSet<TemplateError>,
}

pub(super) fn load(directory: Option<&Path>) -> Result<Templates, TemplateErrors> {
    let mut files = Files::default();
    for (name, source) in SHIPPED {
        files.sources.insert(name.to_owned(), source.to_owned());
    }
    if let Some(directory) = directory {
        files.overlay(directory, "");
    }
    let formats = files.languages(directory);
    let environment = files.compile()?;
    let templates = Templates { environment, languages: formats };
    // What does not compile would only be reported a second time.
    if files.mistakes.is_empty() {
        files.rehearse(&templates);
    }
    if files.mistakes.is_empty() {
        Ok(templates)
    } else {
        Err(TemplateErrors(files.mistakes.into_iter().collect()))
    }
}

impl Files {
    fn mistake(&mut self, file: String, line: Option<usize>, what: impl Into<String>) {
        let what = what.into();
        self.mistakes.insert(TemplateError { file, line, what });
    }

    /// Reads what lies in `directory`, whose files are named `prefix` and their own name.
    fn overlay(&mut self, directory: &Path, prefix: &str) {
        let entries = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                let what = format!("could not read the directory of templates: {error}");
                return self.mistake(directory.display().to_string(), None, what);
            }
        };
        for entry in entries {
            let path = entry.path();
            let shown = path.display().to_string();
            let name = entry.file_name().to_string_lossy().into_owned();
            // What editors and version control leave.
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            if path.is_dir() && prefix.is_empty() {
                if Language::parse(&name).is_ok_and(|language| language.as_str() == name) {
                    self.overlay(&path, &format!("{name}/"));
                } else {
                    self.mistake(shown, None, "expected the name of a language, such as \"fr\"");
                }
                continue;
            }
            let known: &[&str] = if prefix.is_empty() { &SHARED_FILES } else { &LANGUAGE_FILES };
            if !known.contains(&name.as_str()) {
                let what = format!("expected only {} here", known.join(", "));
                self.mistake(shown, None, what);
                continue;
            }
            match read(&path) {
                Ok(source) => {
                    let name = format!("{prefix}{name}");
                    self.sources.insert(name.clone(), source);
                    self.paths.insert(name, shown);
                }
                Err(what) => self.mistake(shown, None, what),
            }
        }
    }

    /// The languages that have a directory, each complete.
    fn languages(&mut self, directory: Option<&Path>) -> BTreeMap<Language, Formats> {
        let names: BTreeSet<String> = self
            .sources
            .keys()
            .filter_map(|name| name.split_once('/'))
            .map(|(language, _)| language.to_owned())
            .collect();
        let mut languages = BTreeMap::new();
        for language in names {
            for file in LANGUAGE_FILES {
                let name = format!("{language}/{file}");
                if !self.sources.contains_key(&name) {
                    let path =
                        directory.map_or(name.clone(), |it| it.join(&name).display().to_string());
                    let what = format!(
                        "expected this file: a language needs {}",
                        LANGUAGE_FILES.join(", ")
                    );
                    self.mistake(path, None, what);
                }
            }
            let name = format!("{language}/{FORMATS}");
            let Some(source) = self.sources.get(&name) else {
                continue;
            };
            match (Language::parse(&language), Formats::parse(source)) {
                (Ok(language), Ok(formats)) => {
                    languages.insert(language, formats);
                }
                (Err(invalid), _) => self.mistake(name, None, invalid.to_string()),
                (Ok(_), Err(bad)) => {
                    let path = self.shown(&name);
                    self.mistake(path, bad.line, bad.what);
                }
            }
        }
        languages
    }

    fn compile(&mut self) -> Result<Environment<'static>, TemplateErrors> {
        let mut environment = super::engine()
            .map_err(|error| TemplateErrors(vec![super::engine_error("syntax", &error)]))?;
        for (name, source) in self.sources.clone() {
            if name.ends_with(FORMATS) {
                continue;
            }
            if let Err(error) = environment.add_template_owned(name.clone(), source) {
                self.engine_mistake(&name, &error);
            }
        }
        Ok(environment)
    }

    /// Renders every kind in every language, once with all that an invoice can have and once without.
    fn rehearse(&mut self, templates: &Templates) {
        let samples = match samples() {
            Ok(samples) => samples,
            Err(invalid) => {
                return self.mistake("sample data".to_owned(), None, invalid.to_string());
            }
        };
        for (language, formats) in &templates.languages {
            let both = samples.iter().flat_map(|sample| [(sample, true), (sample, false)]);
            for (at, ((invoice, contact), is_fallback)) in both.enumerate() {
                let values = super::values(
                    language,
                    formats,
                    &Facts { invoice, contact, sender: "Example Hosting", is_fallback },
                );
                if at == 0 {
                    self.unknown_names(templates, language, &values);
                }
                let kind = invoice.kind.as_str();
                if let Err(TemplateError { file, line, what }) =
                    templates.render_values(language, kind, &values)
                {
                    let path = self.shown(&file);
                    self.mistake(path, line, what);
                }
            }
        }
    }

    /// Names that no value has, even where the sample data does not lead to them.
    fn unknown_names(
        &mut self,
        templates: &Templates,
        language: &Language,
        values: &minijinja::value::Value,
    ) {
        let values: BTreeSet<String> = values
            .try_iter()
            .map(|names| names.map(|name| name.to_string()).collect())
            .unwrap_or_default();
        let texts: BTreeSet<String> =
            TEXTS.iter().chain(&PARAGRAPHS).map(ToString::to_string).collect();
        let functions: BTreeSet<&str> =
            templates.environment.globals().map(|(name, _)| name).collect();
        for (file, template) in templates.environment.templates() {
            let is_shared = !file.contains('/');
            if !is_shared && !file.starts_with(&format!("{language}/")) {
                continue;
            }
            let sees_texts = !file.ends_with("common.txt");
            for name in template.undeclared_variables(false) {
                let is_known = values.contains(&name)
                    || functions.contains(name.as_str())
                    || (sees_texts && texts.contains(&name));
                if is_known {
                    continue;
                }
                let known: Vec<&str> = values.iter().map(String::as_str).collect();
                let what = format!("unknown name \"{name}\": expected one of {}", known.join(", "));
                let path = self.shown(file);
                self.mistake(path, line_with(template.source(), &name), what);
            }
        }
    }

    fn engine_mistake(&mut self, name: &str, error: &minijinja::Error) {
        let TemplateError { file, line, what } = super::engine_error(name, error);
        let path = self.shown(&file);
        self.mistake(path, line, what);
    }

    /// What an administrator knows the file by.
    fn shown(&self, name: &str) -> String {
        self.paths.get(name).cloned().unwrap_or_else(|| format!("shipped template {name}"))
    }
}

fn read(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("could not read the template: {error}");
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("expected a file".to_owned());
    }
    if metadata.len() > TEMPLATE_BYTES {
        return Err(format!("expected at most {TEMPLATE_BYTES} bytes"));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let source = String::from_utf8(bytes).map_err(|_| "expected UTF-8".to_owned())?;
    Ok(source)
}

/// The first line, from 1, that holds `name` as a word.
fn line_with(source: &str, name: &str) -> Option<usize> {
    let is_word = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
    };
    source.lines().position(is_word).map(|at| at + 1)
}

fn samples() -> Result<Vec<(Invoice, Contact)>, Invalid> {
    let number = |raw: &str| InvoiceNumber::parse(raw);
    let kinds = [
        Kind::Invoice,
        Kind::CreditNote(None),
        Kind::CreditNote(Some(number("RE-2026/0041")?)),
        Kind::CorrectedInvoice(number("RE-2026/0041")?),
        Kind::Reminder(number("RE-2026/0041")?),
    ];
    let mut samples = Vec::new();
    for kind in kinds {
        for is_full in [true, false] {
            let count = if is_full { 2 } else { 1 };
            samples.push((
                Invoice {
                    account: AccountId::parse("K-1001")?,
                    number: number("RE-2026/0042")?,
                    kind: kind.clone(),
                    issued_on: NaiveDate::default(),
                    due_on: is_full.then(NaiveDate::default),
                    total: Money::parse("-1234.56", Currency::parse("EUR")?)?,
                    release: Release::Scheduled,
                    min_account_version: None,
                    portal_url: is_full
                        .then(|| PortalUrl::parse("https://portal.example/"))
                        .transpose()?,
                    documents: documents(count)?,
                },
                Contact {
                    name: HeaderText::parse("Erika Muster")?,
                    company: is_full.then(|| HeaderText::parse("Muster GmbH")).transpose()?,
                    language: None,
                    addresses: Addresses::default(),
                },
            ));
        }
    }
    Ok(samples)
}

fn documents(count: usize) -> Result<Documents, Invalid> {
    let documents: Result<Vec<Document>, Invalid> = (1..=count)
        .map(|at| {
            Ok(Document {
                digest: Digest::from_bytes([0; 32]),
                file_name: FileName::parse(format!("RE-2026-0042_{at}.pdf"))?,
                media_type: MediaType::parse("application/pdf")?,
            })
        })
        .collect();
    Documents::parse(documents?)
}
