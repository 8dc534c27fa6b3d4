//! One world from one seed: a portal, a billing system, operators and a relay around sending, in the runtime's
//! time, and everything that may go wrong between them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use invoice_router::clock::Clock;
use invoice_router::dispatch::{Blocking, Dispatch, DispatchError, Parts, Settings};
use invoice_router::domain::account::Account;
use invoice_router::domain::recipient::OnRejected;
use invoice_router::domain::schedule::Schedules;
use invoice_router::mail::transport::{Dial, Socket, Transport};
use invoice_router::store::{Rules, Store};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::disk::Disk;
use crate::events::Event;
use crate::model::{Limits, Model};
use crate::relay::{Relay, Watch};
use crate::seeds::{Figures, locked};
use crate::{setting, wire};

/// What attempts under way have at a stop.
const GRACE: Duration = Duration::from_secs(10);

/// What became of a world.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) log: Vec<String>,
    pub(crate) violations: Vec<String>,
    pub(crate) figures: Figures,
}

/// Lives through the world of a seed; documents lie in `directory`.
pub(crate) fn live(seed: u64, directory: &Path) -> Outcome {
    // The jitter of retries and probes comes from here; it is not to go with the world's own numbers.
    fastrand::seed(!seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    wire::parsed(runtime).block_on(async { World::new(seed, directory).live().await })
}

pub(crate) struct World {
    pub(crate) rng: fastrand::Rng,
    pub(crate) disk: Disk,
    model: Arc<Mutex<Model>>,
    pub(crate) relay: Relay,
    pub(crate) clock: Clock,
    pub(crate) wake_up: Arc<Notify>,
    rules: Rules,
    settings: Settings,
    transport: Arc<Transport>,
    schedules: Schedules,
    running: Option<Running>,
    /// What the portal believes.
    pub(crate) portal: BTreeMap<String, Account>,
    /// Some of what was sent, to be sent again.
    pub(crate) sent: Vec<Event>,
    /// The last invoice's number.
    pub(crate) numbers: u64,
    /// The last event's.
    pub(crate) ids: u64,
    pub(crate) figures: Figures,
}

/// Sending under way.
struct Running {
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<(), DispatchError>>,
}

impl World {
    fn new(seed: u64, directory: &Path) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let clock = Clock::of_the_runtime(setting::beginning(&mut rng));
        let rules = setting::rules(&mut rng);
        let settings = setting::settings(&mut rng, &rules);
        let falls_back = rules.on_rejected == OnRejected::MainContact;
        let limits = Limits {
            falls_back,
            after_uncertain: rules.policy.after_uncertain,
            // Those beside the one that pulls the brake may be at it, and come to further addresses before it holds.
            // And the relay may reject what is dropped anyhow, since its account has changed: that doesn't count.
            rejections: settings.rejections_max + 3 * settings.connections,
        };
        let model = Arc::new(Mutex::new(Model::new(clock.clone(), limits)));
        let relay = Relay::new(rng.u64(..), settings.connections);
        let watch: Arc<Mutex<dyn Watch>> = Arc::clone(&model) as _;
        let dialled = relay.clone();
        let dial = Dial::With(Arc::new(move || {
            let socket = dialled.connect(Arc::clone(&watch))?;
            Ok(Box::new(socket) as Box<dyn Socket>)
        }));
        Self {
            disk: Disk::new(directory, Arc::clone(&model)),
            model,
            relay,
            clock,
            wake_up: Arc::default(),
            rules,
            settings,
            transport: Arc::new(setting::transport(dial)),
            schedules: setting::schedules(&mut rng),
            running: None,
            portal: BTreeMap::new(),
            sent: Vec::new(),
            numbers: 0,
            ids: 0,
            figures: Figures::default(),
            rng,
        }
    }

    async fn live(mut self) -> Outcome {
        let began = Instant::now();
        let committing = tokio::spawn(self.disk.clone().run());
        self.open();
        self.start();
        let steps = self.rng.usize(30..120);
        for _ in 0..steps {
            self.step().await;
            if !self.model().violations.is_empty() {
                break;
            }
        }
        if self.model().violations.is_empty() {
            self.end().await;
        }
        if let Some(running) = self.running.take() {
            self.stop(running).await;
        }
        committing.abort();
        self.verify();
        self.figures.add("hours", began.elapsed().as_secs() / 3_600);
        self.figures.add("troubles of the relay", self.relay.seen().troubles);
        let mut model = locked(&self.model);
        self.figures.add_all(&model.figures);
        self.figures.add("invoices", model.invoices.len() as u64);
        let (log, violations) =
            (std::mem::take(&mut model.log), std::mem::take(&mut model.violations));
        // It holds the store, which holds on to its directory.
        model.store = None;
        drop(model);
        Outcome { log, violations, figures: self.figures }
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        locked(&self.model)
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        let store = self.model().store.clone();
        wire::parsed(store.ok_or("no store is open"))
    }

    fn open(&mut self) {
        match self.disk.memory.open(self.rules.clone()) {
            Ok(store) => self.model().store = Some(store),
            Err(failure) => self.model().wrong(format!("the store cannot be opened: {failure}")),
        }
    }

    pub(crate) fn start(&mut self) {
        let dispatch = Dispatch::new(Parts {
            blocking: Blocking::Tasks,
            store: self.store(),
            clock: self.clock.clone(),
            wake_up: Arc::clone(&self.wake_up),
            transport: Arc::clone(&self.transport),
            templates: wire::templates(),
            settings: self.settings.clone(),
            schedules: self.schedules.clone(),
        });
        let (shutdown, signal) = watch::channel(false);
        self.running = Some(Running { shutdown, task: tokio::spawn(dispatch.run(signal, GRACE)) });
    }

    async fn stop(&mut self, running: Running) {
        running.shutdown.send_replace(true);
        match running.task.await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => self.model().wrong(format!("sending ended: {failure}")),
            Err(error) => self.model().wrong(format!("sending crashed: {error}")),
        }
    }

    /// The process ends where it stands. What the disk had not taken is lost; of what it had, the answers may be.
    async fn crash(&mut self) {
        self.figures.count("crashes");
        let Some(running) = self.running.take() else {
            return;
        };
        if running.task.is_finished() {
            return self.stop(running).await;
        }
        running.task.abort();
        // Cancelled or, in the same moment, at its end.
        drop(running.task.await);
        // Its tasks are dropped when the runtime comes to them.
        sleep(Duration::from_millis(1)).await;
        let written = [0, 1, 2, usize::MAX][self.rng.usize(..4)];
        self.model().note(format!("crash; the disk has the first {written} of what was waiting"));
        self.disk.crash(written);
        self.next_process();
    }

    /// The process ends in order, and another one begins.
    async fn restart(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        self.model().note("stops and starts");
        self.stop(running).await;
        // What the grace cut off is dropped when the runtime comes to it.
        sleep(Duration::from_millis(1)).await;
        self.disk.commit(false);
        self.next_process();
    }

    fn next_process(&mut self) {
        let mut model = self.model();
        model.rejections.clear();
        model.store = None;
        drop(model);
        self.verify();
        self.open();
        self.start();
    }

    fn verify(&self) {
        let mut findings = Vec::new();
        let verified = self.disk.memory.verify(&mut |finding| findings.push(finding));
        let mut model = self.model();
        if let Err(failure) = verified {
            model.wrong(format!("the store cannot be verified: {failure}"));
        }
        for finding in findings {
            model.wrong(format!("verify: {}: {}", finding.place, finding.what));
        }
    }

    async fn step(&mut self) {
        let lag = [0, 1, 20, 400][self.rng.usize(..4)];
        self.disk.set_lag(Duration::from_millis(self.rng.u64(..=lag)));
        match self.rng.u32(..100) {
            0..30 => self.portal_acts().await,
            30..52 => self.billing_acts().await,
            52..58 => self.withdraws(),
            58..70 => self.operator_acts(),
            70..74 => self.pauses(),
            74..82 => self.weather_changes(),
            82..87 => self.crash().await,
            87..89 => self.restart().await,
            89..92 => self.clock_jumps(),
            92..95 => self.an_address_dies(),
            95..97 => self.dispatches(),
            97..98 => self.sweeps(),
            _ => self.retries().await,
        }
        let wait = match self.rng.u8(..) {
            0..100 => self.rng.u64(..50),
            100..200 => self.rng.u64(..5_000),
            200..245 => self.rng.u64(..120_000),
            _ => self.rng.u64(..1_800_000),
        };
        sleep(Duration::from_millis(wait)).await;
    }
}
