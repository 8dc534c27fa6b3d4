//! Reading a JSON object member by member, with every mistake noted at its place.
//!
//! Nothing is read twice and nothing is left over: [`Fields::finish`] notes each member that was not
//! asked for, so that a misspelt field is refused instead of ignored. Reading goes on after a mistake;
//! a caller learns all of them from one answer.

use std::cell::{Cell, RefCell};

use super::json::{Node, push_token};
use super::problem::{Fault, Problem};
use crate::domain::{Invalid, Named};

/// Most mistakes that an answer lists.
pub(super) const FAULTS: usize = 50;

/// Parts of names under which systems keep passwords.
const PASSWORD_WORDS: [&str; 7] =
    ["password", "passwd", "passwort", "kennwort", "passphrase", "pwd", "pin_code"];

/// A mistake was made, and is in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted;

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    faults: RefCell<Vec<Fault>>,
    /// Whether there are more of them.
    more: Cell<bool>,
}

impl Report {
    /// Notes a mistake.
    pub(super) fn fault(&self, pointer: impl Into<String>, expected: impl Into<String>) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < FAULTS {
            faults.push(Fault::at(pointer, expected));
        } else {
            self.more.set(true);
        }
    }

    /// The value, if there was no mistake on the way.
    pub(super) fn finish<T>(self, value: Result<T, Noted>) -> Result<T, Problem> {
        let faults = self.faults.into_inner();
        match value {
            Ok(value) if faults.is_empty() => Ok(value),
            Ok(_) | Err(Noted) => {
                let mut problem = Problem::invalid(faults);
                if self.more.get() {
                    problem.body.detail = format!("the request has at least {FAULTS} errors");
                }
                Err(problem)
            }
        }
    }
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    node: &'a Node,
    pointer: String,
    report: &'a Report,
}

/// Whether a member is there.
#[derive(Debug)]
pub(super) enum Presence<T> {
    /// It is not.
    Absent,
    /// It is `null`.
    Null,
    /// It has a value.
    Value(T),
}

/// An object that is being read.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    members: &'a [(String, Node)],
    seen: Vec<Cell<bool>>,
    pointer: String,
    report: &'a Report,
}

impl<'a> Item<'a> {
    /// A whole body.
    pub(super) fn root(node: &'a Node, report: &'a Report) -> Self {
        Self { node, pointer: String::new(), report }
    }

    /// Notes that it is wrong, as the end of a reader.
    pub(super) fn fault<T>(&self, expected: impl Into<String>) -> Result<T, Noted> {
        self.report.fault(self.pointer.clone(), expected);
        Err(Noted)
    }

    /// What `invalid` says, noted at this place.
    pub(super) fn check<T>(&self, result: Result<T, Invalid>) -> Result<T, Noted> {
        result.or_else(|invalid| self.fault(invalid.expectation()))
    }

    /// A string.
    pub(super) fn text(&self) -> Result<&'a str, Noted> {
        match self.node {
            Node::Text(text) => Ok(text),
            Node::Number(_) => self.fault("a string, not a JSON number: send it as a string"),
            Node::Null | Node::Bool(_) | Node::List(_) | Node::Object(_) => self.fault("a string"),
        }
    }

    /// A string that `parse` takes.
    pub(super) fn parse<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Result<T, Noted> {
        self.check(parse(self.text()?))
    }

    /// The name of one of these values.
    pub(super) fn choice<T: Named>(&self, values: &[T]) -> Result<T, Noted> {
        let text = self.text()?;
        let found = values.iter().find(|value| value.as_str() == text);
        let names = values.iter().map(|value| format!("{:?}", value.as_str()));
        match found {
            Some(value) => Ok(*value),
            None => self.fault(format!("one of {}", names.collect::<Vec<_>>().join(", "))),
        }
    }

    /// A whole number from 0 to 2^64 - 1, without a fraction or an exponent.
    pub(super) fn integer(&self) -> Result<u64, Noted> {
        let number = match self.node {
            Node::Number(number) => number.as_u64(),
            Node::Null | Node::Bool(_) | Node::Text(_) | Node::List(_) | Node::Object(_) => None,
        };
        match number {
            Some(number) => Ok(number),
            None => self.fault("an integer, as a JSON number"),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Result<bool, Noted> {
        match self.node {
            Node::Bool(value) => Ok(*value),
            Node::Null | Node::Number(_) | Node::Text(_) | Node::List(_) | Node::Object(_) => {
                self.fault("true or false")
            }
        }
    }

    /// Reads each item of a list of at most `most`, on after a mistake.
    pub(super) fn each<T>(
        &self,
        most: usize,
        read: impl FnMut(&Self) -> Result<T, Noted>,
    ) -> Result<Vec<T>, Noted> {
        let read: Vec<Result<T, Noted>> = self.list(most)?.iter().map(read).collect();
        read.into_iter().collect()
    }

    fn list(&self, most: usize) -> Result<Vec<Self>, Noted> {
        let Node::List(items) = self.node else {
            return self.fault("a list");
        };
        if items.len() > most {
            return self.fault(format!("a list of at most {most}"));
        }
        let item = |(at, node): (usize, &'a Node)| Self {
            node,
            pointer: format!("{}/{at}", self.pointer),
            report: self.report,
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// The members of an object.
    pub(super) fn fields(&self) -> Result<Fields<'a>, Noted> {
        let Node::Object(members) = self.node else {
            return self.fault("an object");
        };
        Ok(Fields {
            members,
            seen: vec![Cell::new(false); members.len()],
            pointer: self.pointer.clone(),
            report: self.report,
        })
    }
}

impl<'a> Fields<'a> {
    /// A member, whatever it is.
    pub(super) fn presence(&self, name: &str) -> Presence<Item<'a>> {
        let found = self.members.iter().zip(&self.seen).find(|((member, _), _)| member == name);
        let Some(((_, node), seen)) = found else {
            return Presence::Absent;
        };
        seen.set(true);
        if *node == Node::Null {
            return Presence::Null;
        }
        Presence::Value(Item { node, pointer: self.pointer_of(name), report: self.report })
    }

    /// A member that must be there and not `null`.
    pub(super) fn required(&self, name: &str) -> Result<Item<'a>, Noted> {
        match self.presence(name) {
            Presence::Value(item) => Ok(item),
            Presence::Absent => self.fault(name, "this field, which is required"),
            Presence::Null => self.fault(name, "a value, not null"),
        }
    }

    /// A member that must be there and may be `null`.
    pub(super) fn nullable(&self, name: &str) -> Result<Option<Item<'a>>, Noted> {
        match self.presence(name) {
            Presence::Value(item) => Ok(Some(item)),
            Presence::Null => Ok(None),
            Presence::Absent => self.fault(name, "this field, which is required but may be null"),
        }
    }

    /// A member that may be absent or `null`: `None`.
    pub(super) fn optional(&self, name: &str) -> Option<Item<'a>> {
        match self.presence(name) {
            Presence::Value(item) => Some(item),
            Presence::Absent | Presence::Null => None,
        }
    }

    /// Reads a member that may be absent or `null`.
    pub(super) fn optionally<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Item<'a>) -> Result<T, Noted>,
    ) -> Result<Option<T>, Noted> {
        match self.optional(name) {
            Some(item) => read(&item).map(Some),
            None => Ok(None),
        }
    }

    /// Notes that a member is wrong.
    pub(super) fn fault<T>(&self, name: &str, expected: impl Into<String>) -> Result<T, Noted> {
        self.report.fault(self.pointer_of(name), expected);
        Err(Noted)
    }

    /// The pointer of a member, present or absent.
    pub(super) fn pointer_of(&self, name: &str) -> String {
        let mut pointer = self.pointer.clone();
        push_token(&mut pointer, name);
        pointer
    }

    /// Notes every unknown member.
    pub(super) fn finish(self) {
        for ((name, _), seen) in self.members.iter().zip(&self.seen) {
            if seen.get() {
                continue;
            }
            let expected = if is_password(name) {
                "no password: passwords stay in the portal"
            } else {
                "no unknown field"
            };
            self.report.fault(self.pointer_of(name), expected);
        }
    }
}

