//! Deliveries, intents and attempts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::{DeliveryRow, Malformed, Stored};
use super::{field, millis, numbered, read_optional_time, read_time, read_version_seen, time};
use crate::domain::address::{EmailAddress, MessageId};
use crate::domain::delivery::{
    AddressDelivery, AddressState, Attempt, Delivery, EnhancedCode, HoldReason, Intent, Outcome,
    Reply, Shown, Stage, State,
};
use crate::domain::id::Digest;

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct DeliveryForm<'a> {
    revision: u32,
    state: StateForm,
    #[serde(borrow)]
    hold: Option<HoldForm<'a>>,
    withdraw: bool,
    next_at: Option<i64>,
    round_at: Option<i64>,
    addresses: Vec<AddressForm<'a>>,
    stamp: u64,
    changed_at: i64,
}

numbered!(
    StateForm =
        State { Parked, Waiting, Due, Sending, Delivered, Withheld, Withdrawn, Undeliverable }
);

numbered!(
    ShownForm = Shown {
        Parked,
        Waiting,
        Due,
        Sending,
        Delivered,
        Withheld,
        Held,
        Withdrawn,
        Undeliverable,
    }
);

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) enum HoldForm<'a> {
    Operator { by: &'a str, reason: &'a str },
    MessageRefused(&'a str),
    NotComposable(&'a str),
    Uncertain,
    UncertainTooOften,
    RejectedAfterUncertain,
    WithdrawnAfterUncertain,
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct AddressForm<'a> {
    address: &'a str,
    state: AddressStateForm,
    attempts: u32,
    failures: u32,
    uncertain: u32,
    waited_ms: u64,
}

numbered!(AddressStateForm = AddressState { Pending, Delivered, Rejected, Superseded, Unknown });

impl Stored for DeliveryRow {
    const KIND: &'static str = "delivery";
    type Form<'a> = DeliveryForm<'a>;

    fn form(&self) -> DeliveryForm<'_> {
        let Self { delivery, stamp, changed_at } = self;
        let Delivery { revision, state, hold, withdraw, next_at, round_at, addresses } = delivery;
        DeliveryForm {
            revision: *revision,
            state: (*state).into(),
            hold: hold.as_ref().map(HoldForm::of),
            withdraw: *withdraw,
            next_at: next_at.map(time),
            round_at: round_at.map(time),
            addresses: addresses.iter().map(AddressForm::of).collect(),
            stamp: *stamp,
            changed_at: time(*changed_at),
        }
    }

    fn restore(form: DeliveryForm<'_>) -> Result<Self, Malformed> {
        let DeliveryForm {
            revision,
            state,
            hold,
            withdraw,
            next_at,
            round_at,
            addresses,
            stamp,
            changed_at,
        } = form;
        Ok(Self {
            delivery: Delivery {
                revision,
                state: state.into(),
                hold: hold.map(HoldForm::restore),
                withdraw,
                next_at: read_optional_time("next at", next_at)?,
                round_at: read_optional_time("round at", round_at)?,
                addresses: addresses
                    .into_iter()
                    .map(AddressForm::restore)
                    .collect::<Result<_, _>>()?,
            },
            stamp,
            changed_at: read_time("changed at", changed_at)?,
        })
    }
}

impl<'a> HoldForm<'a> {
    fn of(reason: &'a HoldReason) -> Self {
        match reason {
            HoldReason::Operator { by, reason } => Self::Operator { by, reason },
            HoldReason::MessageRefused(reply) => Self::MessageRefused(reply),
            HoldReason::NotComposable(cause) => Self::NotComposable(cause),
            HoldReason::Uncertain => Self::Uncertain,
            HoldReason::UncertainTooOften => Self::UncertainTooOften,
            HoldReason::RejectedAfterUncertain => Self::RejectedAfterUncertain,
            HoldReason::WithdrawnAfterUncertain => Self::WithdrawnAfterUncertain,
        }
    }

    fn restore(self) -> HoldReason {
        match self {
            Self::Operator { by, reason } => {
                HoldReason::Operator { by: by.to_owned(), reason: reason.to_owned() }
            }
            Self::MessageRefused(reply) => HoldReason::MessageRefused(reply.to_owned()),
            Self::NotComposable(cause) => HoldReason::NotComposable(cause.to_owned()),
            Self::Uncertain => HoldReason::Uncertain,
            Self::UncertainTooOften => HoldReason::UncertainTooOften,
            Self::RejectedAfterUncertain => HoldReason::RejectedAfterUncertain,
            Self::WithdrawnAfterUncertain => HoldReason::WithdrawnAfterUncertain,
        }
    }
}

