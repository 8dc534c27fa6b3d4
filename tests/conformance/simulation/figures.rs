//! What happened in a world, or in all of them.

macro_rules! figures {
    ($($figure:ident: $name:literal),* $(,)?) => {
        /// What happened in it, counted.
        #[derive(Debug, Default, Clone, Copy)]
        pub(crate) struct Figures {
            $(pub(crate) $figure: u64,)*
        }

        impl Figures {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$figure += other.$figure;)*
            }

            /// What never happened.
            pub(crate) fn missing(&self) -> Option<&'static str> {
                let each = [$(($name, self.$figure)),*];
                each.into_iter().find_map(|(name, count)| (count == 0).then_some(name))
            }
        }
    };
}

figures! {
    seconds: "time",
    events: "events",
    invoices: "invoices",
    delivered: "delivered",
    mails: "mails",
    second_copies: "second copies",
    fallbacks: "fallbacks",
    uncertain: "uncertain attempts",
    resent: "resends",
    tombstones: "tombstones",
    named_in_flight: "named in flight",
    crashes: "crashes",
    jumps: "jumps of the clock",
    troubles: "troubles of the relay",
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
