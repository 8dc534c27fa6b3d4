//! What lies on the disk of each type: its fields, each under its number.
//!
//! A new field takes the next number and is an `Option`, so that records without it can still be read. A number
//! is never used again, and neither it nor the type behind it changes: the golden bytes hold this fast. What is
//! added raises the store's [`FORMAT`](crate::store::sled::FORMAT).

use minicbor::Decoder;

use super::codec::{
    Fields, Read, RecordError, Write, Writer, Written, are_ascending, write_choice, write_row,
};
use super::{
    ChainRow, CounterRow, CursorRow, DeliveryRow, DocumentRow, EntryRow, IdempotencyRow,
    IdentityRow, IntentRow, InvoiceRow, Link, Record,
};
use crate::domain::account::{Account, AccountParts, Login, Profile, SubUser};
use crate::domain::audit::{
    AccountChangeKind, AccountChanged, Actor, AttemptEnded, AuditEntry, AuditEvent, AuditRecipient,
    AuditReply, AuditTarget, Consequence, Effect, PausedFor, PausedScope, ReleaseScope,
};
use crate::domain::contact::Contact;
use crate::domain::delivery::{
    AddressDelivery, AddressState, Attempt, Delivery, HoldKind, HoldReason, Intent, Lane, Outcome,
    Reply, Shown, Stage, State,
};
use crate::domain::invoice::{Document, Invoice, Kind, Release};
use crate::domain::money::Money;
use crate::domain::recipient::{Addressee, Reason, Recipient, Rule, Suppression, Target};
use crate::store::types::{FurtherReason, Pause, Run, RunCursor, RunScope};

/// A struct's fields; a tuple's; or those that it gives away, and how they are checked and put together again.
macro_rules! row {
    ($type:ident { $($number:literal $field:ident),+ $(,)? }) => {
        row!(@write $type, [$($number $field)+], row, let $type { $($field),+ } = row;);
        row!(@read $type, [$($number $field)+], Ok($type { $($field),+ }));
    };
    ($type:ident($($number:literal $field:ident),+)) => {
        row!(@write $type, [$($number $field)+], row, let $type($($field),+) = row;);
        row!(@read $type, [$($number $field)+], Ok($type($($field),+)));
    };
    ($type:ident { $($number:literal $field:ident),+ $(,)? } => $restored:expr) => {
        row!(@write $type, [$($number $field)+], row, $(let $field = &row.$field();)+);
        row!(@read $type, [$($number $field)+], Ok($restored?));
    };
    (@write $type:ident, [$($number:literal $field:ident)+], $row:ident, $($taken_apart:tt)+) => {
        impl Write for $type {
            fn write(&self, to: &mut Writer) -> Written {
                const { assert!(are_ascending(&[$($number),+])) };
                let $row = self;
                $($taken_apart)+
                write_row(to, &[$(($number, $field)),+])
            }
        }
    };
    (@read $type:ident, [$($number:literal $field:ident)+], $restored:expr) => {
        impl Read for $type {
            fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
                let mut fields = Fields::of_row(from)?;
                $(let $field = fields.take($number, stringify!($field))?;)+
                fields.close()?;
                $restored
            }
        }

        #[cfg(test)]
        impl super::samples::Sampled for $type {
            fn sampled(random: &mut super::samples::Random) -> Self {
                super::samples::accepted(|| {
                    $(let $field = super::samples::Sampled::sampled(random);)+
                    $restored
                })
            }
        }
    };
}

/// An enum's variants, each under its number. Their fields are counted from 1.
macro_rules! choice {
    ($type:ident { $(
        $number:literal $variant:ident
        $({ $($place:literal $field:ident),+ })?
        $(($($index:literal $item:ident),+))?
    ),+ $(,)? }) => {
        impl Write for $type {
            fn write(&self, to: &mut Writer) -> Written {
                $(const { assert!(are_ascending(&[0 $(, $($place),+)? $(, $($index),+)?])) };)+
                match self {
                    $(Self::$variant $({ $($field),+ })? $(($($item),+))? => write_choice(
                        to, $number, &[$($(($place, $field)),+)? $($(($index, $item)),+)?],
                    ),)+
                }
            }
        }

        impl Read for $type {
            fn read(from: &mut Decoder<'_>) -> Result<Self, RecordError> {
                let (number, mut fields) = Fields::of_choice(from)?;
                #[cfg(test)]
                super::samples::note_variant(stringify!($type), "", number);
                let read = match number {
                    $($number => Self::$variant
                        $({ $($field: fields.take($place, stringify!($field))?),+ })?
                        $(($(fields.take($index, stringify!($item))?),+))?,)+
                    unknown => {
                        let kind = stringify!($type);
                        return Err(RecordError::new(format!("{unknown} is no {kind}")));
                    }
                };
                fields.close()?;
                Ok(read)
            }
        }

        #[cfg(test)]
        impl super::samples::Sampled for $type {
            fn sampled(random: &mut super::samples::Random) -> Self {
                let variants = [$($number),+];
                match variants[random.usize(..variants.len())] {
                    $($number => {
                        $($(let $field = super::samples::Sampled::sampled(random);)+)?
                        $($(let $item = super::samples::Sampled::sampled(random);)+)?
                        Self::$variant $({ $($field),+ })? $(($($item),+))?
                    })+
                    _ => unreachable!(),
                }
            }
        }
    };
}