impl<'a> AddressForm<'a> {
    fn of(address: &'a AddressDelivery) -> Self {
        let AddressDelivery { address, state, attempts, failures, uncertain, waited } = address;
        Self {
            address: address.as_str(),
            state: (*state).into(),
            attempts: *attempts,
            failures: *failures,
            uncertain: *uncertain,
            waited_ms: millis(*waited),
        }
    }

    fn restore(self) -> Result<AddressDelivery, Malformed> {
        let Self { address, state, attempts, failures, uncertain, waited_ms } = self;
        Ok(AddressDelivery {
            address: field("address", EmailAddress::parse(address))?,
            state: state.into(),
            attempts,
            failures,
            uncertain,
            waited: Duration::from_millis(waited_ms),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct IntentForm<'a> {
    revision: u32,
    address: &'a str,
    number: u32,
    started_at: i64,
    account_version: u64,
    message_id: &'a str,
    message_digest: [u8; 32],
    message_bytes: u64,
}

impl Stored for Intent {
    const KIND: &'static str = "intent";
    type Form<'a> = IntentForm<'a>;

    fn form(&self) -> IntentForm<'_> {
        let Self {
            revision,
            address,
            number,
            started_at,
            account_version,
            message_id,
            message_digest,
            message_bytes,
        } = self;
        IntentForm {
            revision: *revision,
            address: address.as_str(),
            number: *number,
            started_at: time(*started_at),
            account_version: account_version.get(),
            message_id: message_id.as_str(),
            message_digest: *message_digest.as_bytes(),
            message_bytes: *message_bytes,
        }
    }

    fn restore(form: IntentForm<'_>) -> Result<Self, Malformed> {
        let IntentForm {
            revision,
            address,
            number,
            started_at,
            account_version,
            message_id,
            message_digest,
            message_bytes,
        } = form;
        Ok(Self {
            revision,
            address: field("address", EmailAddress::parse(address))?,
            number,
            started_at: read_time("started at", started_at)?,
            account_version: read_version_seen("account's version", account_version)?,
            message_id: field("message id", MessageId::parse(message_id))?,
            message_digest: Digest::from_bytes(message_digest),
            message_bytes,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct AttemptForm<'a> {
    #[serde(borrow)]
    intent: IntentForm<'a>,
    stage: StageForm,
    reply: Option<ReplyForm<'a>>,
    cause: Option<&'a str>,
    outcome: OutcomeForm,
}

numbered!(
    StageForm = Stage { Connect, Tls, Greeting, Ehlo, Auth, Mail, Rcpt, Data, Body, FinalDot }
);

numbered!(OutcomeForm = Outcome { Accepted, Deferred, Rejected, Uncertain });

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct ReplyForm<'a> {
    code: u16,
    enhanced: Option<(u8, u16, u16)>,
    text: &'a str,
}

impl Stored for Attempt {
    const KIND: &'static str = "attempt";
    type Form<'a> = AttemptForm<'a>;

    fn form(&self) -> AttemptForm<'_> {
        let Self { intent, stage, reply, cause, outcome } = self;
        AttemptForm {
            intent: intent.form(),
            stage: (*stage).into(),
            reply: reply.as_ref().map(ReplyForm::of),
            cause: cause.as_deref(),
            outcome: (*outcome).into(),
        }
    }

    fn restore(form: AttemptForm<'_>) -> Result<Self, Malformed> {
        let AttemptForm { intent, stage, reply, cause, outcome } = form;
        Ok(Self {
            intent: Intent::restore(intent)?,
            stage: stage.into(),
            reply: reply.map(ReplyForm::restore),
            cause: cause.map(str::to_owned),
            outcome: outcome.into(),
        })
    }
}

impl<'a> ReplyForm<'a> {
    fn of(reply: &'a Reply) -> Self {
        let Reply { code, enhanced, text } = reply;
        Self {
            code: *code,
            enhanced: enhanced.map(|EnhancedCode(class, subject, detail)| (class, subject, detail)),
            text,
        }
    }

    fn restore(self) -> Reply {
        let Self { code, enhanced, text } = self;
        Reply {
            code,
            enhanced: enhanced.map(|(class, subject, detail)| EnhancedCode(class, subject, detail)),
            text: text.to_owned(),
        }
    }
}
