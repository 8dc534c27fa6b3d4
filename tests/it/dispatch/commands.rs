//! Commands for an invoice that come while the relay stands at a point of an attempt.

use invoice_router::domain::audit::Actor;
use invoice_router::domain::delivery::{AddressState, Outcome, Shown};
use invoice_router::domain::invoice::Release;
use invoice_router::store::{PauseScope, RunScope};
use serde_json::json;

use super::house::account;
use super::pauses::{pause, resume};
use super::scene::{LastWord, Point, Scene, address_states, outcomes};
use crate::interface::Answer;

const A: &str = "a@muster.example";
const B: &str = "b@muster.example";

/// Where the relay stands at the first of two addresses.
async fn at(point: Point, last_word: LastWord) -> Scene {
    Scene::at(point, &[A, B], &[], last_word).await
}

/// Who takes an invoice back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Webhook,
    Operator,
}

impl By {
    async fn withdraw(self, scene: &Scene) -> Answer {
        match self {
            Self::Webhook => scene.withdraw().await,
            Self::Operator => scene.operator("withdraw", json!({})).await,
        }
    }
}

#[track_caller]
fn assert_recorded(answer: &Answer) {
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.body["result"], "applied");
    assert_eq!(answer.body["state"], "sending");
}

#[track_caller]
fn assert_refused(answer: &Answer, code: &str, state: &str) {
    assert_eq!((answer.status, answer.code()), (409, code), "{answer:?}");
    assert_eq!(answer.body["state"], state);
}

#[tokio::test]
async fn a_hold_while_sending_is_recorded_and_stops_the_other_addresses() {
    for point in Point::ALL {
        for last_word in [LastWord::Yes, LastWord::Later] {
            let scene = at(point, last_word).await;
            assert_recorded(&scene.operator("hold", json!({"reason": "look"})).await);
            assert_refused(&scene.operator("hold", json!({})).await, "wrong_state", "sending");
            scene.go_on();
            let whole = scene.until(Shown::Held).await;
            // Whoever had an attempt comes after who had none.
            let (first, outcome, order) = match last_word {
                LastWord::Yes => (AddressState::Delivered, Outcome::Accepted, [A, B]),
                LastWord::Later => (AddressState::Pending, Outcome::Deferred, [B, A]),
            };
            assert_eq!(outcomes(&whole), [outcome]);
            assert_eq!(address_states(&whole), [(A, first), (B, AddressState::Pending)]);
            let house = &scene.house;
            house.until_the_dispatcher_went_round(&scene.running).await;
            assert_eq!(house.relay.book().begun, [A], "{point:?} {last_word:?}");

            let answer = scene.operator("release", json!({"now": true})).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            scene.until(Shown::Delivered).await;
            let (begun, accepted) = scene.end().await;
            assert_eq!(accepted, order, "each once");
            assert_eq!(begun.len(), 1 + whole.delivery.open_addresses().count());
        }
    }
}

#[tokio::test]
async fn a_hold_that_finds_the_last_address_being_sent_to_is_over_with_its_delivery() {
    for point in Point::ALL {
        let scene = Scene::at(point, &[A], &[], LastWord::Yes).await;
        assert_recorded(&scene.operator("hold", json!({})).await);
        scene.go_on();
        let whole = scene.until(Shown::Delivered).await;
        assert_eq!(whole.delivery.hold, None);
        let answer = scene.operator("release", json!({})).await;
        assert_refused(&answer, "wrong_state", "delivered");
        assert_eq!(scene.end().await.1, [A]);
    }
}

