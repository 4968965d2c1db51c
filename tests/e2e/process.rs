//! `strongroom serve` as a process: its socket, its signals, its reload, its
//! place under systemd, and what it logs and counts.

#[path = "process/drain.rs"]
mod drain;
#[path = "process/moving.rs"]
mod moving;
#[path = "process/reload.rs"]
mod reload;
#[path = "process/socket.rs"]
mod socket;
#[path = "process/systemd.rs"]
mod systemd;
#[path = "process/told.rs"]
mod told;

use strongroom_client::Client;
use strongroom_core::SecretBytes;
use strongroom_kit::daemon::Home;

async fn client(home: &Home) -> Client {
    Client::connect(home.socket()).await.expect("connected")
}

fn value(bytes: &[u8]) -> SecretBytes {
    SecretBytes::copy_from(bytes).expect("guarded memory")
}
