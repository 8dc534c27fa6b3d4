//! Changes of an account, and pauses, that come while the relay stands at a point of an attempt.

use chrono::DateTime;
use invoice_router::domain::audit::{
    AttemptEnded, AuditEvent, AuditRecipient, AuditReply, AuditTarget, AuditText, Consequence,
};
use invoice_router::domain::delivery::{AddressState, EnhancedCode, Outcome, Shown, Stage};
use invoice_router::domain::id::Digest;
use invoice_router::domain::invoice::Release;
use invoice_router::domain::recipient::Rule;
use invoice_router::store::PauseScope;
use serde_json::{Value, json};

use super::house::{House, account};
use super::pauses::{pause, resume};
use super::relay::{Mail, Moment};
use super::scene::{LastWord, Point, Scene, address_states, history, outcomes};
use crate::interface::Interfaces;

const MAIN: &str = "erika@muster.example";
const OLD: &str = "alt@muster.example";
const NEW: &str = "neu@muster.example";

/// Where the relay stands, with the old billing contact selected.
async fn at(point: Point) -> Scene {
    Scene::at(point, &[MAIN], &[OLD], LastWord::Yes).await
}

/// The whole account, with this billing contact.
fn selecting(billing: &str) -> Value {
    json!({
        "main_contact": {"name": "Erika Muster", "addresses": [MAIN]},
        "sub_users": [{"id": "u-7", "group": "Rechnungen",
            "contact": {"name": "Buchhaltung", "addresses": [billing]}}],
        "billing_contact": "u-7"
    })
}

/// An invoice is delivered by its first attempt, at its one address.
fn accepted() -> AuditEvent {
    let text = AuditText::new("queued");
    let reply = AuditReply { code: 250, enhanced: Some(EnhancedCode(2, 0, 0)), text };
    AuditEvent::AttemptEnded(Box::new(AttemptEnded {
        revision: 1,
        number: 1,
        started_at: DateTime::UNIX_EPOCH,
        address: 1,
        addresses: 1,
        outcome: Outcome::Accepted,
        stage: Stage::FinalDot,
        reply: Some(reply),
        cause: None,
        message_digest: Digest::from_bytes([0; 32]),
        message_bytes: 0,
        consequence: Some(Consequence::Delivered { accepted: 1, of: 1, withdrawal_stopped: None }),
    }))
}

fn goes_to(target: AuditTarget, rule: Rule) -> AuditEvent {
    let recipient = AuditRecipient { target, rule };
    AuditEvent::RecipientResolved { recipient }
}

fn goes_to_the_billing_contact() -> AuditEvent {
    goes_to(AuditTarget::SubUser(AuditText::new("u-7")), Rule::BillingContactSelected)
}

/// What was sent is sent, and named in the answer; whatever is not, goes to who is the recipient now.
async fn the_first_byte_decides(kind: &str, change: Value, to: &str, then: AuditEvent) {
    for point in Point::ALL {
        let scene = at(point).await;
        let answer = scene.portal(kind, 2, change.clone()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["recipient"]["addresses"], json!([to]));
        let is_late = point.is_past_the_first_byte();
        let in_flight = if is_late { json!(["R-1"]) } else { json!([]) };
        assert_eq!(answer.body["in_flight"], in_flight, "{point:?}");
        scene.go_on();

        let whole = scene.until(Shown::Delivered).await;
        assert_eq!(outcomes(&whole), [Outcome::Accepted], "{point:?}");
        let told = history(&whole);
        let old = goes_to_the_billing_contact();
        let recipient = if is_late {
            assert_eq!(address_states(&whole), [(OLD, AddressState::Delivered)]);
            assert_eq!(told, [old, accepted()]);
            OLD
        } else {
            // Nothing was tried at the old one.
            assert_eq!(address_states(&whole), [(to, AddressState::Delivered)]);
            assert_eq!(told, [old, then.clone(), accepted()]);
            to
        };
        let version = whole.attempts[0].intent.account_version.get();
        assert_eq!(version, if is_late { 1 } else { 2 });
        let (begun, accepted) = scene.end().await;
        assert_eq!((begun, accepted), (vec![recipient.to_owned()], vec![recipient.to_owned()]));
    }
}

