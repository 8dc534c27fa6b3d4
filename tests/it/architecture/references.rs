//! Reads from a source file which paths it names.
//!
//! It looks at tokens, not at types: every `use` tree and every path written inline counts, comments
//! and literals do not. That is enough to catch whoever crosses a line without noticing; who means to
//! deceive it can.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

use std::collections::HashSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path that a file names, from `crate` or from the name of another crate on.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
}

/// Every path in the source of `module`, `use` trees leaf by leaf.
pub(super) fn references(module: &[String], source: &str) -> Vec<Reference> {
    let mut reader = Reader { found: Vec::new(), brought_in: HashSet::new() };
    reader.read(source.parse().unwrap(), module);
    let Reader { mut found, brought_in } = reader;
    // What such a name stands for was looked at where it was brought in. `::name` is always a crate.
    found.retain(|reference| !brought_in.contains(&reference.path[0]));
    for reference in &mut found {
        if reference.path[0].is_empty() {
            reference.path.remove(0);
        }
    }
    found
}

struct Reader {
    found: Vec<Reference>,
    /// The names that `use` and `mod` bring into the file from elsewhere than a crate's root.
    brought_in: HashSet<String>,
}

impl Reader {
    fn read(&mut self, stream: TokenStream, module: &[String]) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let first = text(tokens.get(at));
            match (first.as_str(), tokens.get(at + 1)) {
                ("use", _) => at = self.use_tree(&tokens, at + 1, module, &[]),
                ("extern", Some(TokenTree::Ident(next))) if next == "crate" => {
                    at = self.use_tree(&tokens, at + 2, module, &[]);
                }
                ("mod", Some(TokenTree::Ident(name))) => {
                    self.brought_in.insert(name.to_string());
                    at += 2;
                    if let Some(TokenTree::Group(body)) = tokens.get(at) {
                        self.read(body.stream(), &[module, &[name.to_string()]].concat());
                        at += 1;
                    }
                }
                _ => at = self.inline_path(&tokens, at, module),
            }
        }
    }

    /// Reads `a::{b, c::{self, d as e}, f::*}` from `at` on, all under `prefix`. Gives where it ends.
    fn use_tree(
        &mut self,
        tokens: &[TokenTree],
        mut at: usize,
        module: &[String],
        prefix: &[String],
    ) -> usize {
        let mut path = prefix.to_vec();
        let line = tokens.get(at).map_or(0, line);
        loop {
            match tokens.get(at) {
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for tree in inner.split(|token| text(Some(token)) == ",") {
                        self.use_tree(tree, 0, module, &path);
                    }
                    return at + 1;
                }
                Some(TokenTree::Ident(step)) if step == "as" => break,
                // `self` at the end of a tree is the module before it.
                Some(TokenTree::Ident(step)) if step == "self" && !path.is_empty() => at += 1,
                Some(token) if is_colons(tokens, at) => {
                    if path.is_empty() && matches!(token, TokenTree::Punct(_)) {
                        path.push(String::new());
                    }
                    at += 2;
                }
                Some(token @ TokenTree::Ident(_)) => {
                    path.push(text(Some(token)));
                    at += 1;
                }
                Some(token) if text(Some(token)) == "*" => {
                    path.push("*".to_owned());
                    at += 1;
                }
                _ => break,
            }
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if text(tokens.get(at)) == "as" {
            name = text(tokens.get(at + 1));
            at += 2;
        }
        let is_root = path.len() == 1 && path[0] == name;
        if !is_root {
            self.brought_in.insert(name);
        }
        self.note(line, module, path);
        at
    }

    /// Reads one token or, where one begins here, a whole path of at least two steps.
    fn inline_path(&mut self, tokens: &[TokenTree], mut at: usize, module: &[String]) -> usize {
        if let TokenTree::Group(group) = &tokens[at] {
            self.read(group.stream(), module);
            return at + 1;
        }
        let begin = line(&tokens[at]);
        let mut path = Vec::new();
        if is_colons(tokens, at) {
            path.push(String::new());
            at += 2;
        }
        while let Some(TokenTree::Ident(step)) = tokens.get(at) {
            path.push(step.to_string());
            at += 1;
            if !is_colons(tokens, at) || !matches!(tokens.get(at + 2), Some(TokenTree::Ident(_))) {
                break;
            }
            at += 2;
        }
        if path.is_empty() {
            return at + 1;
        }
        if path.len() > 1 {
            self.note(begin, module, path);
        }
        at
    }

    fn note(&mut self, line: usize, module: &[String], mut path: Vec<String>) {
        if path[0] == "self" || path[0] == "super" {
            let is_name = |step: &String| step != "self" && step != "super";
            let steps = path.iter().position(is_name).unwrap_or(path.len());
            let supers = path[..steps].iter().filter(|step| *step == "super").count();
            let Some(depth) = module.len().checked_sub(supers) else { return };
            path.splice(..steps, module[..depth].iter().cloned());
            path.insert(0, "crate".to_owned());
        } else if path[0] == "invoice_router" {
            "crate".clone_into(&mut path[0]);
        }
        self.found.push(Reference { line, path });
    }
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    text(tokens.get(at)) == ":" && text(tokens.get(at + 1)) == ":"
}

fn text(token: Option<&TokenTree>) -> String {
    match token {
        Some(TokenTree::Ident(_) | TokenTree::Punct(_)) => token.map(ToString::to_string),
        _ => None,
    }
    .unwrap_or_default()
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}
