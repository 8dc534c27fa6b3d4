//! The words of a mail: what an administrator may change, and all that can be wrong with it.
//!
//! Two layouts, one for the text part and one for the HTML part, serve every language. A language is a
//! directory of small files: what all its mails share, what each kind of document says, and how dates
//! and amounts are written. So each sentence is written once, and a translator sees no markup.
//!
//! A configured directory overlays the shipped files, by the same relative path. Everything is compiled
//! and rendered with sample data when it is loaded; a mistake stops the start, not a mail.
//!
//! Invariants: undefined names and empty values are errors; whatever comes from outside is escaped in
//! HTML; a subject is one printable line.

mod format;
mod load;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use crate::domain::contact::{Contact, Language};
use crate::domain::invoice::Invoice;
use crate::domain::is_unprintable;

use self::format::Formats;

/// Columns at which the text part is wrapped; shorter than a line of a mail should be (RFC 5322,
/// section 2.1.1), so that a reply can quote it.
const TEXT_COLUMNS: usize = 72;

/// The texts that each kind needs, from its own file or from the language's `common.txt`.
const TEXTS: [&str; 13] = [
    "subject",
    "heading",
    "salutation",
    "recipient_label",
    "account_label",
    "number_label",
    "issued_on_label",
    "refers_to_label",
    "total_label",
    "due_on_label",
    "files_label",
    "portal_label",
    "regards",
];

/// The texts that are paragraphs, divided by blank lines.
const PARAGRAPHS: [&str; 2] = ["introduction", "closing"];

/// All templates of all languages. Cheap to read from many threads, replaced as a whole.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    languages: BTreeMap<Language, Formats>,
}

/// What a mail is about.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The invoice that it brings.
    pub invoice: &'a Invoice,
    /// Whom it addresses.
    pub contact: &'a Contact,
    /// Who signs it: the display name of the configured sender.
    pub sender: &'a str,
    /// Whether they get it in place of the selected contact, whom the relay rejects.
    pub is_fallback: bool,
}

/// The words of one mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    subject: String,
    text: String,
    html: String,
}

impl Rendered {
    /// One printable line, not empty.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The text part: lines end in CR LF, no other control but the tab.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The HTML part: lines end in CR LF, no other control but the tab.
    #[must_use]
    pub fn html(&self) -> &str {
        &self.html
    }
}

/// All that is wrong with the templates, one mistake a line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct TemplateErrors(pub Vec<TemplateError>);

/// One mistake in one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{file}{}: {what}", .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct TemplateError {
    /// The path of the administrator's file, or the name of the shipped one.
    pub file: String,
    /// From 1, if the mistake has one.
    pub line: Option<usize>,
    /// What is wrong, or what was expected.
    pub what: String,
}

/// A mail that could not be put into words.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// No such language; see [`Templates::choose`].
    #[error("no templates in the language \"{0}\"")]
    Language(Language),
    /// A template failed with these values, though not with the sample data.
    #[error("could not render a template")]
    Template(#[from] TemplateError),
}

impl Templates {
    /// The shipped templates under those of `directory`. Reports every mistake, not only the first.
    pub fn load(directory: Option<&Path>) -> Result<Self, TemplateErrors> {
        load::load(directory)
    }

    /// The languages there are templates in, in order.
    pub fn languages(&self) -> impl Iterator<Item = &Language> {
        self.languages.keys()
    }

    /// Whether there are templates in this language.
    #[must_use]
    pub fn has(&self, language: &Language) -> bool {
        self.languages.contains_key(language)
    }

    /// The wanted language, or `default` if nothing is wanted or there are no templates in it.
    #[must_use]
    pub fn choose<'a>(&self, wanted: Option<&'a Language>, default: &'a Language) -> &'a Language {
        wanted.filter(|language| self.has(language)).unwrap_or(default)
    }

