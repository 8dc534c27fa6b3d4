//! What happened in a world, or in all of them.

/// What happened in it, counted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) seconds: u64,
    pub(crate) events: u64,
    pub(crate) invoices: u64,
    pub(crate) delivered: u64,
    pub(crate) mails: u64,
    pub(crate) second_copies: u64,
    pub(crate) fallbacks: u64,
    pub(crate) uncertain: u64,
    pub(crate) resent: u64,
    pub(crate) tombstones: u64,
    pub(crate) named_in_flight: u64,
    pub(crate) crashes: u64,
    pub(crate) jumps: u64,
    pub(crate) troubles: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, one) in self.each().into_iter().zip(other.clone().each()) {
            *sum.1 += *one.1;
        }
    }

    /// What never happened.
    pub(crate) fn missing(mut self) -> Option<&'static str> {
        self.each()
            .into_iter()
            .find_map(|(name, count)| (*count == 0).then_some(name))
    }

    fn each(&mut self) -> [(&'static str, &mut u64); 14] {
        let Self {
            seconds,
            events,
            invoices,
            delivered,
            mails,
            second_copies,
            fallbacks,
            uncertain,
            resent,
            tombstones,
            named_in_flight,
            crashes,
            jumps,
            troubles,
        } = self;
        [
            ("time", seconds),
            ("events", events),
            ("invoices", invoices),
            ("delivered", delivered),
            ("mails", mails),
            ("second copies", second_copies),
            ("fallbacks", fallbacks),
            ("uncertain attempts", uncertain),
            ("resends", resent),
            ("tombstones", tombstones),
            ("named in flight", named_in_flight),
            ("crashes", crashes),
            ("jumps of the clock", jumps),
            ("troubles of the relay", troubles),
        ]
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            seconds,
            events,
            invoices,
            delivered,
            mails,
            second_copies,
            fallbacks,
            uncertain,
            resent,
            tombstones,
            named_in_flight,
            crashes,
            jumps,
            troubles,
        } = self;
        write!(
            f,
            "{} days, {events} events, {crashes} crashes, {jumps} jumps of the clock, {troubles} troubles of the relay; \
             {invoices} invoices, {delivered} delivered, {resent} sent again, {tombstones} left as tombstones; {mails} mails \
             begun, {fallbacks} to a stand-in, {named_in_flight} named in flight, {second_copies} second copies of \
             {uncertain} uncertain attempts",
            seconds / 86_400
        )
    }
}
