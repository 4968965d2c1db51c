//! The client against a server that does everything, also wrong.

mod calls;
mod faults;
mod server;
mod transfers;

use strongroom_client::Client;
use tempfile::TempDir;

use self::server::Server;

/// A server in a directory of its own, and a client of it.
async fn connected() -> (TempDir, Server, Client) {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::at(&dir.path().join("sock"));
    let client = Client::connect(&server.path).await.expect("connected");
    (dir, server, client)
}
