//! The story that the demo plays: two accounts, five invoices, three billing contacts one after another.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::callers::Callers;
use super::examples::{self, Event};
use super::mails::Expected;
use super::sink::Sink;
use crate::api::{
    Acceptance, AccountAnswer, DispatchRequest, Dispatched, DryRun, Invoice, InvoiceAnswer,
    InvoiceView, Planned, Recipient,
};
use crate::cli::invoices;
use crate::cli::out::Out;
use crate::cli::words::{time, whom};
use crate::domain::delivery::Shown;
use crate::domain::recipient::{Rule, TargetKind};

/// How long mails may take to arrive, and deliveries to be settled.
const TIME_OUT: Duration = Duration::from_secs(20);
/// How often is asked whether all is settled; nobody is told.
const POLL: Duration = Duration::from_millis(10);

/// Every mail of the story, in its order.
pub(super) const EXPECTED: &[Expected] = &[
    Expected {
        account: "K-1001",
        number: "RE-2026/0043",
        address: "rechnungseingang@muster.example",
        rule: Rule::BillingContactSelected,
        subject: "Rechnung RE-2026/0043 ",
        documents: &[examples::RE_43, examples::RE_43_XML],
    },
    Expected {
        account: "K-1001",
        number: "RE-2026/0043",
        address: "buchhaltung@muster.example",
        rule: Rule::BillingContactSelected,
        subject: "Rechnung RE-2026/0043 ",
        documents: &[examples::RE_43, examples::RE_43_XML],
    },
    Expected {
        account: "K-1001",
        number: "RE-2026/0042",
        address: "rechnungseingang@muster.example",
        rule: Rule::BillingContactSelected,
        subject: "Rechnung RE-2026/0042 ",
        documents: &[examples::RE_42],
    },
    Expected {
        account: "K-1001",
        number: "RE-2026/0042",
        address: "buchhaltung@muster.example",
        rule: Rule::BillingContactSelected,
        subject: "Rechnung RE-2026/0042 ",
        documents: &[examples::RE_42],
    },
    Expected {
        account: "K-2001",
        number: "INV-2026-0007",
        address: "invoices@sample.example",
        rule: Rule::BillingContactSelected,
        subject: "Invoice INV-2026-0007 ",
        documents: &[examples::INV_7],
    },
    Expected {
        account: "K-1001",
        number: "RE-2026/0044",
        address: "muster-gmbh@steuerberatung.example",
        rule: Rule::BillingContactSelected,
        subject: "Rechnung RE-2026/0044 ",
        documents: &[examples::RE_44],
    },
    Expected {
        account: "K-1001",
        number: "RE-2026/0045",
        address: "erika@muster.example",
        rule: Rule::BillingContactRemoved,
        subject: "Rechnung RE-2026/0045 ",
        documents: &[examples::RE_45],
    },
];

/// Who plays, and who watches.
#[derive(Debug)]
pub(super) struct Story<'a> {
    pub(super) callers: &'a Callers,
    pub(super) sink: &'a Sink,
    pub(super) out: &'a Out,
}