    /// Puts one mail into words. The same facts give the same words.
    pub fn render(&self, language: &Language, facts: &Facts<'_>) -> Result<Rendered, RenderError> {
        let formats =
            self.languages.get(language).ok_or_else(|| RenderError::Language(language.clone()))?;
        let values = values(language, formats, facts);
        Ok(self.render_values(language, facts.invoice.kind.as_str(), &values)?)
    }

    /// `kind` is the wire name of a kind, which is the name of its file.
    fn render_values(
        &self,
        language: &Language,
        kind: &str,
        values: &Value,
    ) -> Result<Rendered, TemplateError> {
        let common = self.texts(&format!("{language}/common.txt"), values)?;
        let own_file = format!("{language}/{kind}.txt");
        let context = context! { ..Value::from(common.clone()), ..values.clone() };
        let own = self.texts(&own_file, &context)?;
        let text_of = |name: &str| {
            own.get(name).or_else(|| common.get(name)).map(ToString::to_string).ok_or_else(|| {
                TemplateError {
                    file: own_file.clone(),
                    line: None,
                    what: format!(
                        "expected {{% set {name} %}}…{{% endset %}} here or in common.txt"
                    ),
                }
            })
        };

        let mut words = BTreeMap::new();
        for name in TEXTS {
            words.insert(name, Value::from(one_line(&text_of(name)?)));
        }
        for name in PARAGRAPHS {
            words.insert(name, Value::from(paragraphs(&text_of(name)?)));
        }
        let subject = one_line(&text_of("subject")?);
        if subject.is_empty() {
            return Err(TemplateError {
                file: own_file,
                line: None,
                what: "expected a subject that is not empty".to_owned(),
            });
        }
        let values = context! { ..Value::from(words), ..values.clone() };
        Ok(Rendered {
            subject,
            text: mail_lines(&self.output("layout.txt", &values)?),
            html: mail_lines(&self.output("layout.html", &values)?),
        })
    }

    /// What a file sets, by name.
    fn texts(&self, file: &str, values: &Value) -> Result<BTreeMap<String, Value>, TemplateError> {
        let captured = self
            .environment
            .get_template(file)
            .and_then(|template| template.render_captured(values))
            .map_err(|error| engine_error(file, &error))?;
        let state = captured.state();
        Ok(state
            .exports()
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), state.lookup(name)?)))
            .collect())
    }

    fn output(&self, file: &str, values: &Value) -> Result<String, TemplateError> {
        self.environment
            .get_template(file)
            .and_then(|template| template.render(values))
            .map_err(|error| engine_error(file, &error))
    }
}

/// The names that a template may use; the same for a mail as for the sample data.
fn values(language: &Language, formats: &Formats, facts: &Facts<'_>) -> Value {
    let Facts { invoice, contact, sender, is_fallback } = *facts;
    let files: Vec<String> = invoice
        .documents
        .as_slice()
        .iter()
        .map(|document| document.file_name.to_string())
        .collect();
    context! {
        language => language.as_str(),
        kind => invoice.kind.as_str(),
        number => invoice.number.as_str(),
        issued_on => formats.date(invoice.issued_on),
        due_on => invoice.due_on.map(|date| formats.date(date)),
        total => formats.amount(invoice.total),
        refers_to => invoice.kind.refers_to().map(ToString::to_string),
        portal_url => invoice.portal_url.as_ref().map(|url| url.as_str().to_owned()),
        files => files,
        account => invoice.account.as_str(),
        name => contact.name.as_str(),
        company => contact.company.as_ref().map(ToString::to_string),
        sender => sender,
        is_fallback => is_fallback,
    }
}

