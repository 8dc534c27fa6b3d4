//! How the relay fares, and how hard it may be asked.
//!
//! Pure: time is an argument, what to do about it is the dispatcher's. Three judgements live here.
//! - The [`Circuit`] opens when the relay itself fails, or leaves one message after the other without an answer to
//!   its final dot: a single one may be the message's fault, but each of them may be a second copy later. While it
//!   is open nothing is claimed; one probe at a time, at growing distances, finds out when the relay is back.
//! - A ceiling, a part of it: a relay that turns one more connection away while others are served is not
//!   down; it allows no more, and is asked again after a while.
//! - The ramp, a part of it: after an opening (and after the start) one connection is used, and twice as
//!   many each time that all of them brought something to an end, so that a relay that just came back is
//!   not knocked over.
//! - The [`RejectionsGuard`] notices when so many addresses are rejected that the fault must be ours.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::domain::retry::REJECTIONS_WINDOW;

/// Probes move apart up to so many times the first distance.
const PROBE_DOUBLINGS: u32 = 6;
/// So many messages in a row without an answer to the final dot are the relay's failure.
const UNANSWERED_MAX: u32 = 3;
/// For how long a relay is believed that it allows no more connections.
const CEILING: Duration = Duration::from_secs(600);

/// How the relay fares, for readiness and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayState {
    /// Nothing was tried since the start.
    Untried,
    /// It answered last time.
    Up,
    /// It failed; nothing is sent until a probe succeeds.
    Down {
        /// When the circuit opened.
        since: DateTime<Utc>,
        /// What went wrong last, without address and secret.
        cause: String,
    },
}

/// Which opening of the circuit an attempt belongs to: what fails from before the last one says nothing
/// about now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// Whether the relay may be used, and with how many connections at once.
#[derive(Debug)]
pub(super) struct Circuit {
    state: Phase,
    generation: Generation,
    /// Openings since the last completed transaction.
    failures: u32,
    /// Messages without an answer to the final dot, since the relay answered to one, or was probed.
    unanswered: u32,
    connections_max: usize,
    probe_first: Duration,
    /// How many connections the relay allows, as it said, and until when that is believed.
    ceiling: Option<(usize, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed { allowed: usize, successes: usize },
    Open { probe_at: Instant, probing: bool },
}

impl Circuit {
    /// A closed circuit that will use up to `connections_max` connections, at least one. The first probe
    /// comes `probe_first` after an opening, each further one at twice the distance, up to 64 times.
    pub(super) fn new(connections_max: usize, probe_first: Duration) -> Self {
        Self {
            state: Phase::ramp(),
            generation: Generation(0),
            failures: 0,
            unanswered: 0,
            connections_max: connections_max.max(1),
            probe_first,
            ceiling: None,
        }
    }

    /// How many connections may be in use at once; none while it is open.
    pub(super) fn allowed(&self) -> usize {
        match self.state {
            Phase::Closed { allowed, .. } => allowed,
            Phase::Open { .. } => 0,
        }
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// The relay completed a transaction: accepted or rejected it.
    pub(super) fn succeeded(&mut self, generation: Generation, now: Instant) {
        if generation != self.generation {
            return;
        }
        let most = match self.ceiling {
            Some((connections, until)) if now < until => connections.min(self.connections_max),
            Some(_) | None => self.connections_max,
        };
        if let Phase::Closed { allowed, successes } = &mut self.state {
            self.failures = 0;
            *successes += 1;
            if *successes >= *allowed {
                *allowed = allowed.saturating_mul(2).min(most);
                *successes = 0;
            }
        }
    }

    /// The relay answered to a final dot, whatever it said.
    pub(super) fn answered(&mut self, generation: Generation) {
        if generation == self.generation {
            self.unanswered = 0;
        }
    }

    /// The relay left a message without an answer to its final dot. Returns whether there were so many that the relay
    /// itself has failed.
    pub(super) fn missing_final_reply(&mut self, generation: Generation) -> bool {
        if generation != self.generation {
            return false;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.unanswered >= UNANSWERED_MAX
    }

    /// The relay turned one more connection away, beside so many that it serves.
    pub(super) fn connection_refused(
        &mut self,
        generation: Generation,
        served: usize,
        now: Instant,
    ) {
        if generation != self.generation {
            return;
        }
        if let Phase::Closed { allowed, successes } = &mut self.state {
            *allowed = served.clamp(1, *allowed);
            *successes = 0;
            self.ceiling = Some((*allowed, now + CEILING));
        }
    }

    /// The relay failed. `jitter` is uniform in 0..1. Says whether this opened the circuit.
    pub(super) fn failed(&mut self, generation: Generation, now: Instant, jitter: f64) -> bool {
        match self.state {
            Phase::Closed { .. } if generation == self.generation => {
                self.generation.0 += 1;
                self.open(now, jitter);
                true
            }
            Phase::Closed { .. } | Phase::Open { .. } => false,
        }
    }

    /// When the next probe begins, if one is to be waited for.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        match self.state {
            Phase::Open { probe_at, probing: false } => Some(probe_at),
            Phase::Open { .. } | Phase::Closed { .. } => None,
        }
    }

