//! Every resource of both interfaces, in one table.
//!
//! A path is split before it is percent-decoded: an invoice's number may hold a slash.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use hyper::Method;

use super::interface::Interface;
use super::problem::{Code, Problem};
use super::request::{Params, Query, Reply, RequestContext, decode};
use super::{admin, documents, events, head};
use crate::config::Right;
use crate::domain::address::masked;

/// Longest path with its query, in bytes.
const TARGET_BYTES: usize = 4096;

/// What both interfaces take and answer (`OpenAPI` 3.1), and where they serve it.
const DESCRIPTION: &str = include_str!("openapi.yaml");
const DESCRIPTION_PATH: &str = "/openapi.yaml";
/// Its media type (RFC 9512, section 2.1).
const YAML: &str = "application/yaml";

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Events,
    Document,
    Accounts,
    Account,
    Recipient,
    Invoice,
    Hold,
    Release,
    Resend,
    Withdraw,
    Invoices,
    Import,
    Dispatch,
    Audit,
    Pause,
    Resume,
    Live,
    Ready,
    Metrics,
    Description,
}

impl Endpoint {
    /// The parameters that its query may have. Others are refused, so that a misspelt one is not silently ignored.
    /// `None` where the query is ignored: callers of the webhook and probes may add one for their own reasons.
    fn parameters(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Accounts => Some(&["view", "cursor", "limit"]),
            Self::Invoices => Some(&[
                "state",
                "account",
                "number",
                "issued_from",
                "issued_to",
                "changed_since",
                "cursor",
                "limit",
            ]),
            Self::Audit => Some(&["cursor", "limit", "order"]),
            Self::Import => Some(&["accept_versions", "reason"]),
            Self::Account
            | Self::Recipient
            | Self::Invoice
            | Self::Hold
            | Self::Release
            | Self::Resend
            | Self::Withdraw
            | Self::Dispatch
            | Self::Pause
            | Self::Resume => Some(&[]),
            Self::Events
            | Self::Document
            | Self::Live
            | Self::Ready
            | Self::Metrics
            | Self::Description => None,
        }
    }
}

const TABLE: &[(Interface, Method, &str, Endpoint)] = {
    use Endpoint as E;
    use Interface::{Admin, Webhook};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    &[
        (Webhook, POST, "/v1/events", E::Events),
        (Webhook, Method::PUT, "/v1/documents/{sha256}", E::Document),
        (Admin, GET, "/v1/accounts", E::Accounts),
        (Admin, GET, "/v1/accounts/{account}", E::Account),
        (Admin, GET, "/v1/accounts/{account}/recipient", E::Recipient),
        (Admin, GET, "/v1/accounts/{account}/invoices/{number}", E::Invoice),
        (Admin, POST, "/v1/accounts/{account}/invoices/{number}/hold", E::Hold),
        (Admin, POST, "/v1/accounts/{account}/invoices/{number}/release", E::Release),
        (Admin, POST, "/v1/accounts/{account}/invoices/{number}/resend", E::Resend),
        (Admin, POST, "/v1/accounts/{account}/invoices/{number}/withdraw", E::Withdraw),
        (Admin, GET, "/v1/invoices", E::Invoices),
        (Admin, POST, "/v1/import", E::Import),
        (Admin, POST, "/v1/dispatch", E::Dispatch),
        (Admin, GET, "/v1/audit", E::Audit),
        (Admin, POST, "/v1/pause", E::Pause),
        (Admin, POST, "/v1/resume", E::Resume),
        (Admin, GET, "/livez", E::Live),
        (Admin, GET, "/readyz", E::Ready),
        (Admin, GET, "/metrics", E::Metrics),
        (Webhook, GET, DESCRIPTION_PATH, E::Description),
        (Admin, GET, DESCRIPTION_PATH, E::Description),
    ]
};

/// The resources of one interface, by path.
struct Routes(matchit::Router<Resource>);

static WEBHOOK: LazyLock<Routes> = LazyLock::new(|| Routes::build(Interface::Webhook));
static ADMIN: LazyLock<Routes> = LazyLock::new(|| Routes::build(Interface::Admin));

