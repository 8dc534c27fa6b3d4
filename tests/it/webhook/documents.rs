//! Documents: uploaded before their invoice, or inside its event.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::interface::until;

#[tokio::test]
async fn a_document_is_stored_once() {
    let interfaces = Interfaces::start().await;
    let digits = digest(PDF).to_string();
    let first = interfaces.put(BILLING, &digits, PDF).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(first.body, json!({"sha256": digits, "bytes": PDF.len(), "result": "stored"}));
    let again = interfaces.put(BILLING, &digits, PDF).await;
    assert_eq!((again.status, &again.body["result"]), (200, &json!("duplicate")));
    let stored = interfaces.store.document(&digest(PDF)).unwrap();
    assert_eq!(stored.as_deref(), Some(PDF));
}

#[tokio::test]
async fn a_document_that_is_not_what_its_path_says_is_not_kept() {
    let interfaces = Interfaces::start().await;
    let other = digest(b"other").to_string();
    let answer = interfaces.put(BILLING, &other, PDF).await;
    assert_refused(&answer, 422, "digest_differs");
    let answer = interfaces.put(BILLING, &digest(b"").to_string(), b"").await;
    assert_refused(&answer, 422, "empty_document");
    assert_eq!(answer.body["errors"], json!([{"pointer": "", "expected": "at least one byte"}]));
    let answer = interfaces.put(BILLING, &"9F".repeat(32), PDF).await;
    assert_refused(&answer, 422, "invalid");
    let wrong = &answer.body["errors"][0];
    assert_eq!(wrong["parameter"], "sha256");
    assert!(wrong["expected"].as_str().unwrap().contains("64"), "{wrong}");
    let large = vec![0; limits().document_bytes + 1];
    let digits = digest(&large).to_string();
    let answer = interfaces.put(BILLING, &digits, &large).await;
    assert_refused(&answer, 413, "too_large");
    let answer = interfaces.put(STRANGER, &digest(PDF).to_string(), PDF).await;
    assert_refused(&answer, 401, "signature_invalid");
    for bytes in [PDF, b"", b"other", &large] {
        let kept = interfaces.store.document(&digest(bytes)).unwrap();
        assert!(kept.is_none());
    }
}

#[tokio::test]
async fn an_invoice_waits_for_its_documents_and_says_which() {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    let answer = interfaces.billing(&invoice("RE-1")).await;
    assert_refused(&answer, 409, "document_missing");
    assert_eq!(answer.body["retryable"], true);
    assert_eq!(answer.body["missing"], json!([digest(PDF).to_string()]));
    assert_eq!(answer.pointers(), ["/data/documents/0/sha256"]);
    interfaces.put_pdf().await;
    let answer = interfaces.billing(&invoice("RE-1")).await;
    assert_eq!(answer.body["result"], "applied");
}

#[tokio::test]
async fn documents_that_no_mail_could_carry_are_refused_with_their_limit() {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    let of = |bytes: &[usize]| {
        let documents = bytes.iter().map(|bytes| {
            json!({"content_base64": STANDARD.encode(vec![b'x'; *bytes]),
                   "file_name": format!("{bytes}.pdf"), "media_type": "application/pdf"})
        });
        let mut body = invoice("RE-1");
        body["data"]["documents"] = documents.collect();
        body
    };
    let answer = interfaces.billing(&of(&[600, 401])).await;
    assert_refused(&answer, 422, "invalid");
    assert_eq!(answer.pointers(), ["/data/documents"]);
    assert!(answer.body.to_string().contains("at most 1000 bytes in total"));
    let answer = interfaces.billing(&of(&[600, 400])).await;
    assert_eq!(answer.body["result"], "applied", "{answer:?}");
}

#[tokio::test]
async fn an_embedded_document_is_kept_with_its_invoice() {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    let mut body = invoice("RE-1");
    body["data"]["documents"] = json!([
        {"content_base64": "JVBERi0xLjcgaW52b2ljZQ==", "file_name": "a.pdf", "media_type": "application/pdf"}]);
    let answer = interfaces.billing(&body).await;
    assert_eq!(answer.body["result"], "applied", "{answer:?}");
    assert!(interfaces.store.document(&digest(PDF)).unwrap().is_some());
    // The same content, whichever way its bytes come.
    let by_digest = &mut body["data"]["documents"][0];
    by_digest.as_object_mut().unwrap().remove("content_base64");
    by_digest["sha256"] = json!(digest(PDF).to_string());
    let answer = interfaces.billing(&body).await;
    assert_eq!(answer.body["result"], "duplicate");
}

#[tokio::test]
async fn an_invoice_refused_for_its_number_leaves_no_document_behind() {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    interfaces.put_pdf().await;
    interfaces.billing(&invoice("RE-1")).await;
    let mut other = invoice("RE-1");
    other["data"]["documents"] = json!([
        {"content_base64": "JVBERi0xLjcgb3RoZXI=", "file_name": "a.pdf", "media_type": "application/pdf"}]);
    let answer = interfaces.billing(&other).await;
    assert_refused(&answer, 409, "invoice_conflict");
    let bytes = b"%PDF-1.7 other";
    let uploaded = interfaces.put(BILLING, &digest(bytes).to_string(), bytes).await;
    assert_eq!(uploaded.body["result"], "stored", "{uploaded:?}");
}

/// The head of an upload of [`PDF`], with one more line.
fn upload_head(interfaces: &Interfaces, key: &str, more: &str) -> String {
    let (digits, length) = (digest(PDF).to_string(), PDF.len());
    let mut head = format!(
        "PUT /v1/documents/{digits} HTTP/1.1\r\nhost: x\r\n{more}content-length: {length}\r\n"
    );
    for (name, value) in interfaces.signature(key, "evt_d", digits.as_bytes()) {
        head.extend([name, ": ", &value, "\r\n"]);
    }
    head + "\r\n"
}

#[tokio::test]
async fn the_signature_of_a_document_is_judged_before_its_body_is_asked_for() {
    let interfaces = Interfaces::start().await;
    for (key, asked_for) in [(STRANGER, false), (BILLING, true)] {
        let head = upload_head(&interfaces, key, "expect: 100-continue\r\n");
        let mut stream = interfaces.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        if asked_for {
            assert_asked_for(&mut stream).await;
            stream.write_all(PDF).await.unwrap();
        }
        let (head, _) = read_answer(&mut stream).await;
        let status = if asked_for { 201 } else { 401 };
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
    }
}

#[tokio::test]
async fn an_upload_whose_client_hangs_up_is_kept_if_it_is_whole() {
    for (sent, is_whole) in [(PDF.len() - 1, false), (PDF.len(), true)] {
        let interfaces = Interfaces::start().await;
        let mut stream = interfaces.connect().await;
        let head = upload_head(&interfaces, BILLING, "");
        stream.write_all(&[head.as_bytes(), &PDF[..sent]].concat()).await.unwrap();
        drop(stream);
        if is_whole {
            let is_kept = || interfaces.store.document(&digest(PDF)).unwrap().is_some();
            until("the document", is_kept).await;
        } else {
            // Which is answered otherwise if anything was kept.
            interfaces.put_pdf().await;
        }
    }
}
