//! What is allowed in an envelope, a header or an attachment's name.
//!
//! Neither the mail crates nor the address crates refuse everything that breaks out of
//! `RCPT TO:<…>` or of a header (measured: `a@[x>y]` passes both address crates), so only these
//! types reach them.

#[cfg(any(test, fuzzing))]
pub(crate) mod property;

use std::borrow::Cow;

use super::{Invalid, is_unprintable, text};

/// Longest address in octets: a path is 256 with its angle brackets (RFC 5321, section 4.5.3.1.3).
const ADDRESS_OCTETS: usize = 254;
/// Longest local part in octets (RFC 5321, section 4.5.3.1.1).
const LOCAL_PART_OCTETS: usize = 64;
/// Longest name in a header, in characters.
const HEADER_TEXT_CHARACTERS: usize = 200;
/// Longest file name, in characters.
const FILE_NAME_CHARACTERS: usize = 120;

text! {
    /// An address that can be delivered to: `dot-atom@domain`, the domain in A-labels.
    ///
    /// Stricter than RFC 5321: no quoted local part, no address literal, no domain without a dot, ASCII
    /// only in the local part. The local part keeps its case, the domain is lower-cased.
    EmailAddress
}

impl EmailAddress {
    /// Checks the address and turns its domain into A-labels (RFC 5890).
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let Some((local, domain)) = raw.rsplit_once('@') else {
            return Err(Invalid::expected("an e-mail address of the form name@domain"));
        };
        let too_long = || Invalid::expected("an e-mail address of at most 254 characters");
        // A domain in other letters has another length in A-labels, so its own says little.
        let most = if raw.is_ascii() { ADDRESS_OCTETS } else { 4 * ADDRESS_OCTETS };
        if raw.len() > most {
            return Err(too_long());
        }
        if !is_dot_atom(local) {
            return Err(Invalid::expected(
                "an e-mail address whose part before the @ is 1 to 64 letters, digits and \
                 !#$%&'*+-/=?^_`{|}~ with single dots between them",
            ));
        }
        let domain = mail_domain(domain)?;
        if local.len() + 1 + domain.len() > ADDRESS_OCTETS {
            return Err(too_long());
        }
        Ok(Self(format!("{local}@{domain}")))
    }

    /// The part after the `@`, in A-labels.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// The address with all but the first character of its local part hidden, for logs.
    #[must_use]
    pub fn masked(&self) -> String {
        masked(&self.0).into_owned()
    }
}

/// What others wrote, such as an id that the portal chose, with each address in it masked, for logs.
#[must_use]
pub fn masked(words: &str) -> Cow<'_, str> {
    let Some((domains_and_locals, last_domain)) = words.rsplit_once('@') else {
        return Cow::Borrowed(words);
    };
    let ends_before_local =
        |c: char| c.is_whitespace() || c.is_control() || "<>()[]:;,\"".contains(c);
    let mut hidden = String::with_capacity(words.len());
    for piece in domains_and_locals.split('@') {
        let begin = piece
            .rfind(ends_before_local)
            .map_or(0, |at| at + piece[at..].chars().next().map_or(0, char::len_utf8));
        let (before, local) = piece.split_at(begin);
        hidden.push_str(before);
        hidden.extend(local.chars().next());
        hidden.push_str("***@");
    }
    hidden.push_str(last_domain);
    Cow::Owned(hidden)
}

