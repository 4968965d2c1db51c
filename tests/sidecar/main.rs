//! The sidecar under outages, load and attack.

mod drain;
mod faults;
mod files;
mod load;
mod metadata;
mod outages;
mod process_of;
mod reload;
mod render;
mod users;

use std::time::Duration;

use strongroom_kit::faults::Gate;

/// Waits, on a thread that may block, until `count` calls have come to the gate.
async fn arrivals(gate: &Gate, count: usize) {
    let gate = gate.clone();
    let waiting = tokio::task::spawn_blocking(move || gate.wait_for_arrivals(count));
    waiting.await.expect("they arrive");
}

/// Waits until `is_so`, which nothing announces. A minute is for ever.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let so = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), so).await.is_ok(), "never: {what}");
}
