//! Many reads at once: what is known is given, and the rest is one call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, join_all};

use super::flight::Departure;
use super::lookup::{Core, Look};
use crate::error::Result;
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
        let Some(mut looks) = self.look_at_all(wanted, now) else {
            return self.inner.get_many(wanted).await;
        };
        // Before anything is waited for: the places in the background are taken.
        for look in &mut looks {
            self.begin_refresh(look);
        }
        self.wait_for_calls(&looks, now).await;
        let now = self.clock.monotonic();
        let settled = wanted.iter().zip(looks).map(|(&(name, select), look)| async move {
            match self.settle(name, select, look, now).await {
                Some(answer) => answer,
                None => self.get(name, select).await,
            }
        });
        join_all(settled).await
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

    /// Waits until each look can be settled at once. Each call is waited for once,
    /// however many of its secrets are wanted: all who wait for one are woken by
    /// everything that happens in it.
    async fn wait_for_calls(&self, looks: &[Look], now: Duration) {
        let mut calls = BTreeMap::new();
        for look in looks {
            let (flight, patience) = match look {
                Look::Miss(flight) => (flight, None),
                Look::Stale(_, Some((flight, started))) => {
                    (flight, Some(self.patience(*started, now)))
                }
                Look::Hit(..) | Look::Absent(_) | Look::Stale(_, None) => continue,
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
