//! What is really asked and answered, held against the description in `src/http/openapi.yaml`.
//!
//! Each helper that asks one of the interfaces hands over the whole exchange. An answer must be described: its
//! path, method and status, its headers, its media type, and its body in every member and value. What was
//! asked must be described too if it was accepted, so that a client that keeps to the description is told of
//! everything that it may send.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use invoice_router::http::client::{Method, Response};
use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

/// The description as it is shipped.
pub(crate) const TEXT: &str = include_str!("../../src/http/openapi.yaml");

/// What any path and method may be answered, described or not, by the names among the components.
const GENERIC: [(u16, &str); 10] = [
    (400, "BadHeadOrPath"),
    (401, "TokenInvalid"),
    (403, "TokenForbidden"),
    (404, "NotFound"),
    (405, "MethodNotAllowed"),
    (408, "TimeOut"),
    (414, "UriTooLong"),
    (429, "TooManyConnections"),
    (431, "HeadTooLarge"),
    (500, "Internal"),
];

/// Headers that are not described, since HTTP itself does it.
const EVERYWHERE: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE];

/// Which of the two interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    Webhook,
    Admin,
}

impl Interface {
    /// As the description's tags have it.
    fn tag(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Admin => "admin",
        }
    }
}

/// A request as it was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) interface: Interface,
    pub(crate) method: &'a Method,
    /// With its query.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// Fails if the answer is not described, or the request is not although it was accepted.
#[track_caller]
pub(crate) fn check(asked: &Asked<'_>, answer: &Response) {
    let findings = findings(asked, answer);
    assert!(
        findings.is_empty(),
        "{} {} is not answered as src/http/openapi.yaml says: {answer:?}\n{}",
        asked.method,
        asked.path,
        findings.join("\n")
    );
}

/// What is not as it is described.
pub(crate) fn findings(asked: &Asked<'_>, answer: &Response) -> Vec<String> {
    let description = description();
    let method = match asked.method.as_str() {
        "HEAD" => "get".to_owned(),
        other => other.to_lowercase(),
    };
    let path = description.path(asked.interface, asked.path);
    let operation = path.as_ref().and_then(|(_, item)| item.get(&method));
    let status = answer.status.as_u16();
    let responses = match (&path, operation) {
        (_, Some(operation)) => description.response(operation, status).into_iter().collect(),
        // What is not described is not there: no path, or no such method.
        (Some(_), None) => description.generic(status, &[404]),
        (None, None) => description.generic(status, &[405]),
    };
    let mut findings = description.judge(&responses, answer, *asked.method == Method::HEAD);
    if let (Some((parameters, item)), Some(operation)) = (path, operation)
        && answer.status.is_success()
    {
        findings.extend(description.parameters(item, operation, &parameters, asked.path));
        findings.extend(description.accepted(operation, asked, answer));
    }
    findings
}

/// As [`check`], for the answers that came over a connection, to what may not even have been requests: they must be
/// what the interface answers to something.
#[track_caller]
pub(crate) fn check_raw(interface: Interface, mut answers: &[u8]) {
    let description = description();
    while !answers.is_empty() {
        let (answer, rest) = parse(answers);
        answers = rest;
        if is_the_parsers(&answer) {
            continue;
        }
        let status = answer.status.as_u16();
        let mut responses = description.generic(status, &[]);
        for (_, _, operation) in description.operations(interface) {
            responses.extend(description.response(operation, status));
        }
        let findings = description.judge(&responses, &answer, false);
        assert!(
            findings.is_empty(),
            "this is not answered to anything in src/http/openapi.yaml: {answer:?}\n{}",
            findings.join("\n")
        );
    }
}

/// What the parser of HTTP itself says to what it cannot read: nothing but that.
fn is_the_parsers(answer: &Response) -> bool {
    let Response { status, headers, body } = answer;
    let mut names = headers.keys();
    *status == StatusCode::BAD_REQUEST
        && body.is_empty()
        && names.all(|name| [CONNECTION, CONTENT_LENGTH, DATE].contains(name))
}