impl Story<'_> {
    /// Plays the story to its end; stops at the first answer that is not as it should be.
    pub(super) async fn play(&self) -> anyhow::Result<()> {
        self.contacts().await?;
        self.invoices().await?;
        self.schedule().await?;
        self.replacement().await?;
        self.removal().await?;
        self.settled().await
    }

    async fn contacts(&self) -> anyhow::Result<()> {
        self.head("1. The portal pushes account K-1001 and its contacts");
        self.say("A new account has a main contact only, who gets the invoices.");
        self.change(&examples::ACCOUNT, TargetKind::MainContact, Rule::NoBillingContact).await?;
        self.say("A login for the technician, in group \"Technik\", changes nothing about that.");
        self.change(&examples::TECHNICIAN, TargetKind::MainContact, Rule::NoBillingContact).await?;
        self.say(
            "Neither does a contact for the accounting department, as long as it is not selected:",
        );
        self.say("copied from the main contact, two addresses of its own, group \"Rechnungen\", no login.");
        self.change(&examples::BILLING_CONTACT, TargetKind::MainContact, Rule::NoBillingContact)
            .await?;
        self.say("Now it is selected in the payment settings.");
        self.change(
            &examples::BILLING_CONTACT_SELECTED,
            TargetKind::SubUser,
            Rule::BillingContactSelected,
        )
        .await?;
        self.say("An English account comes as a whole, with its billing contact selected.");
        self.change(&examples::ENGLISH_ACCOUNT, TargetKind::SubUser, Rule::BillingContactSelected)
            .await
    }

    async fn invoices(&self) -> anyhow::Result<()> {
        self.head("2. The billing system hands over invoices");
        for document in [examples::RE_42, examples::RE_43, examples::RE_43_XML] {
            self.callers.upload(&document).await?;
        }
        self.say("Two invoices wait for the schedule; one brings its document along.");
        self.issue(&examples::INVOICE_SCHEDULED, &[Shown::Waiting]).await?;
        self.issue(&examples::ENGLISH_INVOICE, &[Shown::Waiting]).await?;
        self.say("One with PDF and XML is to be sent immediately, and is.");
        self.issue(&examples::INVOICE_IMMEDIATE, &[Shown::Due, Shown::Sending]).await?;
        self.arrived(0..2).await
    }

    async fn schedule(&self) -> anyhow::Result<()> {
        self.head("3. The schedule fires");
        self.say("It would in half a day; `dispatch` fires it now. Before, `dispatch --dry-run`:");
        let plan: DryRun = self.dispatch(true, None).await?;
        ensure!(plan.items.len() == 2, "two accounts should have something waiting: {plan:?}");
        for Planned { account, recipient, invoices, paused: _ } in plan.items {
            let recipient = who(&recipient);
            for Invoice { number, .. } in invoices {
                self.note(&format!("{account}, {number} → would go to {recipient}"));
            }
        }
        self.say("Then for good: both addresses get it, main contact and technician nothing.");
        let _: Dispatched = self.dispatch(false, None).await?;
        self.arrived(2..5).await
    }

    async fn replacement(&self) -> anyhow::Result<()> {
        self.head("4. The billing contact is replaced");
        self.say("A second contact in a billing group; still the first one is active ...");
        self.change(&examples::REPLACEMENT, TargetKind::SubUser, Rule::BillingContactSelected)
            .await?;
        self.say("... until the second is selected: there is never more than one.");
        self.change(
            &examples::REPLACEMENT_SELECTED,
            TargetKind::SubUser,
            Rule::BillingContactSelected,
        )
        .await?;
        self.callers.upload(&examples::RE_44).await?;
        self.issue(&examples::INVOICE_FOR_REPLACEMENT, &[Shown::Due, Shown::Sending]).await?;
        self.arrived(5..6).await
    }

    async fn removal(&self) -> anyhow::Result<()> {
        self.head("5. The billing contact is removed");
        self.say("Invoices go to the main contact again, and the daemon can say why.");
        self.change(
            &examples::REPLACEMENT_REMOVED,
            TargetKind::MainContact,
            Rule::BillingContactRemoved,
        )
        .await?;
        self.callers.upload(&examples::RE_45).await?;
        self.issue(&examples::INVOICE_FOR_MAIN_CONTACT, &[Shown::Waiting]).await?;
        let _: Dispatched = self.dispatch(false, Some("K-1001".to_owned())).await?;
        self.arrived(6..7).await
    }

    /// Waits until the daemon has settled every delivery, so that nothing is on its way any more, and
    /// checks that it says why each recipient got what it got.
    async fn settled(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIME_OUT;
        for Expected { account, number, address, rule, .. } in EXPECTED {
            let path = invoices::path(account, number);
            let recipient = loop {
                let view = self.callers.ask(&path).await?;
                let InvoiceView::Whole(invoice) = view else { bail!("{number} is gone: {view:?}") };
                if invoice.state == Shown::Delivered {
                    break invoice.recipient;
                }
                ensure!(Instant::now() < deadline, "{number} is {}, not delivered", invoice.state);
                sleep(POLL).await;
            };
            let recipient = recipient.with_context(|| format!("{number} has no recipient"))?;
            ensure!(
                recipient.addresses.iter().any(|one| one == address),
                "{number} went to {}, not to {address}",
                who(&recipient)
            );
            let found = &recipient.reason.rule;
            ensure!(found == rule, "{number} went out by rule {found}, not {rule}");
        }
        Ok(())
    }

    async fn dispatch<T: DeserializeOwned>(
        &self,
        dry_run: bool,
        account: Option<String>,
    ) -> anyhow::Result<T> {
        let request = DispatchRequest { dry_run, schedule: None, account, reason: None };
        self.callers.operate("/v1/dispatch", &request).await
    }

    /// Pushes a change of an account, and checks who gets its invoices from now on.
    async fn change(&self, event: &Event, kind: TargetKind, rule: Rule) -> anyhow::Result<()> {
        let answer: AccountAnswer = self.callers.push(event).await?;
        let recipient = &answer.recipient;
        ensure!(
            answer.result == Acceptance::Applied
                && recipient.kind == kind
                && recipient.reason.rule == rule,
            "{} should make the recipient a {kind} by rule {rule}: {answer:?}",
            event.file
        );
        self.note(&format!("{} → invoices go to {}", event.file, who(recipient)));
        Ok(())
    }

    /// Hands over an invoice, and checks that it is in one of these states.
    async fn issue(&self, event: &Event, states: &[Shown]) -> anyhow::Result<()> {
        let answer: InvoiceAnswer = self.callers.push(event).await?;
        let InvoiceAnswer { result, number, state, release_at, .. } = &answer;
        ensure!(
            *result == Acceptance::Applied && states.iter().any(|expected| state == expected),
            "{} should be one of {states:?}: {answer:?}",
            event.file
        );
        let until = release_at.filter(|_| *state == Shown::Waiting);
        let until = until.map(|at| format!(" until {}", time(at))).unwrap_or_default();
        self.note(&format!("{} → {number} is {state}{until}", event.file));
        Ok(())
    }

    /// Waits until mails have arrived up to the end of this range, and tells of those in it.
    async fn arrived(&self, range: Range<usize>) -> anyhow::Result<()> {
        let count = range.end;
        if !self.sink.wait_for(count, TIME_OUT).await {
            let seconds = TIME_OUT.as_secs();
            bail!("{} of {count} mails arrived within {seconds} s", self.sink.count());
        }
        for message in self.sink.messages().get(range).unwrap_or_default() {
            let name = message.file.as_deref().and_then(Path::file_name).unwrap_or_default();
            self.note(&format!("arrived: {}", name.display()));
        }
        Ok(())
    }

    fn head(&self, words: &str) {
        self.out.tell(&format!("\n{words}"));
    }

    fn say(&self, words: &str) {
        self.out.tell(&format!("   {words}"));
    }

    fn note(&self, words: &str) {
        self.out.tell(&format!("     {words}"));
    }
}

/// A recipient, its addresses on a line of their own.
fn who(recipient: &Recipient) -> String {
    format!("{}\n         {}", whom(recipient), recipient.addresses.join(", "))
}

/// The mails of the story, for scripts.
pub(super) fn as_json(expected: &[Expected]) -> Vec<Value> {
    let mail = |one: &Expected| {
        let Expected { account, number, address, rule, .. } = one;
        json!({"account": account, "number": number, "address": address, "rule": rule.as_str()})
    };
    expected.iter().map(mail).collect()
}
