//! What the types do that the description cannot say; that answers are as it says is held against each that the
//! integration tests get.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::domain::audit::{Effect, PausedScope};
use crate::domain::delivery::{AddressState, HoldKind, Outcome, Shown, Stage};
use crate::domain::invoice::{KindName, Release};
use crate::domain::recipient::{Rule, TargetKind};

/// Every set of names in a part of the description.
fn described(part: &Value, sets: &mut BTreeSet<BTreeSet<String>>) {
    let names = |list: &Value| serde_json::from_value(list.clone()).ok();
    match part {
        Value::Object(members) => {
            sets.extend(members.get("enum").and_then(names));
            members.values().for_each(|member| described(member, sets));
        }
        Value::Array(items) => items.iter().for_each(|item| described(item, sets)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Few tests meet every name.
#[test]
fn the_description_has_all_names_of_a_value_and_no_others() {
    fn names<T: Named>() -> BTreeSet<String> {
        T::ALL.iter().map(|value| value.as_str().to_owned()).collect()
    }
    let description = serde_saphyr::from_str(include_str!("../http/openapi.yaml")).unwrap();
    let mut sets = BTreeSet::new();
    described(&description, &mut sets);
    for names in [
        names::<AddressState>(),
        names::<Code>(),
        names::<Effect>(),
        names::<HoldKind>(),
        names::<KindName>(),
        names::<Outcome>(),
        names::<PausedScope>(),
        names::<Release>(),
        names::<Rule>(),
        names::<Shown>(),
        names::<Stage>(),
        names::<TargetKind>(),
        names::<WarningCode>(),
    ] {
        assert!(sets.contains(&names), "{names:?} is described nowhere");
        let more = sets.iter().find(|set| set.is_superset(&names) && **set != names);
        assert_eq!(more, None);
    }
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
