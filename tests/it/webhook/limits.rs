//! How many connections, requests and unused documents there may be, and what becomes of those beyond.

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::*;
use crate::description::Interface;
use crate::interface::{access, exchange, read_answer_of, sender};
use invoice_router::config::Senders;

const PING: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// An address of this host, which has a whole network of them.
async fn connect_from(address: &str, interfaces: &Interfaces) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(interfaces.webhook).await.unwrap()
}

/// A connection from this address over which something was answered.
async fn connected_from(address: &str, interfaces: &Interfaces) -> TcpStream {
    let mut stream = connect_from(address, interfaces).await;
    stream.write_all(PING).await.unwrap();
    let (head, _) = read_answer(&mut stream).await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    stream
}

#[tokio::test]
async fn an_address_with_all_its_connections_is_turned_away_and_others_are_served() {
    let interfaces = Interfaces::within(Limits { connections_per_peer: 2, ..limits() }).await;
    let first = connected_from("127.0.0.2", &interfaces).await;
    let _second = connected_from("127.0.0.2", &interfaces).await;
    let mut third = connect_from("127.0.0.2", &interfaces).await;
    let answer = exchange(&mut third, b"").await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    for header in ["retry-after: 2", "connection: close"] {
        assert!(head.lines().any(|line| line == header), "{head}");
    }
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["code"], &body["retryable"]), (&json!("too_many_connections"), &json!(true)));

    let _other = connected_from("127.0.0.3", &interfaces).await;
    drop(first);
    let served = async {
        loop {
            let mut next = connect_from("127.0.0.2", &interfaces).await;
            next.write_all(PING).await.unwrap();
            if read_answer(&mut next).await.0.starts_with("http/1.1 404") {
                break;
            }
        }
    };
    timeout(PATIENCE, served).await.unwrap();
}

#[tokio::test]
async fn a_connection_beyond_all_that_there_may_be_waits_until_one_ends() {
    let interfaces = Interfaces::within(Limits { connections: 2, ..limits() }).await;
    let first = connected_from("127.0.0.2", &interfaces).await;
    let _second = connected_from("127.0.0.3", &interfaces).await;
    let mut third = connect_from("127.0.0.4", &interfaces).await;
    third.write_all(PING).await.unwrap();
    let mut byte = [0];
    let early = timeout(SOON, third.peek(&mut byte)).await;
    assert!(early.is_err(), "{early:?}");
    drop(first);
    let (head, _) = read_answer(&mut third).await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
}

#[tokio::test]
async fn a_connection_brings_so_many_requests_and_is_closed_with_the_last_answer() {
    let interfaces = Interfaces::within(Limits { requests_per_connection: 3, ..limits() }).await;
    let mut stream = interfaces.connect().await;
    stream.write_all(&PING.repeat(5)).await.unwrap();
    for is_last in [false, false, true] {
        let (head, _) = read_answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 404"), "{head}");
        assert_eq!(head.contains("connection: close"), is_last, "{head}");
    }
    assert_nothing_more(&mut stream).await;
}

#[tokio::test]
async fn a_sender_beyond_its_rate_is_told_when_to_come_again_and_the_other_is_served() {
    let interfaces = Interfaces::within(Limits { sender_requests_per_second: 1, ..limits() }).await;
    let batch: Vec<Value> = (1..=61).map(account).collect();
    let taken = interfaces.batch(PORTAL, "evt_batch", &batch).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    let digits = digest(PDF).to_string();
    for refused in
        [interfaces.portal(&account(62)).await, interfaces.put(PORTAL, &digits, PDF).await]
    {
        assert_refused(&refused, 429, "too_many_requests");
        assert_eq!(refused.body["retryable"], true);
        let seconds = refused.headers["retry-after"].to_str().unwrap();
        let seconds: u64 = seconds.parse().unwrap();
        assert!((50..=61).contains(&seconds), "each line counts: {seconds}");
    }
    assert_eq!(version(&interfaces), 61);
    interfaces.put_pdf().await;
}