/// The first answer of those that came over the wire, and the others.
pub(crate) fn parse(answers: &[u8]) -> (Response, &[u8]) {
    let end =
        answers.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = std::str::from_utf8(&answers[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    }
    let length =
        headers.get(CONTENT_LENGTH).map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    let (body, rest) = answers[end + 4..].split_at(length);
    let answer = Response {
        status: status.unwrap().parse::<StatusCode>().unwrap(),
        headers,
        body: body.to_vec(),
    };
    (answer, rest)
}

/// The description, read once.
pub(crate) fn description() -> &'static Description {
    static READ: LazyLock<Description> = LazyLock::new(Description::read);
    &READ
}

pub(crate) struct Description {
    document: Value,
    /// Compiled schemas by their text.
    validators: Mutex<BTreeMap<String, Arc<Validator>>>,
}

impl Description {
    fn read() -> Self {
        Self { document: serde_saphyr::from_str(TEXT).unwrap(), validators: Mutex::default() }
    }

    /// Path, method and description of each operation of an interface.
    pub(crate) fn operations(
        &self,
        interface: Interface,
    ) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            let members = item.as_object().unwrap().iter();
            members.map(|(method, operation)| (path.as_str(), method.as_str(), operation))
        });
        operations.filter(move |(_, _, operation)| {
            let tags = operation["tags"].as_array();
            tags.is_some_and(|tags| tags.contains(&json!(interface.tag())))
        })
    }

    /// The whole of it.
    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// The path item that a concrete path fits, with what stands in place of its `{…}`.
    fn path<'p>(
        &self,
        interface: Interface,
        path: &'p str,
    ) -> Option<(Vec<(String, &'p str)>, &Value)> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let (template, _, _) = self.operations(interface).find(|(template, _, _)| {
            let fits = |(expected, found): (&str, &str)| {
                expected == found || expected.starts_with('{') && !found.is_empty()
            };
            template.split('/').count() == path.split('/').count()
                && template.split('/').zip(path.split('/')).all(fits)
        })?;
        let parameters = template
            .split('/')
            .zip(path.split('/'))
            .filter_map(|(expected, found)| {
                let name = expected.strip_prefix('{')?.strip_suffix('}')?;
                Some((name.to_owned(), found))
            })
            .collect();
        Some((parameters, &self.document["paths"][template]))
    }

    /// What a `$ref` outside of a schema stands for.
    pub(crate) fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.document.pointer(&reference[1..]).unwrap(),
            None => value,
        }
    }

    fn response<'a>(&'a self, operation: &'a Value, status: u16) -> Option<&'a Value> {
        let response = operation["responses"].get(status.to_string())?;
        Some(self.resolved(response))
    }

    fn generic(&self, status: u16, never: &[u16]) -> Vec<&Value> {
        GENERIC
            .iter()
            .filter(|(generic, _)| *generic == status && !never.contains(&status))
            .map(|(_, name)| &self.document["components"]["responses"][name])
            .collect()
    }

    /// What no response of these allows in an answer.
    fn judge(&self, responses: &[&Value], answer: &Response, is_head: bool) -> Vec<String> {
        let mut found = vec![format!("{} is not described", answer.status)];
        for response in responses {
            found = self.answered(response, answer, is_head);
            if found.is_empty() {
                break;
            }
        }
        found
    }

    fn answered(&self, response: &Value, answer: &Response, is_head: bool) -> Vec<String> {
        let Response { status: _, headers, body } = answer;
        let mut findings = Vec::new();
        for name in headers.keys().filter(|name| !EVERYWHERE.contains(name)) {
            let mut described = response["headers"].as_object().into_iter().flatten();
            if !described.any(|(other, _)| other.eq_ignore_ascii_case(name.as_str())) {
                findings.push(format!("the header {name} is not described"));
            }
        }
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = self.resolved(header);
            let values: Vec<_> = headers.get_all(name).iter().collect();
            if let [value] = values.as_slice() {
                let value = value.to_str().unwrap();
                findings.extend(self.text(&header["schema"], value, name));
            } else {
                findings.push(format!("{name} stands {} times", values.len()));
            }
        }
        let content_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap());
        let media = content_type.map(|name| (name, response["content"].get(name)));
        match media {
            Some((_, Some(_))) if is_head => {
                if !body.is_empty() {
                    findings.push("an answer to HEAD has no body".to_owned());
                }
            }
            Some(("application/yaml", Some(_))) => {
                if body != TEXT.as_bytes() {
                    findings.push("that is not the description".to_owned());
                }
            }
            Some((text, Some(_))) if text.starts_with("application/openmetrics-text") => {
                if !body.ends_with(b"# EOF\n") {
                    findings.push("that is no whole text of OpenMetrics".to_owned());
                }
            }
            Some(("application/x-ndjson", Some(media))) => {
                for line in lines(body) {
                    findings.extend(self.json(&media["x-line-schema"], line, "a line"));
                    findings.extend(consistent_line(line, answer));
                }
            }
            Some((_, Some(media))) => {
                findings.extend(self.json(&media["schema"], body, "the body"));
            }
            Some((other, None)) => findings.push(format!("{other} is not described")),
            None => {
                if !body.is_empty() || !response["content"].is_null() {
                    findings.push("there is no Content-Type".to_owned());
                }
            }
        }
        if content_type == Some("application/problem+json") && !is_head {
            findings.extend(consistent(answer));
        }
        findings
    }

    /// What is not described of the parameters of a request that was accepted.
    fn parameters(
        &self,
        item: &Value,
        operation: &Value,
        in_path: &[(String, &str)],
        path: &str,
    ) -> Vec<String> {
        let described: Vec<&Value> = [&item["parameters"], &operation["parameters"]]
            .into_iter()
            .filter_map(Value::as_array)
            .flatten()
            .map(|parameter| self.resolved(parameter))
            .collect();
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let in_query = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.replace('+', "%20")));
        let given = in_path
            .iter()
            .map(|(name, value)| ("path", (name.clone(), (*value).to_owned())))
            .chain(in_query.map(|pair| ("query", pair)));
        let mut findings = Vec::new();
        for (place, (name, value)) in given {
            let Some(value) = decoded(&value) else {
                findings.push(format!("{name}={value} cannot be decoded"));
                continue;
            };
            let is_it = |one: &&&Value| one["in"] == place && one["name"] == name.as_str();
            match described.iter().find(is_it) {
                Some(one) => findings.extend(self.text(&one["schema"], &value, &name)),
                None => findings.push(format!("the parameter {name} is not described")),
            }
        }
        findings
    }

    /// What is not described of a body that was accepted.
    fn accepted(&self, operation: &Value, asked: &Asked<'_>, answer: &Response) -> Vec<String> {
        let described = &operation["requestBody"];
        if described.is_null() || asked.body.is_empty() && described["required"] == false {
            return Vec::new();
        }
        let named = asked.headers.iter().find(|(name, _)| *name == "content-type");
        let named = named.map(|(_, value)| *value);
        let content = described["content"].as_object().unwrap();
        // Where it is not looked at there is one.
        let found = named
            .and_then(|name| content.get(name.split(';').next()?))
            .or_else(|| (content.len() == 1).then(|| content.values().next())?);
        match (named, found) {
            (Some("application/x-ndjson"), Some(media)) => {
                self.accepted_lines(&media["x-line-schema"], asked.body, &answer.body)
            }
            (_, Some(media)) if content.contains_key("application/octet-stream") => {
                let bytes = String::from_utf8_lossy(asked.body);
                self.text(&media["schema"], &bytes, "the document")
            }
            (_, Some(media)) => self.json(&media["schema"], asked.body, "what was accepted"),
            (_, None) => vec![format!("a body of {named:?} is not described")],
        }
    }

    /// As [`Self::accepted`], of a batch: each line has its answer, in order.
    fn accepted_lines(&self, schema: &Value, sent: &[u8], answered: &[u8]) -> Vec<String> {
        let sent: Vec<(usize, &[u8])> = (1..)
            .zip(sent.split(|b| *b == b'\n'))
            .filter(|(_, line)| !line.trim_ascii().is_empty())
            .collect();
        let told: Vec<Value> =
            lines(answered).map(|line| serde_json::from_slice(line).unwrap_or_default()).collect();
        let numbers: Vec<Value> = sent.iter().map(|(number, _)| json!(number)).collect();
        if !numbers.iter().eq(told.iter().map(|told| &told["line"])) {
            return vec![format!("not these lines were sent: {told:?}")];
        }
        let accepted = sent.iter().zip(told);
        accepted
            .filter(|(_, told)| told["status"] == 200)
            .flat_map(|((_, line), _)| self.json(schema, line, "an accepted line"))
            .collect()
    }

    /// What a schema says against a JSON text.
    pub(crate) fn json(&self, schema: &Value, text: &[u8], what: &str) -> Vec<String> {
        match serde_json::from_slice(text) {
            Ok(value) => self.value(schema, &value, what),
            Err(error) => vec![format!("{what} is no JSON: {error}")],
        }
    }

    /// What a schema says against the text of a header or a parameter.
    fn text(&self, schema: &Value, text: &str, what: &str) -> Vec<String> {
        let resolved = self.resolved(schema);
        let value = match (resolved["type"].as_str(), text.parse::<u64>(), text) {
            (Some("integer"), Ok(number), _) => json!(number),
            (Some("boolean"), _, "true") => json!(true),
            (Some("boolean"), _, "false") => json!(false),
            _ => json!(text),
        };
        self.value(schema, &value, what)
    }

    pub(crate) fn value(&self, schema: &Value, value: &Value, what: &str) -> Vec<String> {
        let validator = self.validator(schema);
        let errors = validator.iter_errors(value);
        errors.map(|error| format!("{what}, {}: {error}", error.instance_path())).collect()
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut whole = schema.clone();
            whole["components"] = self.document["components"].clone();
            let options = jsonschema::options().with_draft(Draft::Draft202012);
            Arc::new(options.build(&whole).unwrap())
        });
        Arc::clone(compiled)
    }
}

