//! What is to fail, and what came.

use std::collections::BTreeMap;

use super::{ANY, Fault, Request};

/// The state of a proxy.
#[derive(Default)]
pub(super) struct Plan {
    next: Vec<Planned>,
    always: BTreeMap<String, Fault>,
    /// By their numbers.
    requests: BTreeMap<usize, Request>,
    last: usize,
    /// How often the faults were cleared.
    pub(super) cleared: usize,
    pub(super) accepted: usize,
    pub(super) open: usize,
}

/// For the next requests.
struct Planned {
    operation: String,
    left: usize,
    fault: Option<Fault>,
}

impl Plan {
    pub(super) fn next(&mut self, operation: &str, left: usize, fault: Option<Fault>) {
        if left > 0 {
            self.next.push(Planned { operation: operation.to_owned(), left, fault });
        }
    }

    pub(super) fn always(&mut self, operation: &str, fault: Fault) {
        self.always.insert(operation.to_owned(), fault);
    }

    pub(super) fn clear(&mut self) {
        self.next.clear();
        self.always.clear();
        self.cleared += 1;
    }

    pub(super) fn forget(&mut self) {
        self.requests.clear();
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.values()
    }

    pub(super) fn count(&self, operation: &str) -> usize {
        let is_it = |request: &&Request| matches(operation, &request.operation);
        self.requests().filter(is_it).count()
    }

    /// Whether all requests that come go into a black hole.
    pub(super) fn is_black_hole(&self) -> bool {
        matches!(self.always.get(ANY), Some(Fault::BlackHole))
    }

    /// Notes a request: its number, and what becomes of it.
    pub(super) fn arrive(&mut self, request: Request) -> (usize, Option<Fault>) {
        let fault = self.take(&request.operation);
        self.last += 1;
        self.requests.insert(self.last, request);
        (self.last, fault)
    }

    /// Notes what the upstream answered, unless the request was forgotten.
    pub(super) fn answered(&mut self, number: usize, status: u16) {
        if let Some(request) = self.requests.get_mut(&number) {
            request.upstream = Some(status);
        }
    }

    /// Notes that the client gets that answer.
    pub(super) fn forwarded(&mut self, number: usize) {
        if let Some(request) = self.requests.get_mut(&number) {
            request.forwarded = true;
        }
    }

    fn take(&mut self, operation: &str) -> Option<Fault> {
        let planned = self.next.iter().position(|next| matches(&next.operation, operation));
        if let Some(index) = planned {
            let next = &mut self.next[index];
            next.left -= 1;
            let fault = next.fault.clone();
            if next.left == 0 {
                self.next.remove(index);
            }
            return fault;
        }
        self.always.get(operation).or_else(|| self.always.get(ANY)).cloned()
    }
}

fn matches(rule: &str, operation: &str) -> bool {
    rule == ANY || rule == operation
}
