//! Whom a mail addresses: a name, a company, a language and addresses.

use super::address::{EmailAddress, HeaderText};
use super::{Invalid, text};

/// Most addresses of a contact.
pub const ADDRESSES: usize = 10;

/// A contact's data, the main contact's or a sub-user's.
///
/// Phone and postal address are not here: what is printed on a document is the billing system's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The person or department.
    pub name: HeaderText,
    /// The company, if any.
    pub company: Option<HeaderText>,
    /// The language of mails to it; the account's, if it has none of its own.
    pub language: Option<Language>,
    /// Where its mail goes. May be empty outside the billing groups.
    pub addresses: Addresses,
}

/// Up to 10 different addresses in the portal's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addresses(Vec<EmailAddress>);

impl Addresses {
    /// Refuses more than [`ADDRESSES`], and duplicates.
    pub fn parse(addresses: Vec<EmailAddress>) -> Result<Self, Invalid> {
        if addresses.len() > ADDRESSES {
            return Err(Invalid::expected(format!("at most {ADDRESSES} addresses")));
        }
        let twice =
            addresses.iter().enumerate().any(|(at, address)| addresses[..at].contains(address));
        if twice {
            return Err(Invalid::expected("each address once"));
        }
        Ok(Self(addresses))
    }

    /// The addresses, in the portal's order.
    #[must_use]
    pub fn as_slice(&self) -> &[EmailAddress] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

text! {
    /// A language's primary subtag (RFC 5646, section 2.2.1), in lower case: `de` for `de-AT` and `de_DE`.
    Language
}

impl Language {
    /// Takes the primary subtag of a language tag; region and script are of no use to a template.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let mut subtags = raw.split(['-', '_']);
        let primary = subtags.next().unwrap_or_default();
        let is_primary =
            (2..=3).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic());
        let are_subtags = subtags.all(|tag| {
            (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric())
        });
        if !is_primary || !are_subtags || raw.len() > 35 {
            return Err(Invalid::expected("a language such as \"de\" or \"en-GB\""));
        }
        Ok(Self(primary.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_its_primary_subtag() {
        for raw in ["de", "de-AT", "de_DE", "DE", "de-Latn-DE-1996"] {
            assert_eq!(Language::parse(raw).unwrap().as_str(), "de", "{raw}");
        }
        for raw in ["", "d", "german", "de-", "de AT", "../de", "12"] {
            assert!(Language::parse(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn an_address_stands_once_and_at_most_ten_do() {
        let addresses = |n: usize| {
            (0..n)
                .map(|i| EmailAddress::parse(&format!("a{i}@b.example")).unwrap())
                .collect::<Vec<_>>()
        };
        assert!(Addresses::parse(addresses(10)).is_ok());
        assert!(Addresses::parse(addresses(11)).is_err());
        assert!(Addresses::parse([addresses(1), addresses(1)].concat()).is_err());
    }
}
