//! Connections that are slow, broken, too large, shared or cut.

use std::sync::mpsc;

use super::*;
use crate::interface::{exchange, until};

const CHUNKED: &str = "transfer-encoding: chunked\r\n";

async fn start(limits: Limits, grace: Duration) -> Interfaces {
    Interfaces::start_with(limits, grace, Default::default).await
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_gets_a_408() {
    let hasty = Limits { header_time: SOON, ..limits() };
    let interfaces = start(hasty, SOON).await;
    let mut stream = interfaces.connect().await;
    let answer = exchange(&mut stream, b"POST /v1/ev").await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    for header in [
        "content-type: application/problem+json",
        "connection: close",
        "date: Mon, 23 Nov 2026 08:00:00 GMT",
        &format!("content-length: {}", body.len()),
    ] {
        assert!(head.lines().any(|line| line == header), "{head}");
    }
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&json!("time_out"), &json!(408)));
    let mut silent = interfaces.connect().await;
    assert_eq!(exchange(&mut silent, b"").await, "", "idle: just closed");
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_gets_a_408_and_changes_nothing() {
    let hasty = Limits { body_time: SOON, ..limits() };
    let interfaces = start(hasty, SOON).await;
    let whole = signed(&interfaces, PORTAL, &account(1).to_string());
    let mut stream = interfaces.connect().await;
    let answer = exchange(&mut stream, &whole.as_bytes()[..whole.len() - 20]).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"code\":\"time_out\""), "{answer}");
    assert!(interfaces.is_untouched());
}

#[tokio::test]
async fn a_body_that_stops_half_way_changes_nothing() {
    let interfaces = Interfaces::start().await;
    let whole = signed(&interfaces, PORTAL, &account(1).to_string());
    let mut stream = interfaces.connect().await;
    stream.write_all(&whole.as_bytes()[..whole.len() - 20]).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = exchange(&mut stream, b"").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("\"code\":\"incomplete_body\""), "{answer}");
    assert!(interfaces.is_untouched());
}

