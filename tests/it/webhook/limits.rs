//! How many connections, requests and unused documents there may be, and what becomes of those beyond.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::interface::{Interfaces, exchange, read_answer, sender};
use invoice_router::http::Access;
use invoice_router::http::signature::Senders;

async fn start(limits: Limits) -> Interfaces {
    Interfaces::start_with(limits, Duration::from_secs(20), Default::default).await
}

const PING: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// An address of this host, which has a whole network of them.
async fn connect_from(address: &str, interfaces: &Interfaces) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(format!("{address}:0").parse().unwrap())
        .unwrap();
    socket.connect(interfaces.webhook).await.unwrap()
}

#[tokio::test]
async fn an_address_with_all_its_connections_is_turned_away_and_others_are_served() {
    let interfaces = start(Limits {
        connections_per_peer: 2,
        ..limits()
    })
    .await;
    let mut first = connect_from("127.0.0.2", &interfaces).await;
    let mut second = connect_from("127.0.0.2", &interfaces).await;
    for stream in [&mut first, &mut second] {
        stream.write_all(PING).await.unwrap();
        read_answer(stream).await;
    }
    let mut third = connect_from("127.0.0.2", &interfaces).await;
    let mut answer = String::new();
    third.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    for header in ["retry-after: 2", "connection: close"] {
        assert!(head.lines().any(|line| line == header), "{head}");
    }
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&body["code"], &body["retryable"]),
        (&json!("too_many_connections"), &json!(true))
    );

    let mut other = connect_from("127.0.0.3", &interfaces).await;
    other.write_all(PING).await.unwrap();
    assert!(read_answer(&mut other).await.0.starts_with("http/1.1 404"));

    drop(first);
    loop {
        let mut next = connect_from("127.0.0.2", &interfaces).await;
        next.write_all(PING).await.unwrap();
        if read_answer(&mut next).await.0.starts_with("http/1.1 404") {
            break;
        }
    }
}

#[tokio::test]
async fn a_connection_brings_so_many_requests_and_is_closed_with_the_last_answer() {
    let interfaces = start(Limits {
        requests_per_connection: 3,
        ..limits()
    })
    .await;
    let mut stream = interfaces.connect().await;
    stream.write_all(&PING.repeat(5)).await.unwrap();
    for is_last in [false, false, true] {
        let (head, _) = read_answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 404"), "{head}");
        assert_eq!(head.contains("connection: close"), is_last, "{head}");
    }
    let mut rest = Vec::new();
    // What was not read may make it a reset.
    drop(stream.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn a_sender_beyond_its_rate_is_told_when_to_come_again_and_the_other_is_served() {
    let interfaces = start(Limits {
        sender_requests_per_second: 1,
        ..limits()
    })
    .await;
    let first = interfaces.portal(&account(1)).await;
    assert_eq!(first.body["result"], "applied");
    let batch: Vec<Value> = (2..=61).map(account).collect();
    // The second in which one more is allowed may have come by now.
    let mut refused = interfaces.batch(PORTAL, "evt_batch", &batch).await;
    if refused.status == 200 {
        refused = interfaces.portal(&account(62)).await;
        let seconds: u64 = refused.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((50..=61).contains(&seconds), "each line counts: {seconds}");
    }
    assert_refused(&refused, 429, "too_many_requests");
    assert_eq!(refused.body["retryable"], true);
    interfaces.put_pdf().await;
}

#[tokio::test]
async fn nobody_without_a_secret_uses_up_the_rate_of_those_with_one() {
    let interfaces = start(Limits {
        sender_requests_per_second: 1,
        ..limits()
    })
    .await;
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
    let interfaces = start(Limits {
        header_bytes: 8 * 1024,
        ..limits()
    })
    .await;
    let head = |bytes: usize| {
        format!(
            "GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    let mut stream = interfaces.connect().await;
    stream.write_all(head(7 * 1024).as_bytes()).await.unwrap();
    assert!(read_answer(&mut stream).await.0.starts_with("http/1.1 404"));
    let answer = exchange(&mut stream, head(9 * 1024).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn secrets_and_rights_are_exchanged_under_open_connections() {
    let interfaces = Interfaces::start().await;
    let event = account(1).to_string();
    let signed = |key| interfaces.post(key, "evt_a", event.as_bytes());
    assert_eq!(signed(STRANGER).await.status, 401);
    let rotated = Access {
        senders: Senders::new(vec![sender("portal", &[STRANGER], true)]).unwrap(),
        tokens: Vec::new(),
    };
    interfaces.access.send_replace(Arc::new(rotated));
    assert_eq!(signed(STRANGER).await.body["result"], "applied");
    assert_eq!(signed(PORTAL).await.status, 401);
    assert_eq!(interfaces.billing(&invoice("RE-1")).await.status, 401);
}
