//! What every store promises, whatever lies under it.
//!
//! Each scenario is one function over a [`World`](world::World) and becomes four tests: over the store
//! in memory and over the one on the disk, each once straight through and once with the store closed
//! and opened again before every step, so that nothing can hang on what a process remembers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails as the test itself does"
)]

/// Makes each of these scenarios a test over each store, straight through and reopened at each step.
macro_rules! contract {
    ($($scenario:ident),+ $(,)?) => {
        contract!(@over memory, Memory, Straight: $($scenario),+);
        contract!(@over memory_reopened, Memory, Reopened: $($scenario),+);
        contract!(@over sled, Sled, Straight: $($scenario),+);
        contract!(@over sled_reopened, Sled, Reopened: $($scenario),+);
    };
    (@over $module:ident, $medium:ident, $passage:ident: $($scenario:ident),+) => {
        mod $module {
            use $crate::store_contract::world::{Medium, Passage, World};
            $(
                #[test]
                fn $scenario() {
                    super::$scenario(&mut World::new(Medium::$medium, Passage::$passage));
                }
            )+
        }
    };
}

mod accounts;
mod attempts;
mod events;
mod model;
mod play;
mod runs;
mod sample;
pub(crate) use sample::rules_for;
mod upkeep;
mod world;
