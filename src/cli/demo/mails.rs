//! Whether what arrived is what should have arrived: each mail once, to the right address, whole.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::examples::Document;
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
    /// How the subject begins, in the language of the account.
    pub(super) subject: &'static str,
    pub(super) documents: &'static [Document],
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
        mails.push(Mail::read(file, &message.recipients)?);
    }
    for one in expected {
        let Expected { number, address, .. } = one;
        let found: Vec<&Mail> = mails.iter().filter(|mail| mail.is(one)).collect();
        match found[..] {
            [mail] => mistakes.extend(mail.mistake(one)),
            [] => mistakes.push(format!("{number} did not arrive at {address}")),
            [..] => mistakes.push(format!("{number} arrived {} times at {address}", found.len())),
        }
    }
    for mail in &mails {
        if !expected.iter().any(|one| mail.is(one)) {
            let (number, recipients) = (mail.number(), mail.recipients.join(", "));
            mistakes.push(format!("{number} went to {recipients}, which should not get it"));
        }
    }
    Ok(mistakes)
}

/// A received mail, as far as it is looked at: it is ours, so that its form is known.
#[derive(Debug)]
struct Mail {
    recipients: Vec<String>,
    head: String,
    body: String,
}

impl Mail {
    fn read(file: &Path, recipients: &[String]) -> anyhow::Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Ok(Self {
            recipients: recipients.to_vec(),
            // Long headers are folded (RFC 5322, section 2.2.3).
            head: head.replace("\r\n ", " "),
            body: body.to_owned(),
        })
    }

    fn header(&self, name: &str) -> &str {
        let value = |line: &'_ str| -> Option<usize> {
            let (found, _) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(found.len() + 2)
        };
        self.head.lines().find_map(|line| value(line).map(|at| &line[at..])).unwrap_or_default()
    }

    fn number(&self) -> &str {
        self.header("X-Invoice-Number")
    }

    fn is(&self, expected: &Expected) -> bool {
        self.recipients == [expected.address] && self.number() == expected.number
    }

    /// What is wrong with a mail that came where it should.
    fn mistake(&self, expected: &Expected) -> Option<String> {
        let subject = self.header("Subject");
        if !subject.starts_with(expected.subject) {
            return Some(format!(
                "the subject {subject:?} does not begin with {:?}",
                expected.subject
            ));
        }
        let is_attached = |(attached, document): (&(String, Vec<u8>), &Document)| {
            attached.0 == document.file && attached.1 == document.bytes
        };
        let attachments = self.attachments();
        let is_whole = attachments.len() == expected.documents.len()
            && attachments.iter().zip(expected.documents).all(is_attached);
        (!is_whole).then(|| {
            format!(
                "the attachments of {} for {} are not its documents",
                expected.number, expected.address
            )
        })
    }

    /// Names and contents of the attachments.
    fn attachments(&self) -> Vec<(String, Vec<u8>)> {
        let quoted_after = |text: &str, name: &str| -> Option<String> {
            let (_, value) = text.split_once(&format!("{name}=\""))?;
            Some(value.split_once('"')?.0.to_owned())
        };
        let Some(boundary) = quoted_after(self.header("Content-Type"), "boundary") else {
            return Vec::new();
        };
        let delimiter = format!("--{boundary}");
        let attachment = |part: &str| {
            let (head, content) = part.split_once("\r\n\r\n")?;
            if !head.contains("Content-Disposition: attachment") {
                return None;
            }
            let content: String = content.split_ascii_whitespace().collect();
            Some((quoted_after(head, "filename")?, STANDARD.decode(content).ok()?))
        };
        self.body.split(&delimiter).filter_map(attachment).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const EXPECTED: Expected = Expected {
        account: "K-1001",
        number: "RE-1",
        address: "a@muster.example",
        rule: Rule::NoBillingContact,
        subject: "Rechnung RE-1 ",
        documents: &[Document { file: "RE-1.pdf", bytes: b"%PDF" }],
    };
    const MAIL: &str = "Subject: Rechnung RE-1 vom\r\n 23.11.2026\r\nX-Invoice-Number: RE-1\r\n\
        Content-Type: multipart/mixed;\r\n boundary=\"b\"\r\n\r\n--b\r\n\
        Content-Type: text/plain\r\n\r\nGuten Tag\r\n--b\r\nContent-Type: application/pdf\r\n\
        Content-Disposition: attachment; filename=\"RE-1.pdf\"\r\n\r\nJVBE\r\nRg==\r\n--b--\r\n";

    /// The mistakes of these mails, each for one recipient.
    fn judged(mails: &[(&str, String)]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let receive = |(at, (recipient, text)): (usize, &(&str, String))| -> Received {
            let file: PathBuf = directory.path().join(at.to_string());
            fs::write(&file, text).unwrap();
            Received {
                sender: String::new(),
                recipients: vec![(*recipient).to_owned()],
                bytes: text.len(),
                connection: 1,
                file: Some(file),
            }
        };
        let received: Vec<Received> = mails.iter().enumerate().map(receive).collect();
        mistakes(&[EXPECTED], &received).unwrap()
    }

    #[test]
    fn a_mail_that_is_as_it_should_be_has_no_mistake() {
        let right = ("a@muster.example", MAIL.to_owned());
        assert_eq!(judged(&[right]), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_doubled_or_astray_is_told() {
        let right = || ("a@muster.example", MAIL.to_owned());
        let astray = || ("b@muster.example", MAIL.to_owned());
        for (mails, expected) in [
            (vec![], "RE-1 did not arrive at a@muster.example"),
            (vec![right(), right()], "RE-1 arrived 2 times at a@muster.example"),
            (vec![right(), astray()], "RE-1 went to b@muster.example, which should not get it"),
        ] {
            assert_eq!(judged(&mails), [expected]);
        }
    }

    #[test]
    fn a_mail_in_another_language_or_with_other_bytes_is_told() {
        for (from, to, expected) in [
            ("Rechnung", "Invoice", "does not begin with"),
            ("Rg==", "RQ==", "are not its documents"),
            ("RE-1.pdf", "RE-2.pdf", "are not its documents"),
            ("attachment", "inline", "are not its documents"),
        ] {
            let mistakes = judged(&[("a@muster.example", MAIL.replace(from, to))]);
            assert!(matches!(&mistakes[..], [only] if only.contains(expected)), "{mistakes:?}");
        }
    }
}