fn engine() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // A tag alone on its line leaves no blank line behind.
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|name| {
        if Path::new(name).extension().is_some_and(|it| it == "html") {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    // An absent value would be written as "none"; a template has to check it first.
    environment.set_formatter(|out, state, value| {
        if value.is_none() {
            return Err(minijinja::Error::new(
                minijinja::ErrorKind::UndefinedError,
                "this value may be absent: expected it inside {% if … %}",
            ));
        }
        match (state.auto_escape(), value.as_str()) {
            (AutoEscape::Html, Some(text)) if !value.is_safe() => {
                write_escaped(out, text).map_err(minijinja::Error::from)
            }
            _ => minijinja::escape_formatter(out, state, value),
        }
    });
    environment.add_filter("wrap", |text: String| wrap(&text));
    Ok(environment)
}

/// Escapes what HTML needs in text and in quoted attributes, and leaves the slashes of links alone, which
/// mail gateways look for.
fn write_escaped(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '"' => out.write_str("&quot;")?,
            '\'' => out.write_str("&#39;")?,
            other => out.write_char(other)?,
        }
    }
    Ok(())
}

fn engine_error(file: &str, error: &minijinja::Error) -> TemplateError {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    TemplateError { file: error.name().unwrap_or(file).to_owned(), line: error.line(), what }
}

/// All words on one line, single blanks between them, nothing invisible.
fn one_line(text: &str) -> String {
    let words: Vec<String> = text
        .split(is_blank)
        .map(|word| word.chars().filter(|c| !is_unprintable(*c)).collect())
        .filter(|word: &String| !word.is_empty())
        .collect();
    words.join(" ")
}

/// White space at which a line may be broken; French sets others before its colons.
fn is_blank(c: char) -> bool {
    c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}')
}

/// Each on one line; the layout wraps them.
fn paragraphs(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .split(|line| line.trim().is_empty())
        .map(|paragraph| one_line(&paragraph.join(" ")))
        .filter(|paragraph| !paragraph.is_empty())
        .collect()
}

/// Breaks between words at [`TEXT_COLUMNS`]; a longer word, such as a link, stays whole.
fn wrap(text: &str) -> String {
    let mut wrapped = String::with_capacity(text.len());
    let mut column = 0;
    for word in text.split(is_blank).filter(|word| !word.is_empty()) {
        let width = word.chars().count();
        if column > 0 {
            let fits = column + 1 + width <= TEXT_COLUMNS;
            wrapped.push(if fits { ' ' } else { '\n' });
            column = if fits { column + 1 } else { 0 };
        }
        wrapped.push_str(word);
        column += width;
    }
    wrapped
}

/// Lines as a mail needs them: each ends in CR LF, without blanks at its end and without controls, which
/// mail-builder would let through; blank lines one at a time, none at the ends.
fn mail_lines(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / 16);
    let mut pending_blank = false;
    for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
        let line: String = line.chars().filter(|c| *c == '\t' || !c.is_control()).collect();
        let line = line.trim_end();
        if line.is_empty() {
            pending_blank = !lines.is_empty();
            continue;
        }
        if std::mem::take(&mut pending_blank) {
            lines.push_str("\r\n");
        }
        lines.push_str(line);
        lines.push_str("\r\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_mail_has_no_bare_carriage_return_and_no_control() {
        assert_eq!(mail_lines("\n\na\rb \0\u{1b}[1m\r\n\n\n\nc\t\n\n"), "a\r\nb [1m\r\n\r\nc\r\n");
    }

    #[test]
    fn a_subject_is_one_visible_line() {
        assert_eq!(one_line(" a\r\n b\u{202e}\u{0} \u{200b} c\u{85}d\u{a0}: "), "a b c d\u{a0}:");
    }

    #[test]
    fn a_paragraph_ends_at_a_blank_line() {
        assert_eq!(paragraphs("\n  a\nb\n \n\n\nc d\n"), vec!["a b".to_owned(), "c d".to_owned()]);
    }

    #[test]
    fn a_text_wraps_between_words_and_keeps_a_link_whole() {
        let link = format!("https://portal.example/{}", "x".repeat(100));
        let wrapped = wrap(&format!("{} {link} b", "wort ".repeat(20)));
        let lines: Vec<&str> = wrapped.lines().collect();
        assert!(lines.contains(&link.as_str()));
        assert!(lines.iter().all(|line| *line == link || line.chars().count() <= TEXT_COLUMNS));
    }
}