/// What a path of the table stands for.
struct Resource {
    /// The path with its `{…}`.
    pattern: &'static str,
    methods: Vec<(Method, Endpoint)>,
}

impl Routes {
    fn of(interface: Interface) -> &'static Self {
        match interface {
            Interface::Webhook => &WEBHOOK,
            Interface::Admin => &ADMIN,
        }
    }

    /// The table's part for one interface.
    #[expect(clippy::expect_used, reason = "the table is constant, and a test builds it")]
    fn build(interface: Interface) -> Self {
        let mut paths: BTreeMap<&'static str, Vec<(Method, Endpoint)>> = BTreeMap::new();
        for (of, method, path, endpoint) in TABLE {
            if *of == interface {
                let methods = paths.entry(path).or_default();
                methods.push((method.clone(), *endpoint));
            }
        }
        let mut router = matchit::Router::new();
        for (pattern, methods) in paths {
            router
                .insert(pattern, Resource { pattern, methods })
                .expect("the paths of the table do not clash");
        }
        Self(router)
    }

    fn find(&self, path: &str) -> Result<(&Resource, Params), Problem> {
        let matched = self.0.at(path).map_err(|_| Problem::not_found())?;
        Ok((matched.value, Params::new(matched.params.iter())))
    }
}

impl Resource {
    fn endpoint(&self, method: &Method) -> Result<Endpoint, Problem> {
        let Self { methods, .. } = self;
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        let Some((_, endpoint)) = methods.iter().find(|(method, _)| method == wanted) else {
            let mut names: Vec<&str> = methods.iter().map(|(method, _)| method.as_str()).collect();
            if names.contains(&"GET") {
                names.push("HEAD");
            }
            let mut problem = Problem::new(
                Code::MethodNotAllowed,
                format!("this resource has {}", names.join(", ")),
            );
            problem.allow = Some(names.join(", "));
            return Err(problem);
        };
        Ok(*endpoint)
    }
}

/// Whether it is asked by machines every few seconds.
pub(super) fn is_probe(path: &str) -> bool {
    ["/livez", "/readyz", "/metrics"].contains(&path)
}

/// A path that is not in the table, for the log: it may contain an address.
fn stray(path: &str) -> Option<String> {
    let segments = path.split('/').map(|segment| {
        // What was encoded twice may hide an address still.
        decode(segment, false).filter(|segment| !segment.contains('%'))
    });
    let segments: Option<Vec<String>> = segments.collect();
    let hidden: Vec<_> = segments?.iter().map(|segment| masked(segment).into_owned()).collect();
    Some(hidden.join("/"))
}

