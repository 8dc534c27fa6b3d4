//! A store in memory, a relay, and sending between them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use invoice_router::clock::Clock;
use invoice_router::config::Security;
use invoice_router::dispatch::{Blocking, Dispatch, DispatchError, Parts, Settings, Status};
use invoice_router::domain::account::{Profile, SubUser};
use invoice_router::domain::address::{EmailAddress, FileName, HeaderText, MailDomain, Mailbox};
use invoice_router::domain::change::{AccountChange, ChangeKind};
use invoice_router::domain::contact::{Addresses, Contact, Language};
use invoice_router::domain::delivery::Shown;
use invoice_router::domain::id::{
    AccountId, Digest, Group, InvoiceNumber, ScheduleName, SenderName, SubUserId, Version,
    WebhookId,
};
use invoice_router::domain::invoice::{Document, Documents, Invoice, Kind, MediaType, Release};
use invoice_router::domain::money::{Currency, Money};
use invoice_router::domain::schedule::{Schedule, Schedules, Timetable};
use invoice_router::mail::compose::Brand;
use invoice_router::mail::template::Templates;
use invoice_router::mail::transport::{SmtpSettings, SmtpTransport, Transport};
use invoice_router::store::{
    ChangeAnswer, Deduplicated, InvoiceView, IssueAnswer, Memory, Received, Rules, RunScope, Store,
    WholeInvoice,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::relay::{Gate, Moment, Reaction, Relay};
use crate::smtp::timeouts;
use crate::store_contract::rules_for;

/// After this something that should happen fails the test.
const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(10);

/// Waits for what should happen soon.
pub(super) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("within {PATIENCE:?}: {what}"))
}

pub(super) fn at(raw: &str) -> DateTime<Utc> {
    format!("2026-11-{raw}:00Z").parse().unwrap()
}

pub(super) fn account(raw: &str) -> AccountId {
    AccountId::parse(raw).unwrap()
}

fn text(raw: &str) -> HeaderText {
    HeaderText::parse(raw).unwrap()
}

fn address(raw: &str) -> EmailAddress {
    EmailAddress::parse(raw).unwrap()
}

fn contact(name: &str, addresses: &[&str]) -> Contact {
    let addresses = addresses.iter().map(|raw| address(raw)).collect();
    Contact {
        name: text(name),
        company: None,
        language: None,
        addresses: Addresses::parse(addresses).unwrap(),
    }
}

/// Sending under way.
pub(super) struct Running {
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<(), DispatchError>>,
    pub(super) status: Status,
}

impl Running {
    /// Lets attempts come to their end.
    pub(super) async fn stop(self) {
        self.shutdown.send_replace(true);
        self.ended().await.unwrap();
    }

    /// Begins to stop, without waiting.
    pub(super) fn tell_to_stop(&self) {
        self.shutdown.send_replace(true);
    }

    /// Ends without a chance to settle anything.
    pub(super) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    pub(super) async fn ended(self) -> Result<(), DispatchError> {
        patiently("sending ends", self.task).await.unwrap()
    }
}

/// Everything around sending.
pub(super) struct House {
    memory: Memory,
    pub(super) store: Arc<dyn Store>,
    pub(super) relay: Relay,
    pub(super) clock: Clock,
    pub(super) wake_up: Arc<Notify>,
    pub(super) settings: Settings,
    pub(super) schedules: Schedules,
    templates: Arc<Templates>,
    directory: tempfile::TempDir,
}

