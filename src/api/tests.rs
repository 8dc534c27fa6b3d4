//! The types against `src/http/openapi.yaml`: the same members, required or not, of the same types and with the same names.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::*;

/// Each type with the schemas that describe it, as pointers into the description. Several are its cases.
fn table() -> Vec<(Value, Vec<String>)> {
    let named = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("/components/schemas/{name}")).collect()
    };
    let inline = |path: &str| {
        let path = path.replace('/', "~1");
        vec![format!("/paths/{path}/get/responses/200/content/application~1json/schema")]
    };
    vec![
        (schema::<AccountAnswer>(), named(&["AccountAnswer"])),
        (schema::<InvoiceAnswer>(), named(&["InvoiceAnswer", "ParkedAnswer"])),
        (schema::<WithdrawalAnswer>(), named(&["WithdrawalAnswer", "WithdrawalRecorded"])),
        (schema::<DocumentAnswer>(), named(&["DocumentAnswer"])),
        (schema::<LineAnswer>(), named(&["LineAnswer", "ImportedLineAnswer"])),
        (schema::<Problem>(), named(&["Problem"])),
        (schema::<Account>(), named(&["Account"])),
        (schema::<AccountVersion>(), named(&["AccountVersion"])),
        (schema::<AccountPage<AccountOrVersion>>(), named(&["AccountPage"])),
        (schema::<AccountRecipient>(), inline("/v1/accounts/{account}/recipient")),
        (schema::<WholeInvoice>(), named(&["WholeInvoice"])),
        (schema::<RemovedInvoice>(), named(&["RemovedInvoice"])),
        (schema::<InvoicePage>(), inline("/v1/invoices")),
        (schema::<OperationAnswer>(), named(&["OperationAnswer"])),
        (schema::<Dispatched>(), named(&["Dispatched"])),
        (schema::<DryRun>(), named(&["DryRun"])),
        (schema::<PauseAnswer>(), named(&["PausedAnswer"])),
        (schema::<ResumeAnswer>(), named(&["ResumedAnswer"])),
        (schema::<AuditPage>(), inline("/v1/audit")),
        (schema::<Liveness>(), inline("/livez")),
        (schema::<Readiness>(), named(&["Readiness"])),
    ]
}

/// What a page of accounts holds.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is of use")]
enum AccountOrVersion {
    Account(Box<Account>),
    Version(AccountVersion),
}

impl<T: Named> JsonSchema for Name<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        std::any::type_name::<T>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = T::ALL.iter().map(|value| value.as_str()).collect();
        json_schema!({"type": "string", "enum": names})
    }
}

fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn description() -> Value {
    serde_saphyr::from_str(include_str!("../http/openapi.yaml")).unwrap()
}

/// What a schema says that a type says, too.
#[derive(Debug, Default, Clone)]
struct Shape {
    /// Empty if it says nothing of them.
    types: BTreeSet<String>,
    /// Those that a text may be.
    names: Option<BTreeSet<String>>,
    format: Option<String>,
    members: BTreeMap<String, Shape>,
    required: BTreeSet<String>,
    items: Option<Box<Shape>>,
}

impl Shape {
    fn of(document: &Value, schema: &Value) -> Self {
        let texts = |value: &Value| -> BTreeSet<String> {
            let one = value.as_str().map(str::to_owned);
            let many = value.as_array().into_iter().flatten();
            one.into_iter().chain(many.filter_map(Value::as_str).map(str::to_owned)).collect()
        };
        let list = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
        let mut values = list("enum");
        values.extend(schema.get("const").cloned());
        let mut types = texts(&schema["type"]);
        types.extend(values.iter().map(|value| type_of(value).to_owned()));
        let names = texts(&Value::Array(values));
        let required = texts(&schema["required"]);
        let member = |(name, schema): (&String, &Value)| {
            let mut shape = Self::of(document, schema);
            if !required.contains(name) {
                // It is left out instead.
                shape.types.remove("null");
            }
            (name.clone(), shape)
        };
        let members = schema["properties"].as_object().into_iter().flatten();
        let mut shape = Self {
            types,
            names: (!names.is_empty()).then_some(names),
            format: schema["format"]
                .as_str()
                .filter(|format| format.starts_with("date"))
                .map(str::to_owned),
            members: members.map(member).collect(),
            required,
            items: schema
                .get("items")
                .filter(|_| schema["maxItems"] != 0)
                .map(|items| Box::new(Self::of(document, items))),
        };
        if let Some(reference) = schema["$ref"].as_str() {
            let referred = document.pointer(&reference[1..]).unwrap();
            shape = shape.and(Self::of(document, referred));
        }
        for one in list("allOf") {
            shape = shape.and(Self::of(document, &one));
        }
        for cases in [list("oneOf"), list("anyOf")] {
            let cases = cases.iter().map(|case| Self::of(document, case)).reduce(Self::or);
            shape = shape.and(cases.unwrap_or_default());
        }
        shape
    }