#[tokio::test]
async fn a_withdrawal_while_sending_is_recorded_and_nothing_further_is_sent() {
    for point in Point::ALL {
        for by in [By::Webhook, By::Operator] {
            for last_word in [LastWord::Yes, LastWord::Later] {
                let scene = at(point, last_word).await;
                assert_recorded(&by.withdraw(&scene).await);
                scene.go_on();
                let what = format!("{point:?} {by:?} {last_word:?}");
                match last_word {
                    LastWord::Yes => {
                        let whole = scene.until(Shown::Delivered).await;
                        let states = [(A, AddressState::Delivered), (B, AddressState::Superseded)];
                        assert_eq!(address_states(&whole), states, "{what}");
                        assert_refused(&by.withdraw(&scene).await, "already_sent", "delivered");
                    }
                    LastWord::Later => {
                        let whole = scene.until(Shown::Withdrawn).await;
                        assert_eq!(outcomes(&whole), [Outcome::Deferred], "{what}");
                        let again = by.withdraw(&scene).await;
                        assert_eq!(
                            (again.status, &again.body["result"]),
                            (200, &json!("duplicate"))
                        );
                    }
                }
                // A day later, when whatever could be due would be.
                let clock = &scene.house.clock;
                clock.set(clock.now() + chrono::TimeDelta::days(1));
                let (begun, accepted) = scene.end().await;
                assert_eq!(begun, [A], "{what}");
                assert_eq!(accepted.len(), usize::from(last_word == LastWord::Yes), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_withdrawal_after_one_address_accepted_is_refused_and_stops_what_is_not_under_way() {
    for point in Point::ALL {
        for by in [By::Webhook, By::Operator] {
            let addresses = [A, B, "c@muster.example"];
            let mut scene = Scene::at(Point::Rcpt, &addresses, &[], LastWord::Yes).await;
            if point == Point::Rcpt {
                scene.go_on_to_the_next(Point::Rcpt).await;
            } else {
                // The points of the first address are still ahead, and passed one by one.
                for point in [point, point] {
                    scene.go_on_to_the_next(point).await;
                }
            }
            assert_eq!(scene.whole().attempts.len(), 1);
            assert_refused(&by.withdraw(&scene).await, "already_sent", "sending");
            scene.go_on();
            let whole = scene.until(Shown::Delivered).await;
            let states: Vec<AddressState> =
                whole.delivery.addresses.iter().map(|address| address.state).collect();
            assert_eq!(
                states,
                [AddressState::Delivered, AddressState::Delivered, AddressState::Superseded],
                "{point:?} {by:?}"
            );
            assert_eq!(scene.end().await.1, [A, B]);
        }
    }
}

/// What was asked for is obeyed when the attempt ends, and an attempt that is broken off sends nothing.
#[tokio::test]
async fn what_is_withdrawn_or_held_goes_to_nobody_if_the_attempt_is_broken_off() {
    for point in [Point::Rcpt, Point::Data] {
        for (action, state) in [("withdraw", Shown::Withdrawn), ("hold", Shown::Held)] {
            for breaks_by_a_change in [true, false] {
                let scene = at(point, LastWord::Yes).await;
                assert_recorded(&scene.operator(action, json!({})).await);
                if breaks_by_a_change {
                    let in_flight = scene.house.account("K-1", 2, &["neu@muster.example"], &[]);
                    assert_eq!(in_flight.await, []);
                } else {
                    pause(&scene.house, PauseScope::Everything).await;
                }
                scene.go_on();
                let whole = scene.until(state).await;
                assert_eq!(outcomes(&whole), []);
                if !breaks_by_a_change {
                    resume(&scene.house, PauseScope::Everything).await;
                }
                let (begun, _) = scene.end().await;
                assert!(begun.is_empty(), "{point:?} {action}: {begun:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_release_while_sending_takes_back_a_hold_and_nothing_else() {
    for point in Point::ALL {
        let scene = Scene::at(point, &[A], &[], LastWord::Later).await;
        for body in [json!({}), json!({"now": true})] {
            let answer = scene.operator("release", body).await;
            assert_refused(&answer, "wrong_state", "sending");
        }
        assert_recorded(&scene.operator("hold", json!({})).await);
        assert_recorded(&scene.operator("release", json!({})).await);
        scene.go_on();
        let whole = scene.until(Shown::Due).await;
        assert_eq!(outcomes(&whole), [Outcome::Deferred]);
        scene.house.clock.set(whole.delivery.next_at.unwrap());
        scene.until(Shown::Delivered).await;
        let (begun, accepted) = scene.end().await;
        assert_eq!((begun.len(), accepted.len()), (2, 1), "{point:?}");
    }
}

#[tokio::test]
async fn a_resend_while_sending_is_refused_and_one_afterwards_sends_one_more() {
    for point in Point::ALL {
        let mut scene = Scene::at(point, &[A], &[], LastWord::Yes).await;
        let resend = json!({"revision": 1});
        let answer = scene.operator("resend", resend.clone()).await;
        assert_refused(&answer, "wrong_state", "sending");
        scene.go_on();
        scene.until(Shown::Delivered).await;

        scene.gate = super::scene::stand(&scene.house, point, LastWord::Yes);
        let answer = scene.operator("resend", resend.clone()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        scene.gate.reached().await;
        for revision in [1, 2] {
            let answer = scene.operator("resend", json!({"revision": revision})).await;
            assert_refused(&answer, "wrong_state", "sending");
        }
        scene.go_on();
        let whole = scene.until(Shown::Delivered).await;
        assert_eq!(whole.attempts.len(), 2);
        assert_ne!(whole.attempts[0].intent.message_id, whole.attempts[1].intent.message_id);
        assert_eq!(scene.end().await.1, [A, A], "{point:?}");
    }
}

#[tokio::test]
async fn a_run_opened_while_an_invoice_is_sent_sends_that_one_once() {
    for point in Point::ALL {
        let scene = at(point, LastWord::Yes).await;
        let house = &scene.house;
        house.invoice("K-1", "R-2", Release::Scheduled).await;
        let (scope, now) = (RunScope::Account(account("K-1")), house.clock.now());
        let operator = Actor::Operator("erika".to_owned());
        assert!(house.store.release(scope, now, operator, None, now).await.unwrap());
        house.wake_up.notify_one();
        scene.go_on();
        scene.until(Shown::Delivered).await;
        house.until("K-1", "R-2", Shown::Delivered).await;
        house.until_true("the run is closed", || house.open_runs() == 0).await;
        assert_eq!(scene.end().await.1, [A, B, A, B], "{point:?}");
    }
}