    /// Whether a probe is to begin now; it has begun then.
    pub(super) fn begin_probe(&mut self, now: Instant) -> bool {
        match &mut self.state {
            Phase::Open { probe_at, probing } if !*probing && *probe_at <= now => {
                *probing = true;
                true
            }
            Phase::Open { .. } | Phase::Closed { .. } => false,
        }
    }

    /// The probe found the relay at work: the ramp begins.
    pub(super) fn probe_succeeded(&mut self) {
        self.unanswered = 0;
        self.state = Phase::ramp();
    }

    /// The probe failed: the next one is further off.
    pub(super) fn probe_failed(&mut self, now: Instant, jitter: f64) {
        self.open(now, jitter);
    }

    fn open(&mut self, now: Instant, jitter: f64) {
        let factor = 1 << self.failures.min(PROBE_DOUBLINGS);
        let distance = self.probe_first.saturating_mul(factor);
        self.failures = self.failures.saturating_add(1);
        // Between half and the whole, so that several daemons do not probe in step.
        let distance = distance.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.state = Phase::Open { probe_at: now + distance, probing: false };
    }
}

impl Phase {
    fn ramp() -> Self {
        Self::Closed { allowed: 1, successes: 0 }
    }
}

/// Counts rejected addresses over the last ten minutes.
#[derive(Debug)]
pub(super) struct RejectionsGuard {
    max: usize,
    recent: VecDeque<Instant>,
}

impl RejectionsGuard {
    /// Allows `max` rejections within ten minutes.
    pub(super) fn new(max: usize) -> Self {
        Self { max, recent: VecDeque::new() }
    }