#[tokio::test]
async fn up_to_the_first_byte_a_changed_billing_contact_gets_the_invoice_at_the_new_address_alone()
{
    let then = goes_to_the_billing_contact();
    the_first_byte_decides("account.updated", selecting(NEW), NEW, then).await;
}

#[tokio::test]
async fn up_to_the_first_byte_a_removed_billing_contact_gets_nothing() {
    let then = goes_to(AuditTarget::MainContact, Rule::BillingContactRemoved);
    let removed = json!({"sub_user": "u-7"});
    the_first_byte_decides("sub_user.removed", removed, MAIN, then).await;
}

#[tokio::test]
async fn up_to_the_first_byte_a_billing_contact_moved_out_of_its_group_gets_nothing() {
    let then = goes_to(AuditTarget::MainContact, Rule::BillingContactLeftGroup);
    let moved = json!({"sub_user": {"id": "u-7", "group": "Technik",
        "contact": {"name": "Buchhaltung", "addresses": [OLD]}}});
    the_first_byte_decides("sub_user.saved", moved, MAIN, then).await;
}

/// It was decided whom to send to, and nothing of that is committed: who comes now finds an invoice that is
/// not being sent, and what was decided is dropped.
#[tokio::test]
async fn what_comes_before_the_relay_has_greeted_finds_nothing_under_way() {
    for (action, state) in
        [("change", Shown::Delivered), ("withdraw", Shown::Withdrawn), ("hold", Shown::Held)]
    {
        let house = House::with(&[MAIN], &[OLD]).await;
        let gate = house.gate_at_first(|moment| matches!(moment, Moment::Connected(_)));
        let interfaces = Interfaces::over(&house.store, &house.clock, &house.wake_up).await;
        let running = house.start();
        house.invoice("K-1", "R-1", Release::Immediately).await;
        gate.reached().await;
        if action == "change" {
            let in_flight = house.account("K-1", 2, &[MAIN], &[NEW]).await;
            assert_eq!(in_flight, []);
        } else {
            let path = format!("/v1/accounts/K-1/invoices/R-1/{action}");
            let answer = interfaces.act(&path, json!({})).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.body["state"], state.as_str());
        }
        gate.open();
        let whole = house.until("K-1", "R-1", state).await;
        house.until_the_dispatcher_went_round(&running).await;
        running.stop().await;
        let book = house.relay.book();
        if action == "change" {
            assert_eq!(history(&whole), [goes_to_the_billing_contact(), accepted()]);
            assert_eq!(book.begun, [NEW]);
        } else {
            assert!(book.begun.is_empty(), "{action}: {:?}", book.begun);
            assert_eq!(whole.state, state);
        }
    }
}

#[tokio::test]
async fn an_account_closed_while_its_invoice_is_sent_stops_nothing_and_names_nothing() {
    for point in Point::ALL {
        let scene = at(point).await;
        let answer = scene.portal("account.closed", 2, json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["in_flight"], json!([]), "{point:?}");
        scene.go_on();
        let whole = scene.until(Shown::Delivered).await;
        assert_eq!(history(&whole), [goes_to_the_billing_contact(), accepted()]);
        assert_eq!(scene.house.relay.book().connections, 1, "it is not begun again");
        let (begun, accepted) = scene.end().await;
        assert_eq!((begun, accepted), (vec![OLD.to_owned()], vec![OLD.to_owned()]));
    }
}