/// What a problem says twice must be the same.
fn consistent(answer: &Response) -> Vec<String> {
    let problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    consistent_problem(&problem, &json!(answer.status.as_u16()), answer)
}

/// As [`consistent`], of a line of a batch's answer.
fn consistent_line(line: &[u8], answer: &Response) -> Vec<String> {
    let line: Value = serde_json::from_slice(line).unwrap_or_default();
    let (status, body) = (&line["status"], &line["body"]);
    if body.get("code").is_some() {
        consistent_problem(body, status, answer)
    } else if *status == 200 {
        Vec::new()
    } else {
        vec![format!("a line of status {status} is no problem")]
    }
}

fn consistent_problem(problem: &Value, status: &Value, answer: &Response) -> Vec<String> {
    let code = problem["code"].as_str().unwrap_or_default();
    let id = answer.headers.get("x-request-id");
    let id = id.and_then(|value| value.to_str().ok());
    [
        ("status", status.clone()),
        ("type", json!(format!("urn:invoice-router:problem:{code}"))),
        ("request_id", json!(id)),
    ]
    .into_iter()
    .filter(|(name, expected)| problem[name] != *expected)
    .map(|(name, expected)| format!("the problem's {name} is not {expected}"))
    .collect()
}

fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

/// Percent-decoded, if it is encoded UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}
