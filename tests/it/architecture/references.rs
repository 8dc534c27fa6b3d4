//! Reads from a source file which paths it names.
//!
//! It looks at tokens, not at types: every `use` tree and every path written inline counts, comments
//! and literals do not, and a name that a `use` or `mod` brought in stands for what it was brought in
//! from. That is enough to catch whoever crosses a line without noticing; who means to deceive it can.

use std::collections::HashMap;

/// How many names that stand for names are followed; imports of two scopes of a function, which are one
/// here, may look like a circle.
const ALIASES: usize = 8;

/// A path that a file names, from `crate` or from the name of another crate on.
pub(super) struct Reference {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
}

/// Every path in the source of `module`, `use` trees leaf by leaf.
pub(super) fn references(module: &[String], source: &str) -> Vec<Reference> {
    let code = without_comments_and_literals(source);
    let mut reader = Reader {
        tokens: tokens(&code),
        at: 0,
        scopes: vec![Scope {
            module: module.to_vec(),
            parent: None,
            depth: 0,
            names: HashMap::new(),
        }],
        written: Vec::new(),
    };
    reader.read();
    let Reader { scopes, written, .. } = reader;
    written
        .into_iter()
        .map(|Written { line, scope, path }| Reference {
            line,
            path: absolute(&scopes, scope, &path, ALIASES),
        })
        .filter(|reference| !reference.path.is_empty())
        .collect()
}

/// A path as it is written, and the inline module in which it is.
struct Written {
    line: usize,
    scope: usize,
    path: Vec<String>,
}

/// The file itself or a `mod name { … }` in it.
struct Scope {
    module: Vec<String>,
    parent: Option<usize>,
    /// How many braces are open inside it.
    depth: usize,
    /// What `use` and `mod` bring in: the name, and the path behind it as written.
    names: HashMap<String, Vec<String>>,
}

/// The path from the root of this crate, or of another one, on. Empty if it leads above the root.
fn absolute(scopes: &[Scope], scope: usize, path: &[String], aliases: usize) -> Vec<String> {
    let own = "crate".to_owned();
    match path[0].as_str() {
        "crate" | "invoice_router" => [&[own], &path[1..]].concat(),
        // `::name` is always a crate.
        "" => path[1..].to_vec(),
        "self" | "super" => {
            let mut module = scopes[scope].module.clone();
            let mut rest = path;
            while let [step, after @ ..] = rest
                && (step == "self" || step == "super")
            {
                if step == "super" && module.pop().is_none() {
                    return Vec::new();
                }
                rest = after;
            }
            [&[own], &module[..], rest].concat()
        }
        name => match brought_in(scopes, scope, name) {
            Some((inside, behind)) if aliases > 0 && behind[0] != name => {
                let behind = absolute(scopes, inside, behind, aliases - 1);
                if behind.is_empty() {
                    return behind;
                }
                [&behind, &path[1..]].concat()
            }
            _ => path.to_vec(),
        },
    }
}

/// The path behind a name that `use` or `mod` brought in, and the scope in which they did.
fn brought_in<'a>(
    scopes: &'a [Scope],
    scope: usize,
    name: &str,
) -> Option<(usize, &'a Vec<String>)> {
    match (scopes[scope].names.get(name), scopes[scope].parent) {
        (Some(behind), _) => Some((scope, behind)),
        // An inline module sees the names around it by `use super::*`, so all are looked through.
        (None, Some(parent)) => brought_in(scopes, parent, name),
        (None, None) => None,
    }
}

struct Reader<'a> {
    tokens: Vec<(usize, &'a str)>,
    at: usize,
    scopes: Vec<Scope>,
    written: Vec<Written>,
}

impl<'a> Reader<'a> {
    fn read(&mut self) {
        let mut scope = 0;
        while let Some((_, token)) = self.tokens.get(self.at).copied() {
            match token {
                "use" => {
                    self.at += 1;
                    self.use_tree(scope, &[]);
                }
                "extern" if self.peek(1) == "crate" => {
                    self.at += 2;
                    self.use_tree(scope, &[]);
                }
                "mod" if is_name(self.peek(1)) => scope = self.module(scope),
                "{" => {
                    self.scopes[scope].depth += 1;
                    self.at += 1;
                }
                "}" => {
                    match self.scopes[scope].depth.checked_sub(1) {
                        Some(depth) => self.scopes[scope].depth = depth,
                        None => scope = self.scopes[scope].parent.unwrap_or(scope),
                    }
                    self.at += 1;
                }
                _ => self.inline_path(scope),
            }
        }
    }