#[tokio::test]
async fn a_change_that_is_taken_back_before_the_first_byte_stops_nothing() {
    for point in [Point::Rcpt, Point::Data] {
        let scene = at(point).await;
        for (version, billing) in [(2, NEW), (3, OLD)] {
            let answer = scene.portal("account.updated", version, selecting(billing)).await;
            assert_eq!(answer.body["in_flight"], json!([]), "{answer:?}");
        }
        scene.go_on();
        scene.until(Shown::Delivered).await;
        assert_eq!(scene.house.relay.book().connections, 1, "it is not begun again");
        let (begun, accepted) = scene.end().await;
        assert_eq!((begun, accepted), (vec![OLD.to_owned()], vec![OLD.to_owned()]));
    }
}

#[tokio::test]
async fn what_the_relay_defers_goes_to_the_new_contact_although_the_old_one_was_in_flight() {
    for point in [Point::Streaming, Point::FinalDot] {
        let scene = Scene::at(point, &[MAIN], &[OLD], LastWord::Later).await;
        let answer = scene.portal("account.updated", 2, selecting(NEW)).await;
        assert_eq!(answer.body["in_flight"], json!(["R-1"]));
        scene.go_on();
        let whole = scene.until(Shown::Delivered).await;
        assert_eq!(outcomes(&whole), [Outcome::Deferred, Outcome::Accepted]);
        assert_eq!(
            address_states(&whole),
            [(OLD, AddressState::Superseded), (NEW, AddressState::Delivered)]
        );
        let (begun, accepted) = scene.end().await;
        assert_eq!(begun, [OLD, NEW]);
        assert_eq!(accepted, [NEW]);
    }
}

#[tokio::test]
async fn up_to_the_first_byte_a_pause_sends_nothing_and_afterwards_nothing_more() {
    for scope in [PauseScope::Everything, PauseScope::Account(account("K-1"))] {
        for point in Point::ALL {
            let scene = at(point).await;
            let Scene { house, running, .. } = &scene;
            pause(house, scope.clone()).await;
            house.invoice("K-1", "R-2", Release::Immediately).await;
            scene.go_on();
            let is_late = point.is_past_the_first_byte();
            let state = if is_late { Shown::Delivered } else { Shown::Due };
            scene.until(state).await;
            house.until_the_dispatcher_went_round(running).await;

            let whole = scene.whole();
            let what = format!("{scope:?} {point:?}");
            assert_eq!(whole.state, state, "{what}");
            assert_eq!(whole.attempts.len(), usize::from(is_late), "{what}");
            assert_eq!(house.relay.book().begun.len(), usize::from(is_late), "{what}");
            assert_eq!(house.whole("K-1", "R-2").state, Shown::Due, "{what}");

            resume(house, scope.clone()).await;
            scene.until(Shown::Delivered).await;
            house.until("K-1", "R-2", Shown::Delivered).await;
            let (begun, accepted) = scene.end().await;
            assert_eq!((begun.len(), accepted.len()), (2, 2), "{what}");
        }
    }
}

/// That the relay stands half way through the message is seen by a daemon that ends there: the rest of it
/// never comes.
#[tokio::test]
async fn a_message_cut_off_half_way_is_repeated_under_the_same_message_id_and_accepted_once() {
    let Scene { mut house, running, gate, .. } = at(Point::Streaming).await;
    running.crash().await;
    gate.open();
    house.relay.until("the half is given up", |book| book.cut_off == 1).await;
    assert!(house.relay.book().accepted.is_empty());

    house.clock.set(house.clock.now() + chrono::TimeDelta::minutes(1));
    house.reopen();
    let running = house.start();
    let whole = house.until("K-1", "R-1", Shown::Due).await;
    assert_eq!(outcomes(&whole), [Outcome::Uncertain]);
    house.clock.set(whole.delivery.next_at.unwrap());
    let whole = house.until("K-1", "R-1", Shown::Delivered).await;
    running.stop().await;
    assert_eq!(whole.attempts[0].intent.message_id, whole.attempts[1].intent.message_id);
    assert_eq!(whole.attempts[0].intent.message_digest, whole.attempts[1].intent.message_digest);
    let accepted = house.relay.book().accepted;
    let to: Vec<&str> = accepted.iter().map(|mail: &Mail| mail.to.as_str()).collect();
    assert_eq!(to, [OLD]);
}
