//! Many reads at once: what is known is given, and the rest is one call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, join_all};

use super::flight::Departure;
use super::lookup::{Core, Look, Wait};
use crate::error::{Error, Result};
use crate::name::SecretName;
use crate::secret::Secret;
use crate::store::Select;

/// How many secrets are looked at together. It bounds how long the table is locked,
/// and what one call has to bring before it times out.
const MOST_TOGETHER: usize = 512;

type Wanted<'a> = [(&'a SecretName, &'a Select)];

impl Core {
    pub(super) async fn get_many(self: &Arc<Self>, wanted: &Wanted<'_>) -> Vec<Result<Secret>> {
        let mut answers = Vec::with_capacity(wanted.len());
        for part in wanted.chunks(MOST_TOGETHER) {
            answers.extend(self.get_part(part).await);
        }
        answers
    }

    async fn get_part(self: &Arc<Self>, wanted: &Wanted<'_>) -> Vec<Result<Secret>> {
        let now = self.clock.monotonic();
        let Some(looks) = self.look_at_all(wanted, now) else {
            return self.inner.get_many(wanted).await;
        };
        let mut answers = Vec::with_capacity(wanted.len());
        let mut waits = Vec::new();
        for (&(name, select), look) in wanted.iter().zip(looks) {
            let answer = match look {
                Look::Hit(sealed, refresh) => Some(self.hit(name, select, &sealed, refresh, now)),
                Look::Absent(error) => Some(Err(error)),
                Look::Wait(wait) => {
                    waits.push((answers.len(), wait));
                    None
                }
            };
            answers.push(answer);
        }
        self.wait_for_calls(waits.iter().map(|(_, wait)| wait), now).await;
        let now = self.clock.monotonic();
        let later = waits.into_iter().map(|(at, wait)| async move {
            let (name, select) = wanted[at];
            match self.wait(name, select, wait, now).await {
                Some(answer) => (at, answer),
                None => (at, self.get(name, select).await),
            }
        });
        for (at, answer) in join_all(later).await {
            answers[at] = Some(answer);
        }
        let lost = || Err(Error::internal("a read of many was lost"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }

    /// What there is now of each; `None` in a forked child.
    fn look_at_all(self: &Arc<Self>, wanted: &Wanted<'_>, now: Duration) -> Option<Vec<Look>> {
        let mut table = self.table()?;
        let mut departure = Departure::new(self, now);
        let looks = wanted
            .iter()
            .map(|(name, select)| self.look_in(&mut table, &mut departure, name, select));
        Some(looks.collect())
    }

    /// Waits until none of these has to be waited for any more. Each call is waited for
    /// once, however many of its secrets are wanted: all who wait for one are woken by
    /// everything that happens in it.
    async fn wait_for_calls(&self, waits: impl Iterator<Item = &Wait> + Send, now: Duration) {
        let mut calls = BTreeMap::new();
        for wait in waits {
            let (flight, patience) = match wait {
                Wait::Miss(flight) => (flight, None),
                Wait::Stale(_, Some((flight, started))) => {
                    (flight, Some(self.patience(*started, now)))
                }
                Wait::Stale(_, None) => continue,
            };
            let (_, longest) = calls.entry(flight.call).or_insert((flight, patience));
            // For what cannot be given meanwhile, to its end.
            *longest = longest.and(patience);
        }
        let waits = calls.into_values().map(|(flight, patience)| async move {
            match patience {
                None => drop(flight.clone().await),
                Some(patience) => {
                    drop(future::select(flight.clone(), self.clock.sleep(patience)).await);
                }
            }
        });
        join_all(waits).await;
    }
}