    fn peek(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.1)
    }

    /// `mod name;` brings in a name, `mod name { … }` begins a scope. Gives the scope to go on in.
    fn module(&mut self, scope: usize) -> usize {
        let name = self.peek(1).to_owned();
        let opens = self.peek(2) == "{";
        let mut module = self.scopes[scope].module.clone();
        module.push(name.clone());
        let path = std::iter::once("crate".to_owned()).chain(module.iter().cloned()).collect();
        self.scopes[scope].names.insert(name, path);
        self.at += 3;
        if !opens {
            return scope;
        }
        self.scopes.push(Scope { module, parent: Some(scope), depth: 0, names: HashMap::new() });
        self.scopes.len() - 1
    }

    /// Reads `a::{b, c::{self, d as e}, f::*}` up to what ends it, all under `prefix`.
    fn use_tree(&mut self, scope: usize, prefix: &[String]) {
        let mut path = prefix.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.0);
        if prefix.is_empty() && self.peek(0) == "::" {
            path.push(String::new());
            self.at += 1;
        }
        loop {
            match self.peek(0) {
                "{" => {
                    self.at += 1;
                    while !matches!(self.peek(0), "}" | "") {
                        self.use_tree(scope, &path);
                        if self.peek(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "::" => self.at += 1,
                step if is_name(step) || step == "*" => {
                    self.at += 1;
                    // `self` at the end of a tree is the module before it.
                    if step != "self" || path.is_empty() {
                        path.push(step.to_owned());
                    }
                    if self.peek(0) != "::" {
                        break;
                    }
                }
                // Not a tree: go on behind it, whatever it is.
                _ => {
                    self.at += 1;
                    return;
                }
            }
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if self.peek(0) == "as" {
            self.peek(1).clone_into(&mut name);
            self.at += 2;
        }
        if name != "*" {
            self.scopes[scope].names.insert(name, path.clone());
        }
        self.written.push(Written { line, scope, path });
    }

    /// Reads one token or, where one begins here, a whole path of at least two steps.
    fn inline_path(&mut self, scope: usize) {
        let (line, token) = self.tokens[self.at];
        let before = self.at.checked_sub(1).map_or("", |at| self.tokens[at].1);
        let mut path = Vec::new();
        if token == "::" && !is_name(before) && before != ">" && is_name(self.peek(1)) {
            path.push(String::new());
            self.at += 1;
        } else if !is_name(token) || matches!(before, "::" | ".") {
            self.at += 1;
            return;
        }
        path.push(self.peek(0).to_owned());
        self.at += 1;
        while self.peek(0) == "::" && is_name(self.peek(1)) {
            path.push(self.peek(1).to_owned());
            self.at += 2;
        }
        if path.len() > 1 {
            self.written.push(Written { line, scope, path });
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and every other character by itself, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            found.push((number + 1, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// The source with blanks in place of comments, strings and characters; line breaks stay.
fn without_comments_and_literals(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let after_name = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(hashes) = raw_string(rest).filter(|_| !after_name) {
            let start = rest.find('"').unwrap_or(0) + 1;
            let end = format!("\"{}", "#".repeat(hashes));
            rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_character(rest) {
            quoted(rest, '\'')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.push(' ');
        code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        rest = &rest[skipped..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut open = 0;
    let mut at = 0;
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        if here.starts_with(b"/*") {
            open += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            open -= 1;
            at += 2;
            if open == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// How many `#` a raw string that begins here has.
fn raw_string(text: &str) -> Option<usize> {
    let text = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let text = text.strip_prefix('r')?;
    let quote = text.trim_start_matches('#');
    quote.starts_with('"').then(|| text.len() - quote.len())
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn is_character(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}