#[cfg(test)]
pub(super) use {choice, row};

/// What is stored under keys of its own, with a name for messages.
macro_rules! records {
    ($($type:ident $kind:literal),+ $(,)?) => {
        $(
            impl Record for $type {
                const KIND: &'static str = $kind;
            }
        )+

        /// Each kind. The place of one is its number in a fuzz target's input, so new ones are added at the end.
        #[cfg(any(test, fuzzing))]
        pub(super) const KINDS: &[(&str, super::property::Holds)] =
            &[$(($kind, super::property::holds::<$type>)),+];

        /// A record of each kind, in the same order.
        #[cfg(test)]
        pub(super) const SAMPLES: &[super::samples::Sample] =
            &[$(super::samples::Sample::of::<$type>()),+];
    };
}

records! {
    Account "account",
    Suppression "suppression",
    Recipient "recipient",
    InvoiceRow "invoice",
    IdentityRow "identity",
    DocumentRow "document",
    DeliveryRow "delivery",
    IntentRow "intent",
    Attempt "attempt",
    Run "run",
    Pause "pause",
    EntryRow "entry",
    ChainRow "trail",
    CursorRow "cursor",
    CounterRow "counter",
    IdempotencyRow "idempotency",
}

// Accounts, and what follows from them.

row!(Account { 0 id, 1 version, 2 changed_at, 3 closed, 4 reason, 5 profile }
    => Account::restore(AccountParts { id, version, changed_at, closed, reason, profile }));
row!(Profile { 0 name, 1 language, 2 schedule, 3 main_contact, 4 sub_users, 5 billing_contact });
row!(Contact { 0 name, 1 company, 2 language, 3 addresses });
row!(SubUser { 0 group, 1 contact, 2 login });
row!(Login { 0 enabled, 1 user_name, 2 permissions }
    => Login::new(enabled, user_name, permissions));
row!(Reason { 0 rule, 1 account_version, 2 since });
choice!(Rule {
    0 BillingContactSelected,
    1 NoBillingContact,
    2 BillingContactRemoved,
    3 BillingContactLeftGroup,
    4 FallbackAfterRejection,
    5 NoDeliverableAddress,
});
row!(Suppression { 0 since, 1 account_version, 2 reply });
row!(Recipient { 0 target, 1 reason });
choice!(Target { 0 SubUser(1 id, 2 addressee), 1 MainContact(1 addressee), 2 None });
row!(Addressee { 0 contact, 1 deliverable, 2 language });

// Invoices, their numbers and their documents.

row!(InvoiceRow { 0 invoice, 1 received_at });
row!(Invoice {
    0 account,
    1 number,
    2 kind,
    3 issued_on,
    4 due_on,
    5 total,
    6 release,
    7 min_account_version,
    8 portal_url,
    9 documents,
});
choice!(Kind {
    0 Invoice,
    1 CreditNote(1 refers_to),
    2 CorrectedInvoice(1 refers_to),
    3 Reminder(1 refers_to),
});
choice!(Release { 0 Scheduled, 1 Immediately });
row!(Money { 0 minor, 1 currency } => Ok::<_, RecordError>(Money::from_minor(minor, currency)));
row!(Document { 0 digest, 1 file_name, 2 media_type });
choice!(IdentityRow { 0 Sequence(1 sequence), 1 Tombstone { 1 content, 2 state, 3 at } });
row!(DocumentRow { 0 bytes, 1 day, 2 references, 3 billed, 4 stored_at });

// Deliveries and attempts.

