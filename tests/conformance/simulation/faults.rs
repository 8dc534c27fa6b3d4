//! What goes wrong: the relay's weather, addresses, the clock; and the sweep, which must do no harm meanwhile.

use std::time::Duration;

use chrono::TimeDelta;
use invoice_router::store::Retention;

use crate::relay::Weather;
use crate::sample::instant;
use crate::world::World;

impl World {
    pub(crate) fn weather_changes(&mut self) {
        let chance = |rng: &mut fastrand::Rng| {
            if rng.bool() { 0.0 } else { rng.f64() * 0.4 }
        };
        let mut weather = match self.rng.u8(..) {
            0..80 => Weather::FINE,
            80..100 => Weather { refused: 1.0, ..Weather::FINE },
            100..120 => Weather { final_dot: 1.0, ..Weather::FINE },
            120..135 => Weather { rejects_all: true, ..Weather::FINE },
            _ => Weather {
                rejects_all: false,
                refused: chance(&mut self.rng),
                greeting: chance(&mut self.rng),
                envelope: chance(&mut self.rng),
                body: chance(&mut self.rng),
                final_dot: chance(&mut self.rng),
                delay: Duration::ZERO,
            },
        };
        weather.delay = Duration::from_millis([1, 50, 3_000][self.rng.usize(..3)]);
        self.model().note(format!("{weather:?}"));
        self.relay.set_weather(weather);
    }

    pub(crate) fn an_address_dies(&mut self) {
        let account = format!("k{}", self.rng.u32(1..5));
        let whose = ["main", "u1", "u2", "u3"][self.rng.usize(..4)];
        let address = format!("{whose}-{}@{account}.example", self.rng.u32(..3));
        let dead = !self.relay.is_dead(&address);
        self.model().note(format!("{address} is {}", if dead { "dead" } else { "alive" }));
        self.relay.set_dead(&address, dead);
    }

    pub(crate) fn clock_jumps(&mut self) {
        self.figures.count("jumps of the clock");
        let (hour, day) = (TimeDelta::hours(1), TimeDelta::days(1));
        let jump = match self.rng.u32(..8) {
            0 => hour,
            1 => -hour,
            2 => TimeDelta::seconds(self.rng.i64(-300..300)),
            3 => day * 365,
            4 => -day * 365,
            5 => day * 2,
            6 => -day * 2,
            _ => TimeDelta::minutes(self.rng.i64(-90..90)),
        };
        let to = self.clock.now() + jump;
        // Before the dawn of invoices there is nothing to be seen.
        if to > instant("2020-01-01T00:00:00Z") {
            let mut model = self.model();
            model.jumped = true;
            model.note(format!("the clock jumps by {jump}"));
            drop(model);
            self.clock.set(to);
        }
    }

    pub(crate) fn sweeps(&mut self) {
        let retention = Retention {
            unused_documents: Duration::from_secs(7 * 86_400),
            finished: Duration::from_secs(30 * 86_400),
        };
        let (store, now) = (self.store(), self.clock.now());
        // It waits for its commits, which a task must not.
        let sweep = || std::thread::spawn(move || store.sweep(&retention, now)).join();
        let swept = self.disk.at_once(sweep);
        let mut model = self.model();
        model.swept();
        model.note(format!("swept: {swept:?}"));
    }
}
