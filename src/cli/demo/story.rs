//! The story that the demo plays: two accounts, five invoices, three billing contacts one after another.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::callers::Callers;
use super::examples::{Event, event};
use super::mails::Expected;
use super::sink::Sink;
use crate::api::{
    Acceptance, AccountAnswer, DispatchRequest, Dispatched, DryRun, Invoice, InvoiceAnswer,
    InvoiceView, Planned, Recipient,
};
use crate::cli::client::Client;
use crate::cli::invoices;
use crate::cli::out::Out;
use crate::cli::words::{time, whom};
use crate::domain::delivery::Shown;
use crate::domain::recipient::Rule::{
    self, BillingContactRemoved as Removed, BillingContactSelected as Selected, NoBillingContact,
};

/// How long mails may take to arrive, and deliveries to be settled.
const TIME_OUT: Duration = Duration::from_secs(20);
/// How often is asked whether all is settled.
const POLL: Duration = Duration::from_millis(10);

/// Every mail of the story, in its order.
pub(super) const EXPECTED: &[Expected] = &[
    mail("RE-2026/0043", "rechnungseingang@muster.example", Selected, RE_43),
    mail("RE-2026/0043", "buchhaltung@muster.example", Selected, RE_43),
    mail("RE-2026/0042", "rechnungseingang@muster.example", Selected, &["RE-2026-0042.pdf"]),
    mail("RE-2026/0042", "buchhaltung@muster.example", Selected, &["RE-2026-0042.pdf"]),
    Expected {
        account: "K-2001",
        ..mail("INV-2026-0007", "invoices@sample.example", Selected, &["INV-2026-0007.pdf"])
    },
    mail("RE-2026/0044", "muster-gmbh@steuerberatung.example", Selected, &["RE-2026-0044.pdf"]),
    mail("RE-2026/0045", "erika@muster.example", Removed, &["RE-2026-0045.pdf"]),
];
const RE_43: &[&str] = &["RE-2026-0043.pdf", "RE-2026-0043.xml"];

const fn mail(
    number: &'static str,
    address: &'static str,
    rule: Rule,
    documents: &'static [&'static str],
) -> Expected {
    Expected { account: "K-1001", number, address, rule, documents }
}