    /// Of what both hold for.
    fn and(self, other: Self) -> Self {
        fn common(one: &BTreeSet<String>, other: &BTreeSet<String>) -> BTreeSet<String> {
            if one.is_empty() || other.is_empty() { one | other } else { one & other }
        }
        let names = match (self.names, other.names) {
            (Some(one), Some(other)) => Some(&one & &other),
            (one, other) => one.or(other),
        };
        let items = match (self.items, other.items) {
            (Some(one), Some(other)) => Some(Box::new(one.and(*other))),
            (one, other) => one.or(other),
        };
        Self {
            types: common(&self.types, &other.types),
            names,
            format: self.format.or(other.format),
            members: merged(self.members, other.members, Self::and),
            required: &self.required | &other.required,
            items,
        }
    }

    /// Of what one of them holds for.
    fn or(self, other: Self) -> Self {
        fn one_of<T>(
            (one, is_one): (T, bool),
            (other, is_other): (T, bool),
            merge: impl FnOnce(T, T) -> T,
        ) -> T {
            match (is_one, is_other) {
                (true, true) => merge(one, other),
                (false, _) => other,
                (true, false) => one,
            }
        }
        let is = |name: &str| (self.types.contains(name), other.types.contains(name));
        let (text, object, array) = (is("string"), is("object"), is("array"));
        Self {
            names: one_of((self.names, text.0), (other.names, text.1), |one, other| {
                one.zip(other).map(|(one, other)| &one | &other)
            }),
            format: one_of((self.format, text.0), (other.format, text.1), Option::or),
            members: merged(self.members, other.members, Self::or),
            required: one_of(
                (self.required, object.0),
                (other.required, object.1),
                |one, other| &one & &other,
            ),
            items: one_of((self.items, array.0), (other.items, array.1), |one, other| {
                one.zip(other).map(|(one, other)| Box::new(one.or(*other)))
            }),
            types: &self.types | &other.types,
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn merged(
    mut all: BTreeMap<String, Shape>,
    others: BTreeMap<String, Shape>,
    merge: impl Fn(Shape, Shape) -> Shape,
) -> BTreeMap<String, Shape> {
    for (name, other) in others {
        let shape = match all.remove(&name) {
            Some(shape) => merge(shape, other),
            None => other,
        };
        all.insert(name, shape);
    }
    all
}

/// Where types and description differ.
#[derive(Default)]
struct Comparison {
    findings: Vec<String>,
    /// Of all names that a member may have, those that are described somewhere.
    described: BTreeMap<BTreeSet<String>, BTreeSet<String>>,
}

impl Comparison {
    fn compare(&mut self, place: &str, typed: &Shape, described: &Shape) {
        let mut differ = |what: &str, typed: String, described: String| {
            if typed != described {
                let sentence = format!("{place}: {what} {typed}, described {described}");
                self.findings.push(sentence);
            }
        };
        differ("types", format!("{:?}", typed.types), format!("{:?}", described.types));
        differ("format", format!("{:?}", typed.format), format!("{:?}", described.format));
        differ("required", format!("{:?}", typed.required), format!("{:?}", described.required));
        let members = |shape: &Shape| format!("{:?}", shape.members.keys().collect::<Vec<_>>());
        differ("members", members(typed), members(described));
        let has_items = |shape: &Shape| shape.items.is_some().to_string();
        differ("items", has_items(typed), has_items(described));
        match (&typed.names, &described.names) {
            (Some(typed), Some(described)) => {
                if !described.is_subset(typed) {
                    differ("names", format!("{typed:?}"), format!("{described:?}"));
                }
                self.described.entry(typed.clone()).or_default().extend(described.iter().cloned());
            }
            // Which members an invoice has, the type of this one does not know.
            (None, Some(_)) if place.ends_with("/differs/items") => {}
            (typed, described) => differ("names", format!("{typed:?}"), format!("{described:?}")),
        }
        for (name, shape) in &typed.members {
            if let Some(described) = described.members.get(name) {
                self.compare(&format!("{place}/{name}"), shape, described);
            }
        }
        if let (Some(typed), Some(described)) = (&typed.items, &described.items) {
            self.compare(&format!("{place}/items"), typed, described);
        }
    }
}

#[test]
fn the_description_has_the_members_of_the_types_and_no_others() {
    let description = description();
    let mut comparison = Comparison::default();
    for (schema, pointers) in table() {
        let cases = pointers
            .iter()
            .map(|pointer| Shape::of(&description, description.pointer(pointer).expect(pointer)));
        let described = cases.reduce(Shape::or).unwrap();
        let name = schema["title"].as_str().unwrap();
        comparison.compare(name, &Shape::of(&schema, &schema), &described);
    }
    let Comparison { mut findings, described } = comparison;
    for (names, described) in described {
        if names != described {
            findings.push(format!("names {names:?}, described {described:?}"));
        }
    }
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Whatever is a success and JSON.
#[test]
fn every_described_answer_has_a_type() {
    fn schemas(schema: &Value, pointer: String) -> Vec<String> {
        if let Some(reference) = schema["$ref"].as_str() {
            return vec![reference[1..].to_owned()];
        }
        for cases in ["oneOf", "allOf"] {
            if let Some(cases) = schema[cases].as_array() {
                let named = cases.iter().filter(|case| case.get("$ref").is_some());
                return named.flat_map(|case| schemas(case, String::new())).collect();
            }
        }
        vec![pointer]
    }
    let known: Vec<String> = table().into_iter().flat_map(|(_, pointers)| pointers).collect();
    let description = description();
    let mut count = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().into_iter().flatten();
            for (status, response) in responses.filter(|(status, _)| status.starts_with('2')) {
                let place =
                    format!("/paths/{}/{method}/responses/{status}", path.replace('/', "~1"));
                let place = format!("{place}/content/application~1json/schema");
                let content = &response["content"];
                let lines = content["application/x-ndjson"].get("x-line-schema");
                let json = content["application/json"].get("schema");
                for schema in json.into_iter().chain(lines) {
                    for pointer in schemas(schema, place.clone()) {
                        assert!(known.contains(&pointer), "{method} {path} {status}: {pointer}");
                        count += 1;
                    }
                }
            }
        }
    }
    assert!(count > 20, "{count} were found");
}

#[test]
fn a_newer_daemon_is_understood() {
    let answer = json!({"status": "tired", "new": [{}]});
    let Liveness { status } = serde_json::from_value(answer).unwrap();
    assert_eq!((status.known(), status.as_str()), (None, "tired"));
    assert_eq!(serde_json::to_value(status).unwrap(), "tired");
}

#[test]
fn what_is_left_of_an_invoice_is_told_from_a_whole_one() {
    let removed = json!({"account": "K-1001", "number": "RE-1", "state": "withdrawn", "recipient": null,
        "next_attempt_at": null, "held_reason": null, "held_by": null, "paused": null, "addresses": [],
        "story": [], "tombstone_since": "2026-11-23T08:00:00Z"});
    let view: InvoiceView = serde_json::from_value(removed.clone()).unwrap();
    assert!(matches!(view, InvoiceView::Removed(_)));
    assert_eq!(serde_json::to_value(view).unwrap(), removed);
}
