//! Strict JSON: what `serde_json` takes silently is an error here.
//!
//! A key that occurs twice means two things to two readers, so it is refused; `serde_json` keeps the
//! last. Members stay in their order. Depth is bounded by `serde_json`'s 128 levels, size by the body's
//! limit, and the number of values by one of its own: a value of two bytes takes a hundred in memory.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::problem::{Code, Fault, Problem};

/// Most values of a body. The largest account has a tenth of them.
const VALUES: usize = 100_000;

/// A JSON value with its members as they came.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// The text under a top-level member, if that is what is there.
    pub(super) fn text_at(&self, name: &str) -> Option<&str> {
        let Self::Object(members) = self else {
            return None;
        };
        let (_, value) = members.iter().find(|(member, _)| member == name)?;
        if let Self::Text(text) = value { Some(text) } else { None }
    }
}

/// Reads a whole body.
pub(super) fn parse(body: &[u8]) -> Result<Node, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Problem::new(Code::NotUtf8, format!("byte {} is not UTF-8", error.valid_up_to()))
    })?;
    let left = Cell::new(Some(VALUES));
    let mut reader = serde_json::Deserializer::from_str(text);
    let node = Reader(&left).deserialize(&mut reader).and_then(|node| reader.end().map(|()| node));
    let node = node.map_err(|error| {
        if left.get().is_none() {
            let sentence = format!("the body may have at most {VALUES} values");
            return Problem::new(Code::TooLarge, sentence);
        }
        let place = format!("line {}, column {}", error.line(), error.column());
        Problem::new(Code::NotJson, format!("not JSON at {place}"))
    })?;
    let mut pointer = String::new();
    if let Some(twice) = duplicate(&node, &mut pointer) {
        let mut problem = Problem::new(Code::DuplicateKey, format!("duplicate key {twice}"));
        problem.body.errors.push(Fault::at(twice, "each key once"));
        return Err(problem);
    }
    Ok(node)
}

/// Adds a member's name to a pointer (RFC 6901, section 3).
pub(super) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// The pointer of the first key that occurs twice.
fn duplicate(node: &Node, pointer: &mut String) -> Option<String> {
    let length = pointer.len();
    match node {
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {}
        Node::List(items) => {
            for (at, item) in items.iter().enumerate() {
                push_token(pointer, &at.to_string());
                if let Some(found) = duplicate(item, pointer) {
                    return Some(found);
                }
                pointer.truncate(length);
            }
        }
        Node::Object(members) => {
            let mut seen = BTreeSet::new();
            for (name, value) in members {
                push_token(pointer, name);
                if !seen.insert(name) {
                    return Some(pointer.clone());
                }
                if let Some(found) = duplicate(value, pointer) {
                    return Some(found);
                }
                pointer.truncate(length);
            }
        }
    }
    None
}

/// Reads a value while there are some left; none are once there was one too many.
#[derive(Clone, Copy)]
struct Reader<'l>(&'l Cell<Option<usize>>);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let Self(left) = self;
        left.set(left.get().and_then(|left| left.checked_sub(1)));
        if left.get().is_none() {
            return Err(D::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        // JSON has no infinities, so the parser never hands one over.
        Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(name) = members.next_key()? {
            object.push((name, members.next_value_seed(self)?));
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &[u8]) -> Code {
        parse(body).unwrap_err().code
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_with_its_place() {
        let problem = parse(br#"{"a": [{"b/c": 1, "d": {}, "b/c": 1}]}"#).unwrap_err();
        assert_eq!(problem.code, Code::DuplicateKey);
        assert_eq!(
            problem.body.errors,
            [Fault::at("/a/0/b~1c", "each key once")],
            "the same value twice is no better"
        );
        assert_eq!(code(br#"{"a": 1, "\u0061": 2}"#), Code::DuplicateKey);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for body in [
            "",
            " ",
            "{",
            "{}x",
            "[1,]",
            "{\"a\":1,}",
            "NaN",
            "'a'",
            "\u{FEFF}{}",
            "\"\\ud800\"",
            "1e999",
            "{a:1}",
            "// x\n{}",
        ] {
            assert_eq!(code(body.as_bytes()), Code::NotJson, "{body:?}");
        }
        assert_eq!(code(&[b'[', b'"', 0xFF, b'"', b']']), Code::NotUtf8);
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(parse(list(VALUES).as_bytes()).is_ok());
        assert_eq!(code(list(VALUES + 1).as_bytes()), Code::TooLarge);
        let nested = format!("[{}0]", "[[]],".repeat(VALUES));
        assert_eq!(code(nested.as_bytes()), Code::TooLarge);
        let member = |at| format!("\"m{at}\":{{}},");
        let members: String = (0..VALUES).map(member).collect();
        assert_eq!(code(format!("{{{members}\"m\":0}}").as_bytes()), Code::TooLarge);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(200_000);
        assert_eq!(code(deep.as_bytes()), Code::NotJson);
    }
}
