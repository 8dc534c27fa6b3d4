//! Every resource of both interfaces, in one table.
//!
//! A path is split before it is percent-decoded: an invoice's number may hold a slash.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::Pin;
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
/// Its media type (RFC 9512, section 2.1).
const YAML: &str = "application/yaml";

/// Answers a request whose path, query and caller are known.
type Handler = for<'r> fn(
    &'r mut RequestContext,
) -> Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send + 'r>>;

/// The parameters that a query may have. Others are refused, so that a misspelt one is not silently ignored.
type Parameters = Option<&'static [&'static str]>;
/// The query is ignored: callers of the webhook and probes may add one for their own reasons.
const IGNORED: Parameters = None;
const NONE: Parameters = Some(&[]);
const PAGES: Parameters = Some(&["view", "cursor", "limit"]);
const FILTERS: Parameters = Some(&[
    "state",
    "account",
    "number",
    "issued_from",
    "issued_to",
    "changed_since",
    "cursor",
    "limit",
]);
const AUDIT: Parameters = Some(&["cursor", "limit", "order"]);
const IMPORT: Parameters = Some(&["accept_versions", "reason"]);

struct Route {
    interface: Interface,
    method: Method,
    path: &'static str,
    parameters: Parameters,
    handler: Handler,
}

macro_rules! routes {
    ($($interface:ident $method:ident $path:literal $parameters:ident $($handler:ident)::+;)*) => {
        &[$(Route {
            interface: Interface::$interface,
            method: Method::$method,
            path: $path,
            parameters: $parameters,
            handler: |request| Box::pin($($handler)::+(request)),
        }),*]
    };
}

const TABLE: &[Route] = routes! {
    Webhook POST "/v1/events" IGNORED events::receive;
    Webhook PUT "/v1/documents/{sha256}" IGNORED documents::receive;
    Admin GET "/v1/accounts" PAGES admin::accounts::list;
    Admin GET "/v1/accounts/{account}" NONE admin::accounts::one;
    Admin GET "/v1/accounts/{account}/recipient" NONE admin::accounts::recipient;
    Admin GET "/v1/accounts/{account}/invoices/{number}" NONE admin::invoices::one;
    Admin POST "/v1/accounts/{account}/invoices/{number}/hold" NONE admin::invoices::hold;
    Admin POST "/v1/accounts/{account}/invoices/{number}/release" NONE admin::invoices::release;
    Admin POST "/v1/accounts/{account}/invoices/{number}/resend" NONE admin::invoices::resend;
    Admin POST "/v1/accounts/{account}/invoices/{number}/withdraw" NONE admin::invoices::withdraw;
    Admin GET "/v1/invoices" FILTERS admin::invoices::list;
    Admin POST "/v1/import" IMPORT admin::import::take;
    Admin POST "/v1/dispatch" NONE admin::dispatch::run;
    Admin GET "/v1/audit" AUDIT admin::audit::list;
    Admin POST "/v1/pause" NONE admin::pause;
    Admin POST "/v1/resume" NONE admin::resume;
    Admin GET "/livez" IGNORED admin::live;
    Admin GET "/readyz" IGNORED admin::ready;
    Admin GET "/metrics" IGNORED admin::metrics;
    Webhook GET "/openapi.yaml" IGNORED description;
    Admin GET "/openapi.yaml" IGNORED description;
};

#[expect(clippy::unused_async, reason = "a handler")]
async fn description(_: &RequestContext) -> Result<Reply, Problem> {
    Ok(Reply::text(YAML, DESCRIPTION))
}

/// The resources of one interface, by path.
struct Routes(matchit::Router<Resource>);

static WEBHOOK: LazyLock<Routes> = LazyLock::new(|| Routes::build(Interface::Webhook));
static ADMIN: LazyLock<Routes> = LazyLock::new(|| Routes::build(Interface::Admin));

/// The routes of one path.
struct Resource {
    /// The path with its `{…}`.
    pattern: &'static str,
    routes: Vec<&'static Route>,
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
        let mut paths: BTreeMap<&'static str, Vec<&'static Route>> = BTreeMap::new();
        for route in TABLE.iter().filter(|route| route.interface == interface) {
            paths.entry(route.path).or_default().push(route);
        }
        let mut router = matchit::Router::new();
        for (pattern, routes) in paths {
            router
                .insert(pattern, Resource { pattern, routes })
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
    fn route(&self, method: &Method) -> Result<&'static Route, Problem> {
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        if let Some(route) = self.routes.iter().find(|route| route.method == *wanted) {
            return Ok(*route);
        }
        let mut names: Vec<&str> = self.routes.iter().map(|route| route.method.as_str()).collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        let names = names.join(", ");
        let sentence = format!("this resource has {names}");
        let mut problem = Problem::new(Code::MethodNotAllowed, sentence);
        problem.allow = Some(names);
        Err(problem)
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
    if request.service.interface == Interface::Admin {
        let needed = match &request.method {
            &Method::GET | &Method::HEAD => Right::Read,
            _ => Right::Operate,
        };
        request.log_fields.actor = Some(admin::authorize(request, needed)?);
        request.is_verified = true;
    }
    let (resource, params) = found?;
    let route = resource.route(&request.method)?;
    if let Some(known) = route.parameters {
        request.query = Query::parse(request.uri.query(), known)?;
    }
    request.params = params;
    (route.handler)(request).await
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
            .map(|route| (route.interface.as_str(), route.method.to_string(), route.path));
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
        for Route { method, path, parameters, .. } in TABLE {
            let known = parameters.unwrap_or_default();
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
        // No operation describes paths and methods that do not exist.
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
        assert!(resource.route(&Method::POST).unwrap().path.ends_with("/hold"));
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