#[tokio::test]
async fn nobody_without_a_secret_uses_up_the_rate_of_those_with_one() {
    let interfaces = Interfaces::within(Limits { sender_requests_per_second: 1, ..limits() }).await;
    let event = account(1).to_string();
    for _ in 0..5 {
        let forged = interfaces.post(STRANGER, "evt_a", event.as_bytes()).await;
        assert_eq!(forged.status, 401);
    }
    assert_eq!(interfaces.portal(&account(1)).await.status, 200);
}

#[tokio::test]
async fn documents_without_an_invoice_are_bounded_until_one_refers_to_them() {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    interfaces.put_pdf().await;
    let put = async |content: &str| {
        let digest = digest(content.as_bytes()).to_string();
        interfaces.put(BILLING, &digest, content.as_bytes()).await
    };
    assert_eq!(put("a").await.status, 201);
    assert_eq!(put("b").await.status, 201);
    let refused = put("c").await;
    assert_refused(&refused, 429, "too_many_documents");
    assert_eq!(refused.headers["retry-after"], "60");
    assert_eq!(put("a").await.status, 200, "what is there is there");
    let mut embedded = invoice("RE-1");
    embedded["data"]["documents"][0] = json!({"content_base64": "ZA==", "file_name": "d.pdf",
        "media_type": "application/pdf"});
    let answer = interfaces.billing(&embedded).await;
    assert_refused(&answer, 429, "too_many_documents");

    assert_eq!(interfaces.billing(&invoice("RE-2")).await.status, 200);
    assert_eq!(put("c").await.status, 201);
}

#[tokio::test]
async fn the_largest_head_is_as_configured() {
    let interfaces = Interfaces::within(Limits { header_bytes: 8 * 1024, ..limits() }).await;
    let head =
        |bytes: usize| format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(bytes));
    let mut stream = interfaces.connect().await;
    stream.write_all(head(7 * 1024).as_bytes()).await.unwrap();
    assert!(read_answer(&mut stream).await.0.starts_with("http/1.1 404"));
    let answer = exchange(&mut stream, head(9 * 1024).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn secrets_tokens_and_rights_are_exchanged_under_open_connections() {
    let interfaces = Interfaces::start().await;
    let webhook = Mutex::new(interfaces.connect().await);
    let admin = TcpStream::connect(interfaces.admin_tcp).await.unwrap();
    let admin = Mutex::new(admin);
    let event = account(1).to_string();
    let pushed = async |key, event: &str| {
        let mut stream = webhook.lock().await;
        let whole = signed(&interfaces, key, event);
        stream.write_all(whole.as_bytes()).await.unwrap();
        let (head, _) = read_answer(&mut stream).await;
        head["http/1.1 ".len()..][..3].to_owned()
    };
    let shown = async |token: &str| {
        let head = format!(
            "GET /v1/accounts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        let mut stream = admin.lock().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let (head, _) = read_answer_of(Interface::Admin, &mut stream).await;
        head["http/1.1 ".len()..][..3].to_owned()
    };
    assert_eq!(pushed(STRANGER, &event).await, "401");
    for token in ["ops-token", "watch-token"] {
        assert_eq!(shown(token).await, "200", "{token}");
    }
    let mut rotated = access();
    rotated.senders = Senders::new([sender("portal", &[STRANGER], true)]).unwrap();
    rotated.tokens.retain(|token| token.name.as_str() == "watch");
    interfaces.access.send_replace(Arc::new(rotated));
    assert_eq!(pushed(STRANGER, &event).await, "200");
    assert_eq!(pushed(PORTAL, &event).await, "401");
    let invoice = invoice("RE-1").to_string();
    assert_eq!(pushed(BILLING, &invoice).await, "401");
    assert_eq!(shown("ops-token").await, "401");
    assert_eq!(shown("watch-token").await, "200");
}