/// A step of the story.
enum Step {
    Head(&'static str),
    Say(&'static str),
    /// The portal pushes a change of an account. This rule selects the recipient from then on.
    Change(Event, Rule),
    /// The billing system hands over an invoice with its documents. It is then in one of these states.
    Issue(Event, &'static [Shown]),
    /// `dispatch --dry-run`.
    Plan,
    /// `dispatch`, of this account or of all.
    Dispatch(Option<&'static str>),
    /// So many mails have arrived.
    Arrived(usize),
}

use Step::{Arrived, Change, Dispatch, Head, Issue, Plan, Say};

const AT_ONCE: &[Shown] = &[Shown::Due, Shown::Sending];
const WAITING: &[Shown] = &[Shown::Waiting];

const STORY: &[Step] = &[
    Head("1. The portal pushes account K-1001 and its contacts"),
    Say("A new account has a main contact only, who gets the invoices."),
    Change(event!("01-account-updated.json"), NoBillingContact),
    Say("A login for the technician, in group \"Technik\", changes nothing about that."),
    Change(event!("02-technician-added.json"), NoBillingContact),
    Say("Neither does a contact for the accounting department, as long as it is not selected:"),
    Say("copied from the main contact, two addresses of its own, group \"Rechnungen\", no login."),
    Change(event!("03-billing-contact-added.json"), NoBillingContact),
    Say("Now it is selected in the payment settings."),
    Change(event!("04-billing-contact-selected.json"), Selected),
    Say("An English account comes as a whole, with its billing contact selected."),
    Change(event!("12-english-account-updated.json"), Selected),
    Head("2. The billing system hands over invoices"),
    Say("Two invoices wait for the schedule; one brings its document along."),
    Issue(event!("05-invoice-for-the-schedule.json"), WAITING),
    Issue(event!("13-english-invoice-with-document-inside.json"), WAITING),
    Say("One with PDF and XML is to be sent immediately, and is."),
    Issue(event!("06-invoice-sent-immediately.json"), AT_ONCE),
    Arrived(2),
    Head("3. The schedule fires"),
    Say("It would in half a day; `dispatch` fires it now. Before, `dispatch --dry-run`:"),
    Plan,
    Say("Then for good: both addresses get it, main contact and technician nothing."),
    Dispatch(None),
    Arrived(5),
    Head("4. The billing contact is replaced"),
    Say("A second contact in a billing group; still the first one is active ..."),
    Change(event!("07-replacement-added.json"), Selected),
    Say("... until the second is selected: there is never more than one."),
    Change(event!("08-replacement-selected.json"), Selected),
    Issue(event!("09-invoice-for-the-replacement.json"), AT_ONCE),
    Arrived(6),
    Head("5. The billing contact is removed"),
    Say("Invoices go to the main contact again, and the daemon can say why."),
    Change(event!("10-replacement-removed.json"), Removed),
    Issue(event!("11-invoice-for-the-main-contact.json"), WAITING),
    Dispatch(Some("K-1001")),
    Arrived(7),
];

/// Who plays, and who watches.
#[derive(Debug)]
pub(super) struct Story<'a> {
    pub(super) callers: &'a Callers,
    /// The operator's.
    pub(super) admin: &'a Client,
    pub(super) sink: &'a Sink,
    pub(super) out: &'a Out,
}

impl Story<'_> {
    /// Plays the story to its end; stops at the first answer that is not as it should be.
    pub(super) async fn play(&self) -> anyhow::Result<()> {
        let mut arrived = 0;
        for step in STORY {
            match step {
                Head(words) => self.out.tell(&format!("\n{words}")),
                Say(words) => self.out.tell(&format!("   {words}")),
                Change(event, rule) => self.change(event, *rule).await?,
                Issue(event, states) => self.issue(event, states).await?,
                Plan => self.plan().await?,
                Dispatch(account) => {
                    let _: Dispatched = self.dispatch(false, *account).await?;
                }
                Arrived(count) => {
                    self.arrived(arrived, *count).await?;
                    arrived = *count;
                }
            }
        }
        self.settled().await
    }

    async fn change(&self, event: &Event, rule: Rule) -> anyhow::Result<()> {
        let answer: AccountAnswer = self.callers.push(event).await?;
        let recipient = &answer.recipient;
        ensure!(
            answer.result == Acceptance::Applied && recipient.reason.rule == rule,
            "{} should be applied and lead to rule {rule}: {answer:?}",
            event.file
        );
        self.note(&format!("{} → invoices go to {}", event.file, who(recipient)));
        Ok(())
    }

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

    async fn plan(&self) -> anyhow::Result<()> {
        let plan: DryRun = self.dispatch(true, None).await?;
        ensure!(plan.items.len() == 2, "two accounts should have something waiting: {plan:?}");
        for Planned { account, recipient, invoices, paused: _ } in plan.items {
            for Invoice { number, .. } in invoices {
                self.note(&format!("{account}, {number} → would go to {}", who(&recipient)));
            }
        }
        Ok(())
    }

    async fn dispatch<T: DeserializeOwned>(
        &self,
        dry_run: bool,
        account: Option<&str>,
    ) -> anyhow::Result<T> {
        let account = account.map(str::to_owned);
        let request = DispatchRequest { dry_run, schedule: None, account, reason: None };
        Ok(self.admin.post("/v1/dispatch", &request).await?.value)
    }

    /// Waits until so many mails have arrived, and tells of those after the first `known`.
    async fn arrived(&self, known: usize, count: usize) -> anyhow::Result<()> {
        if !self.sink.wait_for(count, TIME_OUT).await {
            let seconds = TIME_OUT.as_secs();
            bail!("{} of {count} mails arrived within {seconds} s", self.sink.count());
        }
        for message in self.sink.messages().get(known..count).unwrap_or_default() {
            let name = message.file.as_deref().and_then(Path::file_name).unwrap_or_default();
            self.note(&format!("arrived: {}", name.display()));
        }
        Ok(())
    }

    /// Waits until the daemon has settled every delivery, so that nothing is on its way any more, and
    /// checks that it says why each recipient got what it got.
    async fn settled(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIME_OUT;
        for Expected { account, number, address, rule, .. } in EXPECTED {
            let path = invoices::path(account, number);
            let recipient = loop {
                let view = self.admin.get(&path).await?.value;
                let InvoiceView::Whole(invoice) = view else { bail!("{number} is gone: {view:?}") };
                if invoice.state == Shown::Delivered {
                    break invoice
                        .recipient
                        .with_context(|| format!("{number} has no recipient"))?;
                }
                ensure!(Instant::now() < deadline, "{number} is {}, not delivered", invoice.state);
                sleep(POLL).await;
            };
            let (found, who) = (&recipient.reason.rule, who(&recipient));
            ensure!(
                recipient.addresses.iter().any(|one| one == address) && found == rule,
                "{number} went to {who} by rule {found}, not to {address} by {rule}"
            );
        }
        Ok(())
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