fn is_dot_atom(local: &str) -> bool {
    let is_atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    local.len() <= LOCAL_PART_OCTETS
        && local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

/// A host name that mail can be sent to, as A-labels in lower case.
fn mail_domain(raw: &str) -> Result<String, Invalid> {
    let invalid =
        || Invalid::expected("an e-mail address whose domain is a host name such as example.com");
    let domain = idna::domain_to_ascii_strict(raw).map_err(|_| invalid())?;
    let labels: Vec<&str> = domain.split('.').collect();
    let is_ldh = |label: &&str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let top_is_numeric = labels.last().is_none_or(|top| top.bytes().all(|b| b.is_ascii_digit()));
    if labels.len() < 2 || top_is_numeric || !labels.iter().all(is_ldh) {
        return Err(invalid());
    }
    Ok(domain)
}

text! {
    /// A name that a header or a template may show: one line, no invisible characters.
    HeaderText
}

impl HeaderText {
    /// 1 to 200 printable characters on one line, no blanks at the ends.
    pub fn parse(raw: impl Into<String>) -> Result<Self, Invalid> {
        let raw = raw.into();
        let length = raw.chars().count();
        if length == 0
            || length > HEADER_TEXT_CHARACTERS
            || raw.trim() != raw
            || raw.chars().any(is_unprintable)
        {
            return Err(Invalid::expected(
                "1 to 200 printable characters on one line, no blanks at the ends",
            ));
        }
        Ok(Self(raw))
    }
}

/// Who a mail is from: an address, perhaps with a name (RFC 5322, section 3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// As it is shown.
    pub name: Option<HeaderText>,
    /// Where mail goes.
    pub address: EmailAddress,
}

impl Mailbox {
    /// Reads `Name <name@domain>` or a bare address. The name is taken as it is, in quotes or not;
    /// encoding it is for what writes the header.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let Some((name, rest)) = raw.split_once('<') else {
            return EmailAddress::parse(raw).map(|address| Self { name: None, address });
        };
        let address = rest.strip_suffix('>').ok_or_else(|| {
            Invalid::expected("an address, or a name and an address as in Name <name@domain>")
        })?;
        let name = name.trim();
        let unquoted =
            name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        let name = if unquoted.is_empty() { None } else { Some(HeaderText::parse(unquoted)?) };
        Ok(Self { name, address: EmailAddress::parse(address)? })
    }
}

text! {
    /// An attachment's name as it is sent: letters, digits, `-`, `_` and one dot before the extension.
    ///
    /// Machine inboxes refuse others, and a path or a right-to-left override must not reach a reader.
    FileName
}

impl FileName {
    /// 3 to 120 characters: a name of letters, digits, `-` and `_`, one dot, an extension of letters
    /// and digits.
    pub fn parse(raw: impl Into<String>) -> Result<Self, Invalid> {
        let raw = raw.into();
        let is_name = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        let fits = raw.chars().count() <= FILE_NAME_CHARACTERS
            && raw.split_once('.').is_some_and(|(name, extension)| {
                !name.is_empty()
                    && name.chars().all(is_name)
                    && (1..=10).contains(&extension.len())
                    && extension.bytes().all(|b| b.is_ascii_alphanumeric())
            });
        if fits {
            Ok(Self(raw))
        } else {
            Err(Invalid::expected(
                "a file name of letters, digits, \"-\" and \"_\" with one dot before its extension, \
                 at most 120 characters",
            ))
        }
    }
}

text! {
    /// A `Message-ID` without its angle brackets: `dot-atom@domain` (RFC 5322, section 3.6.4).
    MessageId
}

impl MessageId {
    /// Both parts obey [`EmailAddress`], whose characters are a subset of those of `msg-id`.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        EmailAddress::parse(raw)
            .map(|EmailAddress(id)| Self(id))
            .map_err(|_| Invalid::expected("a message id of the form name@domain"))
    }
}

text! {
    /// The domain on the right of every `Message-ID` of this installation.
    MailDomain
}

