//! Whether what arrived is what should have arrived: each mail once, to the right address, whole.

use std::fs;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::examples::document;
use super::sink::Received;
use crate::domain::recipient::Rule;

/// A mail that should arrive.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) account: &'static str,
    pub(super) number: &'static str,
    pub(super) address: &'static str,
    /// The rule by which this address gets it.
    pub(super) rule: Rule,
    /// The names of its documents.
    pub(super) documents: &'static [&'static str],
}

/// Everything that is wrong with the mails received, in words; nothing if all is right.
pub(super) fn mistakes(
    expected: &[Expected],
    received: &[Received],
) -> anyhow::Result<Vec<String>> {
    let mut mistakes = Vec::new();
    let mut mails = Vec::new();
    for message in received {
        let file = message.file.as_deref().context("a mail was not kept")?;
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        // Long headers are folded (RFC 5322, section 2.2.3).
        mails.push((message.recipients.join(", "), text.replace("\r\n ", " ")));
    }
    let is = |(recipients, text): &(String, String), one: &Expected| {
        recipients == one.address && header(text, "X-Invoice-Number") == one.number
    };
    for one in expected {
        let Expected { number, address, .. } = one;
        let found: Vec<_> = mails.iter().filter(|mail| is(mail, one)).collect();
        match found[..] {
            [(_, text)] => mistakes.extend(mistake(text, one)?),
            [] => mistakes.push(format!("{number} did not arrive at {address}")),
            [..] => mistakes.push(format!("{number} arrived {} times at {address}", found.len())),
        }
    }
    for mail in mails.iter().filter(|mail| !expected.iter().any(|one| is(mail, one))) {
        let (recipients, text) = mail;
        let number = header(text, "X-Invoice-Number");
        mistakes.push(format!("{number} went to {recipients}, which should not get it"));
    }
    Ok(mistakes)
}

fn header<'t>(text: &'t str, name: &str) -> &'t str {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

/// What is wrong with a mail that came where it should.
fn mistake(text: &str, expected: &Expected) -> anyhow::Result<Option<String>> {
    let Expected { number, address, documents, .. } = expected;
    // The German account's numbers are German, too.
    let word = if number.starts_with("RE") { "Rechnung" } else { "Invoice" };
    let (begin, subject) = (format!("{word} {number} "), header(text, "Subject"));
    if !subject.starts_with(&begin) {
        return Ok(Some(format!("the subject {subject:?} does not begin with {begin:?}")));
    }
    let mut wanted = Vec::new();
    for name in *documents {
        wanted.push(Some(((*name).to_owned(), document(name)?.to_owned())));
    }
    let are_whole = attachments(text) == wanted;
    let words = format!("the attachments of {number} for {address} are not its documents");
    Ok((!are_whole).then_some(words))
}

/// Names and contents of the attachments. The mail is ours, so that its form is known.
fn attachments(text: &str) -> Vec<Option<(String, Vec<u8>)>> {
    let attachment = |part: &str| {
        let (head, content) = part.split_once("\r\n\r\n")?;
        let (name, _) = head.split_once("filename=\"")?.1.split_once('"')?;
        // The next boundary begins with dashes, which Base64 has none of.
        let content = content.split("--").next()?;
        let content: String = content.split_ascii_whitespace().collect();
        Some((name.to_owned(), STANDARD.decode(content).ok()?))
    };
    text.split("Content-Disposition: attachment").skip(1).map(attachment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected {
        account: "K-1001",
        number: "RE-1",
        address: "a@muster.example",
        rule: Rule::NoBillingContact,
        documents: &["RE-2026-0042.pdf"],
    };

    /// The mistakes of these mails, each for one recipient.
    fn judged(mails: &[(&str, String)]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let receive = |(at, (recipient, text)): (usize, &(&str, String))| -> Received {
            let file = directory.path().join(at.to_string());
            fs::write(&file, text).unwrap();
            Received {
                sender: String::new(),
                recipients: vec![(*recipient).to_owned()],
                bytes: text.len(),
                file: Some(file),
            }
        };
        let received: Vec<Received> = mails.iter().enumerate().map(receive).collect();
        mistakes(&[EXPECTED], &received).unwrap()
    }

    #[test]
    fn only_a_mail_that_is_as_it_should_be_has_no_mistake() {
        let content = STANDARD.encode(document("RE-2026-0042.pdf").unwrap());
        let (begin, end) = content.split_at(76);
        let mail = format!(
            "Subject: Rechnung RE-1 vom\r\n 23.11.2026\r\nX-Invoice-Number: RE-1\r\n\r\n--b\r\n\
             Content-Disposition: attachment; filename=\"RE-2026-0042.pdf\"\r\n\r\n{begin}\r\n{end}\r\n--b--\r\n"
        );
        let right = || ("a@muster.example", mail.clone());
        let altered = |from: &str, to: &str| vec![("a@muster.example", mail.replace(from, to))];
        assert_eq!(judged(&[right()]), Vec::<String>::new());
        for (mails, expected) in [
            (vec![], "RE-1 did not arrive at a@muster.example"),
            (vec![right(), right()], "RE-1 arrived 2 times at a@muster.example"),
            (
                vec![right(), ("b@muster.example", mail.clone())],
                "RE-1 went to b@muster.example, which should not get it",
            ),
            (altered("Rechnung", "Invoice"), "does not begin with \"Rechnung RE-1 \""),
            (altered(end, &end[4..]), "are not its documents"),
            (altered("0042.pdf", "0043.pdf"), "are not its documents"),
            (altered("attachment", "inline"), "are not its documents"),
        ] {
            let mistakes = judged(&mails);
            assert!(matches!(&mistakes[..], [only] if only.contains(expected)), "{mistakes:?}");
        }
    }
}