    /// Counts one. Returns whether that is too many; then counting starts from zero, so that earlier
    /// rejections do not pause sending again right after it is resumed.
    pub(super) fn count(&mut self, now: Instant) -> bool {
        while self
            .recent
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= REJECTIONS_WINDOW)
        {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let too_many = self.recent.len() > self.max;
        if too_many {
            self.recent.clear();
        }
        too_many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE_FIRST: Duration = Duration::from_secs(5);
    const PROBE_MAX: Duration = Duration::from_secs(320);

    fn circuit(connections_max: usize) -> Circuit {
        Circuit::new(connections_max, PROBE_FIRST)
    }

    fn succeed(circuit: &mut Circuit, times: usize) {
        for _ in 0..times {
            circuit.succeeded(circuit.generation(), Instant::now());
        }
    }

    fn fail(circuit: &mut Circuit, now: Instant) -> bool {
        circuit.failed(circuit.generation(), now, 1.0)
    }

    #[test]
    fn connections_double_when_all_of_them_succeeded_and_stop_at_the_limit() {
        let mut circuit = circuit(5);
        let mut allowed = vec![circuit.allowed()];
        for _ in 0..12 {
            succeed(&mut circuit, 1);
            allowed.push(circuit.allowed());
        }
        assert_eq!(allowed, [1, 2, 2, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5]);
    }

    #[test]
    fn a_relay_that_turns_a_connection_away_gets_no_more_than_it_serves_for_a_while() {
        let now = Instant::now();
        let mut circuit = circuit(8);
        let succeed_at = |circuit: &mut Circuit, at| {
            for _ in 0..20 {
                circuit.succeeded(circuit.generation(), at);
            }
            circuit.allowed()
        };
        assert_eq!(succeed_at(&mut circuit, now), 8);
        circuit.connection_refused(circuit.generation(), 3, now);
        assert_eq!(circuit.allowed(), 3);
        assert_eq!(succeed_at(&mut circuit, now + CEILING / 2), 3);
        assert_eq!(succeed_at(&mut circuit, now + CEILING), 8);
        circuit.connection_refused(circuit.generation(), 0, now);
        assert_eq!(circuit.allowed(), 1, "never none");
    }

    #[test]
    fn an_open_circuit_allows_nothing_until_a_probe_succeeds_and_then_one_connection() {
        let now = Instant::now();
        let mut circuit = circuit(8);
        succeed(&mut circuit, 20);
        assert!(fail(&mut circuit, now));
        assert_eq!(circuit.allowed(), 0);
        assert!(!circuit.begin_probe(now + Duration::from_millis(4_999)));
        assert!(circuit.begin_probe(now + PROBE_FIRST));
        assert!(!circuit.begin_probe(now + PROBE_MAX), "one at a time");
        circuit.probe_succeeded();
        assert_eq!(circuit.allowed(), 1);
    }

    #[test]
    fn probes_move_apart_until_a_transaction_comes_to_an_end() {
        let now = Instant::now();
        let mut circuit = circuit(8);
        let mut distances = Vec::new();
        fail(&mut circuit, now);
        for _ in 0..8 {
            distances.push((circuit.probe_at().unwrap() - now).as_secs());
            circuit.begin_probe(now + PROBE_MAX);
            circuit.probe_failed(now, 1.0);
        }
        assert_eq!(distances, [5, 10, 20, 40, 80, 160, 320, 320]);

        circuit.probe_succeeded();
        fail(&mut circuit, now);
        assert_eq!(circuit.probe_at(), Some(now + PROBE_MAX), "no mail yet");
        circuit.probe_succeeded();
        succeed(&mut circuit, 1);
        fail(&mut circuit, now);
        assert_eq!(circuit.probe_at(), Some(now + PROBE_FIRST));
    }

    #[test]
    fn one_message_after_the_other_without_an_answer_is_the_relays_failure() {
        let now = Instant::now();
        let mut circuit = circuit(8);
        let unanswered = |circuit: &mut Circuit| circuit.missing_final_reply(circuit.generation());
        assert!(!unanswered(&mut circuit));
        assert!(!unanswered(&mut circuit));
        circuit.answered(circuit.generation());
        assert!(!unanswered(&mut circuit));
        assert!(!unanswered(&mut circuit));
        let before = circuit.generation();
        assert!(unanswered(&mut circuit));
        assert!(fail(&mut circuit, now));
        circuit.probe_succeeded();
        for _ in 0..3 {
            assert!(!circuit.missing_final_reply(before), "of before the opening");
        }
        assert!(!unanswered(&mut circuit), "three more after each probe");
        circuit.answered(before);
        assert!(!unanswered(&mut circuit));
        assert!(unanswered(&mut circuit));
    }

    #[test]
    fn jitter_brings_a_probe_forward_by_half_at_most() {
        let now = Instant::now();
        let mut circuit = circuit(1);
        circuit.failed(circuit.generation(), now, 0.0);
        assert_eq!(circuit.probe_at(), Some(now + PROBE_FIRST / 2));
    }

    #[test]
    fn what_fails_or_succeeds_from_before_an_opening_changes_nothing() {
        let now = Instant::now();
        let mut circuit = circuit(8);
        let before = circuit.generation();
        assert!(circuit.failed(before, now, 1.0));
        assert!(!circuit.failed(before, now, 1.0), "open already");
        circuit.probe_succeeded();
        assert!(!circuit.failed(before, now, 1.0));
        circuit.succeeded(before, now);
        assert_eq!(circuit.allowed(), 1);
    }

    #[test]
    fn one_rejection_too_many_within_ten_minutes_is_noticed_once() {
        let start = Instant::now();
        let mut guard = RejectionsGuard::new(2);
        assert!(!guard.count(start));
        assert!(!guard.count(start + Duration::from_secs(599)));
        assert!(!guard.count(start + Duration::from_secs(600)), "the first is past");
        assert!(guard.count(start + Duration::from_secs(601)));
        assert!(!guard.count(start + Duration::from_secs(602)));
    }
}