impl MailDomain {
    /// A host name with at least one dot.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        mail_domain(raw)
            .map(Self)
            .map_err(|_| Invalid::expected("a host name such as invoices.example.com"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internationalised_domain_becomes_a_labels() {
        assert_eq!(
            EmailAddress::parse("Erika@MÜLLER.example").unwrap().as_str(),
            "Erika@xn--mller-kva.example"
        );
    }

    #[test]
    fn an_address_that_is_too_long_is_told_so() {
        let long_labels = vec!["b".repeat(60); 5].join(".");
        for raw in [
            format!("a@{long_labels}.example"),
            format!("a@{}.example", "b".repeat(352)),
            format!("{}@b.example", "a".repeat(300)),
        ] {
            let invalid = EmailAddress::parse(&raw).unwrap_err();
            assert!(invalid.expectation().contains("254"), "{invalid}");
        }
    }

    #[test]
    fn what_breaks_an_envelope_or_reaches_nobody_is_refused() {
        let too_long = format!("a@{}.example", "b".repeat(400));
        let long_local = format!("{}@b.example", "a".repeat(65));
        for raw in [
            "",
            "a",
            "a@",
            "@b.example",
            "a@b",
            "a@[x>y]",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "\"a b\"@c.example",
            "a b@c.example",
            "a..b@c.example",
            ".a@c.example",
            "a.@c.example",
            "a@c.example\r\nRCPT TO:<x@y.example>",
            "a@c.example\n",
            "a\0@c.example",
            "a,b@c.example",
            "a<b@c.example",
            "ä@c.example",
            "a@-c.example",
            "a@c-.example",
            "a@c_d.example",
            "a@c..example",
            "a@c.example.",
            " a@c.example",
            "a@c.example ",
            "a@b@c.example",
            &too_long,
            &long_local,
        ] {
            assert!(EmailAddress::parse(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn addresses_are_masked_wherever_they_stand() {
        for (words, hidden) in [
            ("K-1001", "K-1001"),
            ("erika@muster.example", "e***@muster.example"),
            ("K-7:erika@muster.example", "K-7:e***@muster.example"),
            ("<a.b@c.example>, äö@d.example", "<a***@c.example>, ä***@d.example"),
            ("@", "***@"),
            ("a@b@c", "a***@b***@c"),
        ] {
            assert_eq!(masked(words), hidden);
        }
    }

    #[test]
    fn a_masked_address_shows_only_its_first_character_and_domain() {
        assert_eq!(
            EmailAddress::parse("rechnung@muster.example").unwrap().masked(),
            "r***@muster.example"
        );
    }

    #[test]
    fn a_header_text_is_one_visible_line() {
        assert!(HeaderText::parse("Müller & Söhne, \"Bau\" <GmbH>").is_ok());
        for raw in ["", " a", "a\r\nBcc: x@y.example", "a\u{2028}b", "a\u{202E}b", "a\0"] {
            assert!(HeaderText::parse(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn a_mailbox_is_an_address_with_or_without_a_name() {
        for (raw, name) in [
            ("a@b.example", None),
            ("<a@b.example>", None),
            ("Muster & Söhne <a@b.example>", Some("Muster & Söhne")),
            ("\"Muster, GmbH\" <a@b.example>", Some("Muster, GmbH")),
        ] {
            let mailbox = Mailbox::parse(raw).unwrap();
            assert_eq!(mailbox.name.as_ref().map(HeaderText::as_str), name, "{raw}");
            assert_eq!(mailbox.address.as_str(), "a@b.example", "{raw}");
        }
        for raw in [
            "",
            "Muster",
            "Muster <a@b.example",
            "Muster <a@b.example> x",
            "Muster <a@b.example>, b@c.example",
            "Muster <>",
            "Mu\nster <a@b.example>",
            "A <B <a@b.example>",
        ] {
            assert!(Mailbox::parse(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn a_file_name_has_one_dot_and_no_path() {
        assert!(FileName::parse("RE-2026_0042.pdf").is_ok());
        assert!(FileName::parse("Rechnung_für_März.pdf").is_ok());
        for raw in [
            "",
            "pdf",
            ".pdf",
            "a.",
            "../a.pdf",
            "a/b.pdf",
            "a b.pdf",
            "a.pdf.exe",
            "a\u{202E}fdp.exe",
            "a\\b.pdf",
            "a\".pdf",
        ] {
            assert!(FileName::parse(raw).is_err(), "{raw:?}");
        }
    }
}