#[tokio::test]
async fn what_is_announced_too_large_is_refused_before_it_is_sent() {
    let interfaces = Interfaces::start().await;
    let head = interfaces
        .event_head(PORTAL, b"", limits().event_body_bytes + 1)
        .replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let mut stream = interfaces.connect().await;
    let answer = exchange(&mut stream, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_chunked_body_is_taken_and_limited_as_any_other() {
    let interfaces = Interfaces::start().await;
    let whole = chunked(&interfaces, CHUNKED, &account(1).to_string());
    let (status, answer) = asked(&interfaces, whole).await;
    assert!(status.starts_with("http/1.1 200"), "{status}{answer}");
    let large = chunked(&interfaces, CHUNKED, &" ".repeat(limits().event_body_bytes + 1));
    let mut stream = interfaces.connect().await;
    let answer = exchange(&mut stream, large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn large_bodies_share_a_bounded_memory_and_small_ones_need_none_of_it() {
    const LARGE: usize = 128 * 1024;
    let narrow = Limits { event_body_bytes: LARGE, bodies_bytes: 96 * 1024, ..limits() };
    let interfaces = start(narrow, SOON).await;
    let small = account(1).to_string();
    let large = small.clone() + &" ".repeat(LARGE - small.len());
    let ask = async |body: &str| asked(&interfaces, signed(&interfaces, PORTAL, body)).await;

    let slow = signed(&interfaces, PORTAL, &large);
    let (most, rest) = slow.split_at(slow.len() - 1024);
    let mut stream = interfaces.connect().await;
    stream.write_all(most.as_bytes()).await.unwrap();
    // Until the server has taken in what was sent over the other connection.
    let refused = async {
        loop {
            let (head, body) = ask(&large).await;
            if !head.starts_with("http/1.1 200") {
                return (head, body);
            }
        }
    };
    let (head, body) = timeout(limits().body_time, refused)
        .await
        .expect("large bodies take all the memory they want");
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert!(head.contains("retry-after:"), "{head}");
    assert_eq!(body["code"], "busy");
    let (head, _) = ask(&small).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");

    stream.write_all(rest.as_bytes()).await.unwrap();
    let (head, _) = read_answer(&mut stream).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let (head, _) = ask(&large).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[tokio::test]
async fn a_body_without_a_length_is_asked_for_one() {
    let interfaces = Interfaces::start().await;
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\r\n";
    let (head, body) = asked(&interfaces, head).await;
    assert!(head.starts_with("http/1.1 411"), "{head}");
    assert_eq!(body["code"], "length_required");
}

#[tokio::test]
async fn what_is_not_http_is_refused_without_a_word() {
    let interfaces = Interfaces::start().await;
    let mut stream = interfaces.connect().await;
    let answer = exchange(&mut stream, b"\0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let interfaces = Interfaces::start().await;
    for (version, hosts, status) in [
        ("1.1", "", "400"),
        ("1.1", "host: a\r\nhost: a\r\n", "400"),
        ("1.1", "host: a\r\n", "404"),
        ("1.0", "", "404"),
        ("1.0", "host: a\r\nhost: b\r\n", "400"),
    ] {
        let request = format!("GET /v1/nothing HTTP/{version}\r\n{hosts}\r\n");
        let (head, body) = asked(&interfaces, &request).await;
        assert!(head.contains(&format!(" {status} ")), "{request}{head}");
        let is_about_the_head = body["code"] == "bad_head";
        assert_eq!(is_about_the_head, status == "400", "{body}");
    }
}

#[tokio::test]
async fn a_body_in_another_transfer_coding_is_not_taken_for_what_it_is_not() {
    let interfaces = Interfaces::start().await;
    for codings in [
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
    ] {
        let whole = chunked(&interfaces, codings, &account(1).to_string());
        let mut stream = interfaces.connect().await;
        let answer = exchange(&mut stream, whole.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("\"code\":\"bad_head\""), "{answer}");
    }
    assert!(interfaces.is_untouched());
}

#[tokio::test]
async fn heads_and_paths_are_limited_and_whoever_sends_all_before_it_reads_gets_to_know_why() {
    let interfaces = Interfaces::start().await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(5000));
    let (head, body) = asked(&interfaces, long).await;
    assert!(head.starts_with("http/1.1 414"), "{head}");
    assert_eq!(body["code"], "uri_too_long");
    // More than lies in the buffers between the two: a connection that was closed upon it would fail this.
    let padding = "x".repeat(8 * 1024 * 1024);
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\npadding: {padding}\r\n\r\n");
    let (head, _) = asked(&interfaces, large).await;
    assert!(head.starts_with("http/1.1 431"), "{head}");
}

#[tokio::test]
async fn a_connection_goes_on_after_an_error() {
    let interfaces = Interfaces::start().await;
    let mut stream = interfaces.connect().await;
    for (key, version, status) in [(STRANGER, 1, 401), (PORTAL, 1, 200), (BILLING, 2, 403)] {
        let whole = signed(&interfaces, key, &account(version).to_string());
        stream.write_all(whole.as_bytes()).await.unwrap();
        let (head, _) = read_answer(&mut stream).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(head.contains("\r\ndate: "), "{head}");
    }
}

/// A runtime whose only thread for blocking work is taken until the returned end is dropped, so that
/// a request with an embedded document stands still before its commit.
fn gated() -> (tokio::runtime::Runtime, mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (gate, closed) = mpsc::channel::<()>();
    runtime.spawn_blocking(move || closed.recv());
    (runtime, gate)
}

fn embedded() -> String {
    let mut body = invoice("RE-1");
    body["data"]["documents"] = json!([
        {"content_base64": "JVBERi0xLjcgaW52b2ljZQ==", "file_name": "a.pdf", "media_type": "application/pdf"}]);
    body.to_string()
}

/// Announces a body, and comes back when it is asked for.
async fn announce(interfaces: &Interfaces, key: &str, body: &[u8], length: usize) -> TcpStream {
    let head = interfaces
        .event_head(key, body, length)
        .replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let mut stream = interfaces.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_asked_for(&mut stream).await;
    stream
}

async fn send_embedded(interfaces: &Interfaces) -> TcpStream {
    let mut stream = interfaces.connect().await;
    let whole = signed(interfaces, BILLING, &embedded());
    stream.write_all(whole.as_bytes()).await.unwrap();
    stream
}

#[test]
fn a_client_that_has_closed_its_side_gets_the_answer_to_what_it_asked() {
    let (runtime, gate) = gated();
    runtime.block_on(async {
        let interfaces = Interfaces::start().await;
        let mut stream = send_embedded(&interfaces).await;
        stream.shutdown().await.unwrap();
        // The end of what it says is there before there is an answer.
        tokio::time::sleep(SOON).await;
        drop(gate);
        let (head, body) = read_answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 202"), "{head}");
        assert_eq!(body["result"], "parked");
        assert_eq!(exchange(&mut stream, b"").await, "");
    });
}

#[tokio::test]
async fn nobody_reads_on_after_what_may_be_trailers_or_chunks_that_nobody_has_read() {
    let interfaces = Interfaces::start().await;
    let event = chunked(&interfaces, CHUNKED, &account(1).to_string());
    let unread = format!("GET /openapi.yaml HTTP/1.1\r\nhost: x\r\n{CHUNKED}\r\n0\r\n\r\n");
    // To a lenient reader the body ends before the request that is hidden in what looks like trailers.
    let hidden = "GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n";
    for whole in [event, unread] {
        let ended_early = whole.strip_suffix("\r\n").unwrap();
        let mut stream = interfaces.connect().await;
        stream.write_all(format!("{ended_early}\n{hidden}{hidden}").as_bytes()).await.unwrap();
        let (head, _) = read_answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("connection: close\r\n"), "{head}");
        assert_nothing_more(&mut stream).await;
    }
}

#[tokio::test]
async fn whoever_has_no_secret_takes_no_memory_from_documents() {
    let narrow = Limits { bodies_bytes: 192 * 1024, event_body_bytes: 128 * 1024, ..limits() };
    let interfaces = start(narrow, SOON).await;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let mut stream = interfaces.connect().await;
        let head = interfaces.event_head(STRANGER, b"", 128 * 1024);
        let most = format!("{head}{}", " ".repeat(120 * 1024));
        stream.write_all(most.as_bytes()).await.unwrap();
        strangers.push(stream);
    }
    let document = vec![7; 128 * 1024];
    let answer = interfaces.put(BILLING, &digest(&document).to_string(), &document).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn what_is_only_announced_takes_no_memory() {
    const LARGE: usize = 128 * 1024;
    let narrow = Limits { bodies_bytes: LARGE, event_body_bytes: LARGE, ..limits() };
    let interfaces = start(narrow, SOON).await;
    let mut strangers = Vec::new();
    for _ in 0..4 {
        strangers.push(announce(&interfaces, STRANGER, b"", LARGE).await);
    }
    let mut large = account(1).to_string();
    large.push_str(&" ".repeat(LARGE - large.len()));
    let answer = interfaces.post(PORTAL, "evt_a", large.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn what_a_client_has_asked_before_it_hangs_up_is_done() {
    let (runtime, gate) = gated();
    runtime.block_on(async {
        let interfaces = Interfaces::start().await;
        drop(send_embedded(&interfaces).await);
        assert!(interfaces.is_untouched());
        drop(gate);
        until("what was asked", || !interfaces.is_untouched()).await;
    });
}

#[test]
fn a_drain_answers_what_is_under_way_and_takes_nothing_new() {
    let (runtime, gate) = gated();
    runtime.block_on(async {
        let interfaces = Interfaces::start().await;
        let mut idle = interfaces.connect().await;
        let mut under_way = send_embedded(&interfaces).await;
        idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let (head, _) = read_answer(&mut idle).await;
        assert!(head.starts_with("http/1.1 404"), "{head}");
        interfaces.stop.send_replace(true);
        assert_eq!(exchange(&mut idle, b"").await, "", "idle: closed at once");
        assert!(!interfaces.served.is_finished());
        let refused = async {
            while TcpStream::connect(interfaces.webhook).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, refused).await.unwrap();

        drop(gate);
        let (head, _) = read_answer(&mut under_way).await;
        assert!(head.starts_with("http/1.1 202"), "{head}");
        let served = timeout(PATIENCE, interfaces.served).await;
        served.expect("the drain does not end").unwrap();
    });
}

#[test]
fn a_drain_ends_with_its_grace_period_and_cancels_no_commit() {
    let (runtime, gate) = gated();
    runtime.block_on(async {
        let mut interfaces = start(limits(), 4 * SOON).await;
        let body = embedded();
        let mut stuck = announce(&interfaces, BILLING, body.as_bytes(), body.len()).await;
        stuck.write_all(body.as_bytes()).await.unwrap();
        // The body is read by now or within the grace period, and the request stands before its commit.
        tokio::time::sleep(SOON).await;
        interfaces.stop.send_replace(true);
        let served = timeout(PATIENCE, &mut interfaces.served).await;
        served.expect("the drain does not end").unwrap();
        assert!(interfaces.is_untouched());
        drop(gate);
        until("the commit", || !interfaces.is_untouched()).await;
    });
}
