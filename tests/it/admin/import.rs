//! Accounts that an operator brings, and how a portal finds out which ones to send again.

use super::*;

/// The data of an account at a version, of this name.
fn data(id: &str, version: u64, name: &str) -> Value {
    let mut data = account(version)["data"].clone();
    data["account"] = json!(id);
    data["name"] = json!(name);
    data
}

async fn shown(interfaces: &Interfaces, id: &str) -> (u64, String, bool) {
    let account = interfaces.get(&format!("/v1/accounts/{id}")).await.body;
    let name = account["name"].as_str().unwrap_or_default().to_owned();
    let closed = account["closed"] == true;
    (account["version"].as_u64().unwrap_or(0), name, closed)
}

#[tokio::test]
async fn an_import_creates_and_replaces_and_leaves_what_is_newer() {
    let interfaces = Interfaces::start().await;
    let lines = [data("K-1", 5, "five"), data("K-2", 1, "one")];
    let first = interfaces.import("", &lines).await;
    assert_eq!(first.lines(), [(1, 200, "applied"), (2, 200, "applied")]);
    let mut wrong = data("K-3", 1, "one");
    wrong["billing_contact"] = json!("u-8");
    let second = interfaces
        .import(
            "",
            &[data("K-1", 4, "four"), data("K-1", 5, "other"), data("K-2", 7, "seven"), wrong],
        )
        .await;
    assert_eq!(
        second.lines(),
        [(1, 200, "stale"), (2, 409, "version_conflict"), (3, 200, "applied"), (4, 422, "invalid")]
    );
    assert_eq!(
        second.body[3]["body"]["errors"][0]["pointer"], "/billing_contact",
        "of the line, which is the data itself"
    );
    assert_eq!(shown(&interfaces, "K-1").await, (5, "five".to_owned(), false));
    assert_eq!(shown(&interfaces, "K-2").await, (7, "seven".to_owned(), false));
}

#[tokio::test]
async fn versions_that_went_back_are_healed_by_accepting_them() {
    let interfaces = Interfaces::start().await;
    interfaces.import("", &[data("K-1001", 7, "before the backup was restored")]).await;
    let mut of_now = account(4);
    of_now["timestamp"] = json!("2026-11-24T08:00:00Z");
    let regressed = interfaces.portal(&of_now).await;
    assert_eq!(regressed.code(), "version_regressed");

    let healed = interfaces.import("?accept_versions=true", &[data("K-1001", 3, "restored")]).await;
    assert_eq!(healed.lines(), [(1, 200, "applied")]);
    assert_eq!(shown(&interfaces, "K-1001").await, (3, "restored".to_owned(), false));
    assert_eq!(interfaces.portal(&of_now).await.body["result"], "applied");
    let same_version =
        interfaces.import("?accept_versions=true", &[data("K-1001", 4, "other content")]).await;
    assert_eq!(same_version.lines(), [(1, 200, "applied")]);
    let again =
        interfaces.import("?accept_versions=true", &[data("K-1001", 4, "other content")]).await;
    assert_eq!(again.lines(), [(1, 200, "duplicate")]);

    let trail = interfaces.get("/v1/audit?order=newest&limit=1").await;
    let told = &trail.body["items"][0];
    assert!(told["actor"].as_str().unwrap().starts_with("operator uid:"), "{told}");
    let what = told["what"].as_str().unwrap();
    assert!(what.starts_with("version 4: account imported, replaces version 4"), "{what}");
    let event = &told["event"];
    assert_eq!((&event["change"], &event["version"]), (&json!("imported"), &json!(4)));
    assert_eq!(event["replaced_version"], 4);
}

#[tokio::test]
async fn a_closed_account_is_imported_closed() {
    let interfaces = Interfaces::start().await;
    let mut closed = data("K-1", 2, "gone");
    closed["closed"] = json!(true);
    interfaces.import("", &[closed.clone()]).await;
    assert_eq!(shown(&interfaces, "K-1").await, (2, "gone".to_owned(), true));
    let again = interfaces.import("", &[closed]).await;
    assert_eq!(again.lines(), [(1, 200, "duplicate")]);
    let open = interfaces.import("", &[data("K-1", 2, "gone")]).await;
    assert_eq!(open.lines(), [(1, 409, "version_conflict")]);
}

#[tokio::test]
async fn an_import_needs_the_right_to_operate_and_says_what_it_takes() {
    let interfaces = Interfaces::start().await;
    let target = Target::Tcp(interfaces.admin_tcp);
    let ask_as = async |token: &str, path: &str, media_type: &str| {
        let token = format!("Bearer {token}-token");
        let headers = [("authorization", token.as_str()), ("content-type", media_type)];
        let body = data("K-1", 1, "one").to_string().into_bytes();
        ask(Interface::Admin, &target, Method::POST, path, &headers, body).await
    };
    let ndjson = "application/x-ndjson";
    assert_eq!(ask_as("watch", "/v1/import", ndjson).await.status, 403);
    assert_eq!(ask_as("ops", "/v1/import", "application/json").await.status, 415);
    let unclear = ask_as("ops", "/v1/import?accept_versions=yes", ndjson).await;
    assert_eq!((unclear.status, unclear.code()), (422, "invalid"));
    assert!(interfaces.is_untouched());
    assert_eq!(ask_as("ops", "/v1/import", ndjson).await.status, 200);
}

#[tokio::test]
async fn versions_are_listed_for_reconciliation_whatever_changes_meanwhile() {
    let interfaces = Interfaces::start().await;
    let all: Vec<Value> = (0..10).map(|n| data(&format!("K-{n}"), n + 1, "name")).collect();
    interfaces.import("", &all).await;
    let mut seen = Vec::new();
    let mut path = "/v1/accounts?view=version&limit=3".to_owned();
    loop {
        let page = interfaces.get(&path).await.body;
        for item in page["items"].as_array().unwrap() {
            assert_eq!(item.as_object().unwrap().len(), 4, "{item}");
            seen.push((
                item["account"].as_str().unwrap().to_owned(),
                item["version"].as_u64().unwrap(),
            ));
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert_eq!(page["total"], 12);
            break;
        };
        path = format!("/v1/accounts?view=version&limit=3&cursor={cursor}");
        // One before, one after where it stands.
        interfaces.import("", &[data("K-0a", 1, "new"), data("K-9a", 1, "new")]).await;
    }
    let expected: Vec<_> = (0..10).map(|n| (format!("K-{n}"), n + 1)).collect();
    assert_eq!(seen[..10], expected);
    assert_eq!(seen[10..], [("K-9a".to_owned(), 1)]);

    let foreign = interfaces.get("/v1/invoices?limit=1&cursor=YUstMQ").await;
    assert_eq!((foreign.status, foreign.code()), (422, "invalid"));
    assert_eq!(foreign.body["errors"][0]["parameter"], "cursor");
}
