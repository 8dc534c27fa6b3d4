//! A request's body: read within its limits, in time, and in memory that all bodies share.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::problem::{Code, Problem};

/// How long to discard the body of a refused request, so that a client that only sends gets to read the answer.
const DISCARD: Duration = Duration::from_secs(1);
/// Bytes that each body may use without reserving shared memory: most events are smaller.
pub(super) const OWN_BYTES: usize = 64 * 1024;

/// A body, and what is known of its end.
pub(super) struct Body {
    incoming: Incoming,
    /// What the body takes of the memory that all share, until the request is answered.
    memory: Option<OwnedSemaphorePermit>,
    /// How the body has ended.
    end: BodyEnd,
}

impl Body {
    pub(super) fn new(incoming: Incoming) -> Self {
        Self { incoming, memory: None, end: BodyEnd::default() }
    }

    /// Refuses a body that is announced as too large.
    pub(super) fn check_announced(&self, most: usize) -> Result<(), Problem> {
        if self.incoming.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
            return Err(too_large(most));
        }
        Ok(())
    }

    /// Reads the whole body within `time`; what it takes of the `shared` memory it keeps.
    pub(super) async fn read(
        &mut self,
        most: usize,
        time: Duration,
        shared: &Arc<Semaphore>,
        is_verified: bool,
    ) -> Result<Vec<u8>, Problem> {
        self.check_announced(most)?;
        let memory = BodyMemory { shared, is_verified, held: &mut self.memory };
        let whole = collect(&mut self.incoming, most, memory, &mut self.end);
        match timeout(time, whole).await {
            Ok(collected) => collected,
            Err(_) => Err(Problem::new(
                Code::TimeOut,
                format!("the body must be complete within {} s", time.as_secs()),
            )),
        }
    }

    /// Takes in what is left of the body, at most so many bytes.
    pub(super) async fn discard(&mut self, most: usize) {
        if self.incoming.is_end_stream() {
            return;
        }
        let mut left = most;
        let rest = async {
            while let Some(Ok(frame)) = self.incoming.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.end.has_trailers |= frame.is_trailers();
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
            self.end.was_seen = true;
        };
        // The answer does not depend on how this ends.
        drop(timeout(DISCARD, rest).await);
    }

    /// Whether a proxy in front may see its end elsewhere: hyper takes a bare line feed for the end of the last chunk,
    /// and what follows for trailers.
    pub(super) fn has_doubtful_end(&self, is_in_chunks: bool) -> bool {
        self.end.has_trailers || is_in_chunks && !self.end.was_seen
    }
}

async fn collect(
    body: &mut Incoming,
    most: usize,
    mut memory: BodyMemory<'_>,
    end: &mut BodyEnd,
) -> Result<Vec<u8>, Problem> {
    // What is announced is not taken before it is written to, and is not moved as it grows.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut whole = Vec::with_capacity(announced.min(most));
    let mut room = OWN_BYTES;
    if memory.is_verified && announced > room {
        // All at once: bodies that grow side by side would refuse each other. Not for whoever may have no secret, who
        // would have the memory for the announcement alone.
        memory.take(announced)?;
        room = announced;
    }
    // A body of known length has its end with its last byte. Asking for more would meet the error of a
    // client that has hung up since.
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| {
            Problem::new(Code::IncompleteBody, "the body stopped before its end")
                .because(error.to_string())
        })?;
        // Trailers say nothing to us.
        let Ok(bytes) = frame.into_data() else {
            end.has_trailers = true;
            continue;
        };
        if whole.len() + bytes.len() > most {
            return Err(too_large(most));
        }
        let length = whole.len() + bytes.len();
        if length > room {
            // As much as a list that grows takes.
            let more = length.max(2 * room) - room;
            memory.take(more)?;
            room += more;
        }
        whole.extend_from_slice(&bytes);
    }
    end.was_seen = true;
    Ok(whole)
}

/// How a body has ended.
#[derive(Debug, Default)]
struct BodyEnd {
    /// Nothing more comes.
    was_seen: bool,
    has_trailers: bool,
}

/// The memory that bodies share, and what one of them holds of it until its request is answered.
struct BodyMemory<'a> {
    shared: &'a Arc<Semaphore>,
    /// Whether it is known who sends it.
    is_verified: bool,
    held: &'a mut Option<OwnedSemaphorePermit>,
}

impl BodyMemory<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        let more = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(self.shared)
            .try_acquire_many_owned(more)
            .map_err(|_| Problem::new(Code::Busy, "too many large bodies at once"))?;
        match self.held {
            Some(held) => held.merge(more),
            None => *self.held = Some(more),
        }
        Ok(())
    }
}

fn too_large(most: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("the body may have at most {most} bytes"))
}
