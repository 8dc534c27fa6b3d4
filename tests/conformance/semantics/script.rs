//! A sequence of requests with all that the model says about it.

use crate::model::{self, Accepted, Answer};
use crate::request::Request;

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) requests: Vec<Request>,
    /// To each of them.
    pub(crate) answers: Vec<Answer>,
    /// What they have left behind.
    pub(crate) history: Vec<Accepted>,
}

impl Script {
    pub(crate) fn of(requests: impl IntoIterator<Item = Request>) -> Self {
        let mut script = Self::default();
        for request in requests {
            script.add(request);
        }
        script
    }

    pub(crate) fn add(&mut self, request: Request) {
        let answer = model::answer(&self.history, &request);
        model::grow(&mut self.history, request.at, &answer);
        self.answers.push(answer);
        self.requests.push(request);
    }
}
