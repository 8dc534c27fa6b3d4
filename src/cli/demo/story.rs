//! The story that the demo plays: two accounts, five invoices, three billing contacts one after another.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::callers::Callers;
use super::examples::{self, Event};
use super::mails::Expected;
use super::sink::Sink;
use crate::cli::admin::segment;
use crate::cli::out::{Out, list, text};
pub(super) use crate::cli::words::rule_in_words as in_words;
use crate::cli::words::{addresses, whom};

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
        rule: "billing_contact_selected",
        subject: "Rechnung RE-2026/0043 ",
        documents: &[examples::RE_43, examples::RE_43_XML],
    },
    Expected {
        account: "K-1001",
        number: "RE-2026/0043",
        address: "buchhaltung@muster.example",
        rule: "billing_contact_selected",
        subject: "Rechnung RE-2026/0043 ",
        documents: &[examples::RE_43, examples::RE_43_XML],
    },
    Expected {
        account: "K-1001",
        number: "RE-2026/0042",
        address: "rechnungseingang@muster.example",
        rule: "billing_contact_selected",
        subject: "Rechnung RE-2026/0042 ",
        documents: &[examples::RE_42],
    },
    Expected {
        account: "K-1001",
        number: "RE-2026/0042",
        address: "buchhaltung@muster.example",
        rule: "billing_contact_selected",
        subject: "Rechnung RE-2026/0042 ",
        documents: &[examples::RE_42],
    },
    Expected {
        account: "K-2001",
        number: "INV-2026-0007",
        address: "invoices@sample.example",
        rule: "billing_contact_selected",
        subject: "Invoice INV-2026-0007 ",
        documents: &[examples::INV_7],
    },
    Expected {
        account: "K-1001",
        number: "RE-2026/0044",
        address: "muster-gmbh@steuerberatung.example",
        rule: "billing_contact_selected",
        subject: "Rechnung RE-2026/0044 ",
        documents: &[examples::RE_44],
    },
    Expected {
        account: "K-1001",
        number: "RE-2026/0045",
        address: "erika@muster.example",
        rule: "billing_contact_removed",
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
        self.change(&examples::ACCOUNT, "main_contact", "no_billing_contact").await?;
        self.say("A login for the technician, in group \"Technik\", changes nothing about that.");
        self.change(&examples::TECHNICIAN, "main_contact", "no_billing_contact").await?;
        self.say(
            "Neither does a contact for the accounting department, as long as nobody selects it:",
        );
        self.say("copied from the main contact, two addresses of its own, group \"Rechnungen\", no login.");
        self.change(&examples::BILLING_CONTACT, "main_contact", "no_billing_contact").await?;
        self.say("Now it is selected in the payment settings.");
        self.change(&examples::BILLING_CONTACT_SELECTED, "sub_user", "billing_contact_selected")
            .await?;
        self.say("An English account comes as a whole, with its billing contact selected.");
        self.change(&examples::ENGLISH_ACCOUNT, "sub_user", "billing_contact_selected").await
    }

    async fn invoices(&self) -> anyhow::Result<()> {
        self.head("2. The billing system hands over invoices");
        for document in [examples::RE_42, examples::RE_43, examples::RE_43_XML] {
            self.callers.upload(&document).await?;
        }
        self.say("Two invoices wait for the schedule; one brings its document along.");
        self.issue(&examples::INVOICE_SCHEDULED, &["waiting"]).await?;
        self.issue(&examples::ENGLISH_INVOICE, &["waiting"]).await?;
        self.say("One with PDF and XML is to be sent immediately, and is.");
        self.issue(&examples::INVOICE_IMMEDIATE, &["due", "sending"]).await?;
        self.arrived(0..2).await
    }

    async fn schedule(&self) -> anyhow::Result<()> {
        self.head("3. The schedule fires");
        self.say("It would in half a day; `dispatch` fires it now. Before, `dispatch --dry-run`:");
        let plan = self.callers.operate("/v1/dispatch", &json!({"dry_run": true})).await?;
        let items = list(&plan, "/items");
        ensure!(items.len() == 2, "two accounts should have something waiting: {plan}");
        for item in items {
            let account = text(item, "/account");
            let recipient = who(&item["recipient"]);
            for invoice in list(item, "/invoices") {
                let number = text(invoice, "/number");
                self.note(&format!("{account}, {number} → would go to {recipient}"));
            }
        }
        self.say("Then for good: both addresses get it, main contact and technician nothing.");
        self.callers.operate("/v1/dispatch", &json!({})).await?;
        self.arrived(2..5).await
    }

    async fn replacement(&self) -> anyhow::Result<()> {
        self.head("4. The billing contact is replaced");
        self.say("A second contact in a billing group; still the first one is active ...");
        self.change(&examples::REPLACEMENT, "sub_user", "billing_contact_selected").await?;
        self.say("... until the second is selected: there is never more than one.");
        self.change(&examples::REPLACEMENT_SELECTED, "sub_user", "billing_contact_selected")
            .await?;
        self.callers.upload(&examples::RE_44).await?;
        self.issue(&examples::INVOICE_FOR_REPLACEMENT, &["due", "sending"]).await?;
        self.arrived(5..6).await
    }

    async fn removal(&self) -> anyhow::Result<()> {
        self.head("5. The billing contact is removed");
        self.say("Invoices go to the main contact again, and the daemon can say why.");
        self.change(&examples::REPLACEMENT_REMOVED, "main_contact", "billing_contact_removed")
            .await?;
        self.callers.upload(&examples::RE_45).await?;
        self.issue(&examples::INVOICE_FOR_MAIN_CONTACT, &["waiting"]).await?;
        self.callers.operate("/v1/dispatch", &json!({"account": "K-1001"})).await?;
        self.arrived(6..7).await
    }

    /// Waits until the daemon has settled every delivery, so that nothing is on its way any more, and
    /// checks that it says why each recipient got what it got.
    async fn settled(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIME_OUT;
        for Expected { account, number, address, rule, .. } in EXPECTED {
            let path = format!("/v1/accounts/{}/invoices/{}", segment(account), segment(number));
            let invoice = loop {
                let invoice = self.callers.ask(&path).await?;
                if text(&invoice, "/state") == "delivered" {
                    break invoice;
                }
                ensure!(
                    Instant::now() < deadline,
                    "{number} is {}, not delivered",
                    text(&invoice, "/state")
                );
                sleep(POLL).await;
            };
            let recipient = &invoice["recipient"];
            ensure!(
                list(recipient, "/addresses").contains(&json!(address)),
                "{number} went to {}, not to {address}",
                who(recipient)
            );
            let found = text(recipient, "/reason/rule");
            ensure!(found == *rule, "{number} went out by rule {found}, not {rule}");
        }
        Ok(())
    }

    /// Pushes a change of an account, and checks who gets its invoices from now on.
    async fn change(&self, event: &Event, kind: &str, rule: &str) -> anyhow::Result<()> {
        let answer = self.callers.push(event).await?;
        let recipient = &answer["recipient"];
        ensure!(
            text(&answer, "/result") == "applied"
                && text(recipient, "/kind") == kind
                && text(recipient, "/reason/rule") == rule,
            "{} should make the recipient a {kind} by rule {rule}: {answer}",
            event.file
        );
        self.note(&format!("{} → invoices go to {}", event.file, who(recipient)));
        Ok(())
    }

    /// Hands over an invoice, and checks that it is in one of these states.
    async fn issue(&self, event: &Event, states: &[&str]) -> anyhow::Result<()> {
        let answer = self.callers.push(event).await?;
        let state = text(&answer, "/state");
        ensure!(
            text(&answer, "/result") == "applied" && states.contains(&state),
            "{} should be {}: {answer}",
            event.file,
            states.join(" or ")
        );
        let until = match text(&answer, "/release_at") {
            at if state == "waiting" => format!(" until {at}"),
            _ => String::new(),
        };
        self.note(&format!("{} → {} is {state}{until}", event.file, text(&answer, "/number")));
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
fn who(recipient: &Value) -> String {
    format!("{}\n         {}", whom(recipient), addresses(recipient))
}

/// The mails of the story, for scripts.
pub(super) fn as_json(expected: &[Expected]) -> Vec<Value> {
    let mail = |one: &Expected| {
        let Expected { account, number, address, rule, .. } = one;
        json!({"account": account, "number": number, "address": address, "rule": rule})
    };
    expected.iter().map(mail).collect()
}