row!(DeliveryRow { 0 delivery, 1 stamp, 2 changed_at });
row!(Delivery {
    0 revision,
    1 state,
    2 hold,
    3 withdraw,
    4 lane,
    5 next_at,
    6 round_at,
    7 addresses,
});
choice!(Lane { 0 Urgent, 1 Scheduled });
choice!(State {
    0 Parked,
    1 Waiting,
    2 Due,
    3 Sending,
    4 Delivered,
    5 Withheld,
    6 Withdrawn,
    7 Undeliverable,
});
choice!(Shown {
    0 Parked,
    1 Waiting,
    2 Due,
    3 Sending,
    4 Delivered,
    5 Withheld,
    6 Held,
    7 Withdrawn,
    8 Undeliverable,
});
choice!(HoldReason {
    0 Operator { 1 name, 2 reason },
    1 MessageRefused(1 reply),
    2 NotComposable(1 cause),
    3 Uncertain,
    4 UncertainTooOften,
    5 RejectedAfterUncertain,
    6 WithdrawnAfterUncertain,
});
choice!(HoldKind {
    0 Operator,
    1 MessageRefused,
    2 NotComposable,
    3 Uncertain,
    4 UncertainTooOften,
    5 RejectedAfterUncertain,
    6 WithdrawnAfterUncertain,
});
row!(AddressDelivery { 0 address, 1 state, 2 attempts, 3 failures, 4 uncertain, 5 waited });
choice!(AddressState { 0 Pending, 1 Delivered, 2 Rejected, 3 Superseded, 4 Unknown });
row!(Intent {
    0 revision,
    1 address,
    2 number,
    3 started_at,
    4 account_version,
    5 message_id,
    6 message_digest,
    7 message_bytes,
});
row!(IntentRow { 0 intent, 1 owner });
row!(Attempt { 0 intent, 1 stage, 2 outcome, 3 reply, 4 cause });
choice!(Stage {
    0 Connect,
    1 Tls,
    2 Greeting,
    3 Ehlo,
    4 Auth,
    5 Mail,
    6 Rcpt,
    7 Data,
    8 Body,
    9 FinalDot,
});
choice!(Outcome { 0 Accepted, 1 Deferred, 2 Rejected, 3 Uncertain });
row!(Reply { 0 code, 1 text, 2 enhanced });

// What the store keeps of itself.

row!(Run { 0 scope, 1 instant, 2 at, 3 opened_by, 4 high_water, 5 open, 6 cursor });
row!(RunCursor { 0 account, 1 last });
choice!(RunScope { 0 Schedule(1 name), 1 Account(1 id) });
row!(Pause { 0 reason, 1 by, 2 since, 3 further });
row!(FurtherReason { 0 reason, 1 by });
row!(ChainRow { 0 previous, 1 links });
row!(Link { 0 digest, 1 object });
row!(CursorRow(0 key));
row!(CounterRow(0 number));
row!(IdempotencyRow { 0 body });

// The audit log.

row!(EntryRow { 0 salt, 1 entry });
row!(AuditEntry { 0 at, 1 actor, 2 event, 3 reason });
choice!(Actor { 0 Sender(1 name, 2 webhook_id), 1 Operator(1 name), 2 Daemon, 3 Schedule(1 name) });
choice!(AuditEvent {
    0 AccountChanged(1 changed),
    1 SuppressionsCleared { 1 count },
    2 WithdrawnBeforeIssue { 1 number },
    3 Issued { 1 release, 2 state },
    4 Freed { 1 version, 2 held },
    5 Retried { 1 held },
    6 Held { 1 kind, 2 effect, 3 state, 4 cause },
    7 Released { 1 now, 2 effect, 3 state, 4 suppressions_cleared },
    8 Withdrawn { 1 effect, 2 state },
    9 Resent { 1 revision, 2 state, 3 suppressions_cleared },
    10 RecipientResolved { 1 recipient },
    11 AttemptEnded(1 attempt),
    12 NothingToSend { 1 state, 2 rule, 3 superseded, 4 held },
    13 RunOpened { 1 scope },
    14 Paused { 1 scope },
    15 PauseReasonAdded { 1 scope },
    16 Resumed { 1 scope, 2 paused_for },
    17 ReleasedByRun { 1 scope },
});
row!(AccountChanged {
    0 change,
    1 version,
    2 deselected,
    3 recipient,
    4 suppressions_cleared,
    5 replaced,
});
choice!(AccountChangeKind {
    0 Updated,
    1 Imported { 1 closed },
    2 Closed,
    3 SubUserSaved { 1 sub_user, 2 group },
    4 SubUserRemoved { 1 sub_user },
    5 BillingContactSelected { 1 sub_user },
});
row!(AuditRecipient { 0 target, 1 rule });
choice!(AuditTarget { 0 SubUser(1 id), 1 MainContact, 2 None });
choice!(Effect { 0 Applied, 1 Deferred, 2 AlreadySent });
choice!(ReleaseScope { 0 Schedule(1 name), 1 Account });
choice!(PausedScope { 0 Everything, 1 Account, 2 Removal });
row!(PausedFor { 0 actor, 1 reason });
row!(AttemptEnded {
    0 revision,
    1 number,
    2 started_at,
    3 address,
    4 addresses,
    5 outcome,
    6 stage,
    7 message_digest,
    8 message_bytes,
    9 reply,
    10 cause,
    11 consequence,
});
row!(AuditReply { 0 code, 1 text, 2 enhanced });
choice!(Consequence {
    0 Held(1 kind),
    1 Delivered { 1 accepted, 2 of, 3 withdrawal_stopped },
    2 EarlierRevisionDelivered,
    3 Undeliverable,
    4 Withdrawn,
    5 AddressSuppressed,
});
