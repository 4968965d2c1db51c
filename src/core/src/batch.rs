//! Many reads at once: what is at hand is taken at once, and what has to be
//! waited for is waited for together.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::future::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::error::{Error, Result};
use crate::name::SecretName;
use crate::secret::Secret;
use crate::store::{SecretStore, Select};

/// How many reads wait for the backend at one time.
pub(crate) const MAX_CONCURRENT_READS: usize = 32;

/// An answer for each, in order.
pub(crate) async fn get_each<S: SecretStore + ?Sized>(
    store: &S,
    wanted: &[(&SecretName, &Select)],
) -> Vec<Result<Secret>> {
    let mut answers = Vec::with_capacity(wanted.len());
    let mut waiting = FuturesUnordered::new();
    for &(name, select) in wanted {
        let at = answers.len();
        answers.push(None);
        let mut read = store.get(name, select);
        // A cache answers in its first poll: that needs no place in a set.
        match poll_fn(|context| Poll::Ready(read.poll_unpin(context))).await {
            Poll::Ready(answer) => answers[at] = Some(answer),
            Poll::Pending => waiting.push(read.map(move |answer| (at, answer))),
        }
        while waiting.len() >= MAX_CONCURRENT_READS {
            let Some((at, answer)) = waiting.next().await else { break };
            answers[at] = Some(answer);
        }
    }
    while let Some((at, answer)) = waiting.next().await {
        answers[at] = Some(answer);
    }
    let lost = || Err(Error::internal("a read of many was lost"));
    answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
}