/// Answers a request.
pub(super) async fn handle(request: &mut RequestContext) -> Result<Reply, Problem> {
    head::check(request.version, &request.headers)?;
    let target = request.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES {
        return Err(Problem::new(
            Code::UriTooLong,
            format!("the path and its query may have at most {TARGET_BYTES} bytes"),
        ));
    }
    let found = Routes::of(request.service.interface).find(request.uri.path());
    request.log_fields.path = match &found {
        Ok((resource, _)) => Some(Cow::Borrowed(resource.pattern)),
        Err(_) => stray(request.uri.path()).map(Cow::Owned),
    };
    let actor = match request.service.interface {
        Interface::Webhook => String::new(),
        Interface::Admin => {
            let needed = match &request.method {
                &Method::GET | &Method::HEAD => Right::Read,
                _ => Right::Operate,
            };
            let actor = admin::authorize(request, needed)?;
            request.log_fields.actor = Some(actor.clone());
            request.is_verified = true;
            actor
        }
    };
    let (resource, params) = found?;
    let endpoint = resource.endpoint(&request.method)?;
    let query = match endpoint.parameters() {
        Some(known) => Query::parse(request.uri.query(), known)?,
        None => Query::default(),
    };
    match endpoint {
        Endpoint::Events => events::receive(request).await,
        Endpoint::Document => documents::receive(request, &params).await,
        Endpoint::Accounts => admin::accounts::list(request, &query).await,
        Endpoint::Account => admin::accounts::one(request, &params).await,
        Endpoint::Recipient => admin::accounts::recipient(request, &params).await,
        Endpoint::Invoice => admin::invoices::one(request, &params).await,
        Endpoint::Invoices => admin::invoices::list(request, &query).await,
        Endpoint::Hold => admin::invoices::hold(request, &params, actor).await,
        Endpoint::Release => admin::invoices::release(request, &params, actor).await,
        Endpoint::Resend => admin::invoices::resend(request, &params, actor).await,
        Endpoint::Withdraw => admin::invoices::withdraw(request, &params, actor).await,
        Endpoint::Import => admin::import::take(request, &query, actor).await,
        Endpoint::Audit => admin::audit::list(request, &query).await,
        Endpoint::Dispatch => admin::dispatch::run(request, actor).await,
        Endpoint::Pause => admin::pause(request, actor).await,
        Endpoint::Resume => admin::resume(request, actor).await,
        Endpoint::Live => admin::live(),
        Endpoint::Ready => admin::ready(request).await,
        Endpoint::Metrics => admin::metrics(request).await,
        Endpoint::Description => Ok(Reply::text(YAML, DESCRIPTION)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn description() -> Value {
        serde_saphyr::from_str(DESCRIPTION).unwrap()
    }

    fn resolved<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => description.pointer(&reference[1..]).unwrap(),
            None => value,
        }
    }

    /// Each operation with the tags that say at which interface, its method and its path.
    fn operations(description: &Value) -> impl Iterator<Item = (&Value, &str, &str)> {
        let paths = description["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, item)| {
            let members = item.as_object().unwrap().iter();
            members
                .filter(|(_, operation)| operation["tags"].is_array())
                .map(|(method, operation)| (operation, method.as_str(), path.as_str()))
        })
    }

    #[test]
    fn the_description_has_the_routes_of_the_table_and_no_others() {
        let description = description();
        let described: BTreeSet<(&str, String, &str)> = operations(&description)
            .flat_map(|(operation, method, path)| {
                let tags = operation["tags"].as_array().unwrap().iter();
                tags.map(move |tag| (tag.as_str().unwrap(), method.to_uppercase(), path))
            })
            .collect();
        let table = TABLE
            .iter()
            .map(|(interface, method, path, _)| (interface.as_str(), method.to_string(), *path));
        assert_eq!(described, table.collect());
    }

    #[test]
    fn the_description_has_the_parameters_of_every_query_and_no_others() {
        let description = description();
        let mut described = BTreeMap::new();
        for (operation, method, path) in operations(&description) {
            let names: BTreeSet<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|parameter| resolved(&description, parameter))
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            described.insert((method.to_uppercase(), path), names);
        }
        for (_, method, path, endpoint) in TABLE {
            let known = endpoint.parameters().unwrap_or_default();
            let described = &described[&(method.to_string(), *path)];
            let known: BTreeSet<&str> = known.iter().copied().collect();
            assert_eq!(*described, known, "{method} {path}");
        }
    }

    #[test]
    fn the_description_has_every_code_with_its_status_and_no_others() {
        let description = description();
        let schema = &description["components"]["schemas"]["ProblemCode"];
        let words = schema["description"].as_str().unwrap();
        let named: BTreeSet<&str> =
            schema["enum"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
        let codes = Code::ALL.iter().map(|code| code.as_str());
        assert_eq!(named, codes.collect());
        for code in &named {
            assert!(words.contains(&format!("`{code}`")), "{code} is not explained");
        }

        let components = description["components"]["responses"].as_object().unwrap();
        // Which paths and methods are not there is told by no operation.
        let mut answered = BTreeSet::from(["method_not_allowed"]);
        assert!(components.contains_key("MethodNotAllowed"));
        for (operation, method, path) in operations(&description) {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let response = resolved(&description, response);
                let problem = &response["content"]["application/problem+json"]["schema"];
                let narrowed = &problem["allOf"][1]["properties"]["code"]["enum"];
                for code in narrowed.as_array().into_iter().flatten() {
                    let code = code.as_str().unwrap();
                    answered.insert(code);
                    let known = Code::ALL.iter().find(|known| known.as_str() == code);
                    let known = known.unwrap();
                    let place = format!("{code} at {method} {path}");
                    assert_eq!(known.status().as_str(), status, "{place}");
                    let header = |name| response["headers"].get(name).is_some();
                    assert_eq!(
                        known.retry_after_seconds().is_some(),
                        header("Retry-After"),
                        "{place}"
                    );
                    assert_eq!(known.challenge().is_some(), header("WWW-Authenticate"), "{place}");
                }
            }
        }
        assert_eq!(answered, named);
    }

    #[test]
    fn the_description_says_of_each_code_whether_a_retry_can_help() {
        let description = description();
        let schema = &description["components"]["schemas"]["ProblemCode"];
        let words = schema["description"].as_str().unwrap();
        let mut retryable = BTreeSet::new();
        let (mut all_are, mut named) = (false, Vec::new());
        for line in words.lines() {
            // A paragraph begins with its statuses, a code or several with a dash.
            if let Some((codes, _)) = line.strip_prefix("- ").and_then(|it| it.split_once(':')) {
                named = codes.split('`').skip(1).step_by(2).collect();
            } else if line.starts_with(|c: char| c.is_ascii_digit()) {
                all_are = line.contains("*retryable*");
                named = Vec::new();
            }
            if all_are || line.contains("*retryable*") {
                retryable.extend(named.iter().copied());
            }
        }
        let codes = Code::ALL.iter().filter(|code| code.retryable());
        assert_eq!(retryable, codes.map(|code| code.as_str()).collect());
    }

    #[test]
    fn the_description_has_the_statuses_that_a_line_of_a_batch_can_have() {
        let description = description();
        let schemas = &description["components"]["schemas"];
        let described = schemas["LineStatus"]["enum"].as_array().unwrap().iter();
        let described: BTreeSet<u64> = described.filter_map(Value::as_u64).collect();
        for answer in ["LineAnswer", "ImportedLineAnswer"] {
            let problem = &schemas[answer]["properties"]["body"]["oneOf"][1];
            let codes = problem["allOf"][1]["properties"]["code"]["enum"].as_array().unwrap();
            let mut statuses = BTreeSet::from([200]);
            for code in codes {
                let known = Code::ALL.iter().find(|known| code == known.as_str());
                statuses.insert(u64::from(known.unwrap().status().as_u16()));
            }
            assert_eq!(statuses, described, "{answer}");
        }
    }

    #[test]
    fn a_path_is_split_before_it_is_decoded() {
        let routes = Routes::of(Interface::Admin);
        let path = "/v1/accounts/K%201/invoices/RE-2026%2F0042/hold";
        let (resource, params) = routes.find(path).unwrap();
        assert_eq!(resource.endpoint(&Method::POST).unwrap(), Endpoint::Hold);
        assert_eq!(params.decoded("account").unwrap(), "K 1");
        assert_eq!(params.decoded("number").unwrap(), "RE-2026/0042");
    }

    #[test]
    fn the_interfaces_share_no_resource() {
        let webhook = Routes::of(Interface::Webhook);
        let problem = webhook.find("/v1/accounts").err().unwrap();
        assert_eq!(problem.code, Code::NotFound);
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let routes = Routes::of(Interface::Admin);
        let (resource, _) = routes.find("/v1/accounts/a").unwrap();
        let problem = resource.endpoint(&Method::DELETE).unwrap_err();
        assert_eq!(problem.code, Code::MethodNotAllowed);
        assert_eq!(problem.allow.as_deref(), Some("GET, HEAD"));
        assert!(resource.endpoint(&Method::HEAD).is_ok());
    }

    #[test]
    fn a_path_that_is_not_known_is_shown_without_an_address_or_not_at_all() {
        let shown = |path: &str| stray(path);
        assert_eq!(shown("/v1/event").as_deref(), Some("/v1/event"));
        assert_eq!(
            shown("/v1/account/erika%40muster.example").as_deref(),
            Some("/v1/account/e***@muster.example")
        );
        assert_eq!(shown("/v1/account/erika%2540muster.example"), None);
        assert_eq!(shown("/%FF"), None);
    }
}
