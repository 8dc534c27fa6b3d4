//! Who may import whom, which crate is named where, what may lie at the top level, and where documents link to.
//!
//! The rules are the tables below. `references` reads the sources for them, `proof` shows that each
//! rule can fail.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use references::{Reference, references};

mod proof;
mod references;

/// The modules of the crate and what each may import from it.
const MODULES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &[]),
    ("systemd", &[]),
    ("telemetry", &["config"]),
    ("api", &["domain"]),
    ("config", &["domain"]),
    ("store", &["config", "domain"]),
    ("mail", &["config", "domain"]),
    ("http", &["domain", "api", "clock", "config", "store", "mail"]),
    ("dispatch", &["domain", "clock", "config", "store", "mail"]),
    ("app", EVERYTHING),
    ("cli", EVERYTHING),
    ("fuzzing", EVERYTHING),
    ("lib", EVERYTHING),
    ("main", EVERYTHING),
];
const EVERYTHING: &[&str] = &["*"];

/// Crates that are named in these files or folders only.
const CRATES: &[(&str, &[&str])] = &[
    ("sled", &["store/sled.rs", "store/committer.rs"]),
    ("lettre", &["mail/connection.rs", "mail/connection/opening.rs"]),
    ("mail_builder", &["mail/compose.rs"]),
    ("hyper", &["http/"]),
    ("hyper_util", &["http/"]),
    ("http_body_util", &["http/"]),
    ("cron", &["domain/schedule.rs"]),
    ("anyhow", &["app.rs", "cli/", "main.rs"]),
    ("prometheus_client", &["http/metrics.rs"]),
    ("sd_notify", &["systemd.rs"]),
    ("tracing_journald", &["telemetry.rs"]),
    ("tracing_subscriber", &["telemetry.rs"]),
];

/// Crates that the pure core does without: no input or output, no randomness, no format but its own.
const NOT_IN_DOMAIN: &[&str] =
    &["anyhow", "fastrand", "minicbor", "serde", "serde_json", "tokio", "toml", "tracing"];

/// All that may lie at the top level, dot-files and what a failing property leaves aside.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "config",
    "deny.toml",
    "docs",
    "proptest-regressions",
    "rustfmt.toml",
    "src",
    "systemd",
    "target",
    "tests",
];

const FILE_LINES: usize = 700;
/// A README is read in three minutes.
const README_WORDS: usize = 700;

#[test]
fn every_import_in_src_is_one_that_the_rules_allow() {
    let sources = sources().unwrap();
    assert!(sources.iter().any(|(file, _)| file == "domain/mod.rs"), "the sources were not found");
    let violations: Vec<String> =
        sources.iter().flat_map(|(file, source)| violations(file, source)).collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn no_file_in_src_is_longer_than_700_lines() {
    let long: Vec<String> = sources()
        .unwrap()
        .iter()
        .map(|(file, source)| (file, source.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(file, lines)| format!("src/{file}: {lines} lines, split it by meaning"))
        .collect();
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    let strange: Vec<String> = fs::read_dir(env!("CARGO_MANIFEST_DIR"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()))
        .collect();
    assert!(strange.is_empty(), "at the top level: {strange:?}");
}

#[test]
fn every_link_of_a_document_leads_to_a_file_and_a_heading_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = files(&root.join("docs"), "md").unwrap();
    let at_the_top = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    documents.extend(at_the_top.map(|name| root.join(name)));
    documents.push(root.join("config/examples/README.md"));
    let mut checked = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(
                    headings.any(|anchor| anchor == heading),
                    "{}: {link} names no heading",
                    document.display()
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} links were found");
}

#[test]
fn the_readme_is_short() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let words = fs::read_to_string(readme).unwrap().split_whitespace().count();
    assert!(words <= README_WORDS, "README.md has {words} words: move some to docs/");
}

/// Where the links of a Markdown text lead, as long as it is no other site.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
}

/// What a link calls a heading by: lower case, without punctuation, `-` for a blank.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .replace(' ', "-")
        .replace(|character: char| !(character.is_alphanumeric() || "-_".contains(character)), "")
}

/// Every Rust file below `src`, by its path from there.
fn sources() -> io::Result<Vec<(String, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    files(&root, "rs")?
        .into_iter()
        .map(|path| {
            let file = path.strip_prefix(&root).unwrap_or(&path);
            Ok((file.to_string_lossy().into_owned(), fs::read_to_string(&path)?))
        })
        .collect()
}

/// Every file below `folder` with this extension, in order.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What the file names against the rules, one sentence each.
fn violations(file: &str, source: &str) -> Vec<String> {
    let module = module_of(file);
    let own = match module.first() {
        Some(name) => name.as_str(),
        None => file.trim_end_matches(".rs"),
    };
    let Some((_, may_see)) = MODULES.iter().find(|(name, _)| *name == own) else {
        return vec![format!("src/{file}: {own} is not among the rules' modules")];
    };
    let mut wrong = Vec::new();
    for Reference { line, path } in references(&module, source) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let why = match path[..] {
            ["crate", other, ..] => {
                (other != own && !may_see.contains(&"*") && !may_see.contains(&other))
                    .then(|| format!("{own} may not import {other}"))
            }
            [name, ..] => CRATES
                .iter()
                .find(|(restricted, _)| *restricted == name)
                .filter(|(_, places)| !places.iter().any(|place| file.starts_with(place)))
                .map(|(_, places)| format!("{name} is named only in {}", places.join(", ")))
                .or_else(|| {
                    (own == "domain" && NOT_IN_DOMAIN.contains(&name))
                        .then(|| format!("domain is pure and does without {name}"))
                }),
            [] => None,
        };
        wrong.extend(why.map(|why| format!("src/{file}:{line}: {why} ({})", path.join("::"))));
    }
    wrong
}

/// `store/sled.rs` is the module `store::sled`, `store/mod.rs` is `store`, `lib.rs` is the root.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if matches!(path, "lib" | "main") {
        return Vec::new();
    }
    path.split('/').map(str::to_owned).collect()
}