fn is_password(name: &str) -> bool {
    let name = name.to_lowercase();
    name == "pin" || PASSWORD_WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::json;

    fn read<T>(
        body: &str,
        read: impl FnOnce(&Fields<'_>) -> Result<T, Noted>,
    ) -> Result<T, Vec<Fault>> {
        let node = json::parse(body.as_bytes()).unwrap();
        let report = Report::default();
        let value = Item::root(&node, &report).fields().and_then(|fields| {
            let value = read(&fields);
            fields.finish();
            value
        });
        report.finish(value).map_err(|problem| problem.body.errors)
    }

    #[test]
    fn members_that_nobody_asked_for_are_refused_by_name() {
        let faults = read(r#"{"a": 1, "b/~": 2, "Passwort": "x"}"#, |fields| {
            fields.required("a")?.integer()
        });
        assert_eq!(
            faults,
            Err(vec![
                Fault::at("/b~1~0", "no unknown field"),
                Fault::at("/Passwort", "no password: passwords stay in the portal"),
            ])
        );
    }

    #[test]
    fn absent_null_and_present_are_three_things() {
        let body = r#"{"null": null, "value": "x"}"#;
        let all = |fields: &Fields<'_>| {
            fields.optional("null");
            fields.optional("value");
            Ok(())
        };
        assert_eq!(read(body, all), Ok(()));
        assert!(read(body, |fields| all(fields).and(fields.required("null")).map(|_| ())).is_err());
        assert!(read(body, |fields| all(fields).and(fields.nullable("null")).map(|_| ())).is_ok());
        assert!(read(body, |fields| all(fields).and(fields.nullable("gone")).map(|_| ())).is_err());
    }

    #[test]
    fn a_number_is_no_string_and_no_fraction_an_integer() {
        let number = read(r#"{"a": 42}"#, |fields| fields.required("a")?.text().map(str::to_owned));
        assert_eq!(
            number,
            Err(vec![Fault::at("/a", "a string, not a JSON number: send it as a string")])
        );
        for body in [r#"{"a": 1.0}"#, r#"{"a": -1}"#, r#"{"a": "1"}"#, r#"{"a": 1e3}"#] {
            assert!(read(body, |fields| fields.required("a")?.integer()).is_err(), "{body}");
        }
    }

    #[test]
    fn an_answer_lists_a_bounded_number_of_mistakes() {
        let members: Vec<String> = (0..500).map(|n| format!("\"m{n}\": 1")).collect();
        for (found, told) in [(50, "50 errors"), (51, "at least 50 errors")] {
            let body = format!("{{{}}}", members[..found].join(","));
            let node = json::parse(body.as_bytes()).unwrap();
            let report = Report::default();
            let read = Item::root(&node, &report).fields().map(Fields::finish);
            let problem = report.finish(read).unwrap_err();
            assert_eq!(problem.body.errors.len(), FAULTS);
            let told = format!("the request has {told}");
            assert_eq!(problem.body.detail, told);
        }
    }
}
