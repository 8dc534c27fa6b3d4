//! Who may import whom, which crate is named where, and what may lie at the top level.
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
    ("telemetry", &[]),
    ("config", &["domain"]),
    ("store", &["domain"]),
    ("mail", &["domain"]),
    ("http", &["domain", "clock", "config", "store", "mail"]),
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
    (
        "lettre",
        &[
            "mail/connection.rs",
            "mail/connection/replies/property.rs",
            "mail/transport.rs",
            "mail/outcome.rs",
        ],
    ),
    ("mail_builder", &["mail/compose.rs"]),
    ("hyper", &["http/"]),
    ("hyper_util", &["http/"]),
    ("http_body_util", &["http/"]),
    ("cron", &["dispatch/schedule.rs"]),
    ("anyhow", &["app.rs", "cli/", "main.rs"]),
    ("prometheus_client", &["http/metrics.rs"]),
    ("sd_notify", &["systemd.rs"]),
    ("tracing_journald", &["telemetry.rs"]),
    ("tracing_subscriber", &["telemetry.rs"]),
];

/// Crates that the pure core does without: no input or output, no randomness, no format but its own.
const NOT_IN_DOMAIN: &[&str] =
    &["anyhow", "fastrand", "postcard", "serde", "serde_json", "tokio", "toml", "tracing"];

/// All that may lie at the top level, dot-files aside.
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
    "rustfmt.toml",
    "src",
    "systemd",
    "target",
    "tests",
];

const FILE_LINES: usize = 700;

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

/// Every Rust file below `src`, by its path from there.
fn sources() -> io::Result<Vec<(String, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(&root).unwrap_or(&path);
                let source = fs::read_to_string(&path)?;
                found.push((file.to_string_lossy().into_owned(), source));
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