impl House {
    /// At 7:00 on the 23rd; the schedule fires at 8:00 each day.
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(directory.path()).unwrap();
        let rules = Rules { documents_bytes: 8 * 1024 * 1024, ..rules_for("Rechnungen") };
        let schedule = Schedule::parse("0 8 * * *", chrono_tz::UTC).unwrap();
        let timetable = Timetable { schedule, catch_up: true };
        Self {
            store: memory.open(rules.clone()).unwrap(),
            memory,
            relay: Relay::start().await,
            clock: Clock::manual(at("23T07:00")),
            wake_up: Arc::default(),
            settings: Settings {
                brand: Brand {
                    name: None,
                    from: address("rechnung@haus.example"),
                    reply_to: Mailbox::parse("buchhaltung@haus.example").unwrap(),
                },
                envelope_from: address("bounce@haus.example"),
                message_id_domain: MailDomain::parse("mail.haus.example").unwrap(),
                default_language: Language::parse("de").unwrap(),
                message_bytes: 16 * 1024 * 1024,
                connections: 4,
                connection_idle: Duration::from_secs(60),
                probe_first: Duration::from_millis(20),
                rules,
                rejections_max: 100,
                tick: Duration::from_millis(10),
            },
            schedules: Schedules::from_iter([(ScheduleName::default(), timetable)]),
            templates: Arc::new(Templates::load(None).unwrap()),
            directory,
        }
    }

    /// With the account K-1: the main contact's addresses, and the selected billing contact's if any.
    pub(super) async fn with(main: &[&str], billing: &[&str]) -> Self {
        let house = Self::new().await;
        house.account("K-1", 1, main, billing).await;
        house
    }

    pub(super) fn start(&self) -> Running {
        self.start_over(Arc::clone(&self.store))
    }

    /// Starts over another store than the house's own.
    pub(super) fn start_over(&self, store: Arc<dyn Store>) -> Running {
        let transport = SmtpTransport::new(SmtpSettings {
            host: "127.0.0.1".to_owned(),
            port: self.relay.port,
            security: Security::None,
            credentials: None,
            ca: None,
            helo_name: "client.example".to_owned(),
            timeouts: timeouts(PATIENCE),
        });
        let dispatch = Dispatch::new(Parts {
            blocking: Blocking::Threads,
            store,
            clock: self.clock.clone(),
            wake_up: Arc::clone(&self.wake_up),
            transport: Arc::new(Transport::Smtp(transport.unwrap())),
            templates: Arc::clone(&self.templates),
            settings: self.settings.clone(),
            schedules: self.schedules.clone(),
        });
        let status = dispatch.status();
        let (shutdown, signal) = watch::channel(false);
        Running { shutdown, task: tokio::spawn(dispatch.run(signal, GRACE)), status }
    }

    /// Has the relay stand at these moments, and say yes to all others.
    pub(super) fn gate(
        &self,
        mut is_meant: impl FnMut(&Moment) -> bool + Send + 'static,
    ) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        let waits = Arc::clone(&gate);
        self.relay.behave(move |moment| {
            if is_meant(moment) { Reaction::Wait(Arc::clone(&waits)) } else { Reaction::Yes }
        });
        gate
    }

    /// Has the relay stand at the first of these moments.
    pub(super) fn gate_at_first(
        &self,
        is_meant: impl Fn(&Moment) -> bool + Send + 'static,
    ) -> Arc<Gate> {
        let mut stands = true;
        self.gate(move |moment| is_meant(moment) && std::mem::take(&mut stands))
    }

    /// Removes every document's bytes behind the store's back.
    pub(super) fn lose_documents(&self) {
        for day in std::fs::read_dir(self.directory.path().join("documents")).unwrap() {
            for file in std::fs::read_dir(day.unwrap().path()).unwrap() {
                std::fs::remove_file(file.unwrap().path()).unwrap();
            }
        }
    }

    /// Opens the store again, as after a crash.
    pub(super) fn reopen(&mut self) {
        self.store = self.memory.open(self.settings.rules.clone()).unwrap();
    }

    /// Saves a whole account: the main contact's addresses, and the selected billing contact's if any.
    /// Returns what is in flight to another recipient.
    pub(super) async fn account(
        &self,
        id: &str,
        version: u64,
        main: &[&str],
        billing: &[&str],
    ) -> Vec<InvoiceNumber> {
        self.account_of_schedule(id, version, main, billing, None).await
    }

    pub(super) async fn account_of_schedule(
        &self,
        id: &str,
        version: u64,
        main: &[&str],
        billing: &[&str],
        schedule: Option<&str>,
    ) -> Vec<InvoiceNumber> {
        let sub_user = SubUserId::parse("u-7").unwrap();
        let sub_users = (!billing.is_empty()).then(|| {
            let member = SubUser {
                group: Group::parse("Rechnungen").unwrap(),
                contact: contact("Buchhaltung", billing),
                login: None,
            };
            (sub_user.clone(), member)
        });
        let change = AccountChange {
            account: account(id),
            version: Version::parse(version).unwrap(),
            timestamp: self.clock.now(),
            kind: ChangeKind::Updated(Profile {
                name: None,
                language: None,
                schedule: schedule.map(|name| ScheduleName::parse(name).unwrap()),
                main_contact: contact("Erika Muster", main),
                billing_contact: sub_users.as_ref().map(|(id, _)| id.clone()),
                sub_users: sub_users.into_iter().collect(),
            }),
        };
        let received = self.received(&format!("{id}-{version}"));
        let answer = self.store.change_account(received, change).await.unwrap();
        self.wake_up.notify_one();
        match answer {
            Deduplicated::New(ChangeAnswer::Accepted { in_flight, .. }) => in_flight,
            other => panic!("{other:?}"),
        }
    }

    /// Hands over an invoice with one small document.
    pub(super) async fn invoice(&self, id: &str, number: &str, release: Release) {
        let bytes = format!("%PDF {number}").into_bytes();
        self.invoice_over(bytes, id, number, release).await;
    }

    /// Hands over an invoice over one document with these bytes.
    pub(super) async fn invoice_over(
        &self,
        bytes: Vec<u8>,
        id: &str,
        number: &str,
        release: Release,
    ) {
        let digest = Digest::of(&bytes);
        let store = Arc::clone(&self.store);
        let now = self.clock.now();
        tokio::task::spawn_blocking(move || store.put_document(digest, &bytes, now).wait())
            .await
            .unwrap()
            .unwrap();
        let invoice = Invoice {
            account: account(id),
            number: InvoiceNumber::parse(number).unwrap(),
            kind: Kind::Invoice,
            issued_on: now.date_naive(),
            due_on: None,
            total: Money::parse("119.00", Currency::parse("EUR").unwrap()).unwrap(),
            release,
            min_account_version: None,
            portal_url: None,
            documents: Documents::parse(vec![Document {
                digest,
                file_name: FileName::parse("rechnung.pdf").unwrap(),
                media_type: MediaType::parse("application/pdf").unwrap(),
            }])
            .unwrap(),
        };
        let answer = self.store.issue(self.received(number), invoice).await;
        assert!(
            matches!(
                answer,
                Ok(Deduplicated::New(IssueAnswer::Applied(_) | IssueAnswer::Parked(_)))
            ),
            "{answer:?}"
        );
        self.wake_up.notify_one();
    }

    pub(super) fn whole(&self, id: &str, number: &str) -> WholeInvoice {
        let number = InvoiceNumber::parse(number).unwrap();
        match self.store.invoice(&account(id), &number).unwrap() {
            Some(InvoiceView::Whole(whole)) => *whole,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until an invoice is in a state.
    pub(super) async fn until(&self, id: &str, number: &str, state: Shown) -> WholeInvoice {
        self.until_it_is(id, number, &format!("{number} is {state}"), |whole| whole.state == state)
            .await
    }

    pub(super) async fn until_it_is(
        &self,
        id: &str,
        number: &str,
        what: &str,
        wanted: impl Fn(&WholeInvoice) -> bool,
    ) -> WholeInvoice {
        self.until_true(what, || wanted(&self.whole(id, number))).await;
        self.whole(id, number)
    }

    /// Waits until something of the store is so.
    pub(super) async fn until_true(&self, what: &str, wanted: impl Fn() -> bool) {
        patiently(what, async {
            while !wanted() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Waits until the dispatcher has gone round so often that it has read everything that is due.
    pub(super) async fn until_the_dispatcher_went_round(&self, running: &Running) {
        let beats = running.status.progress.dispatcher();
        self.until_true("the dispatcher goes round", || {
            self.wake_up.notify_one();
            running.status.progress.dispatcher() > beats + 20
        })
        .await;
    }

    pub(super) fn open_runs(&self) -> usize {
        let runs = self.store.runs().unwrap();
        runs.iter().filter(|run| run.open).count()
    }

    /// Waits until the schedules have been looked at, at the clock's time.
    pub(super) async fn until_noted(&self) {
        self.until_true("the schedule is noted", || {
            let runs = self.store.runs().unwrap();
            runs.iter().any(|run| run.scope == RunScope::Schedule(ScheduleName::default()))
        })
        .await;
    }

    fn received(&self, id: &str) -> Received {
        let name: String =
            id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        Received {
            sender: SenderName::parse("portal").unwrap(),
            body: Digest::of(name.as_bytes()),
            id: WebhookId::parse(name).unwrap(),
            at: self.clock.now(),
        }
    }
}
