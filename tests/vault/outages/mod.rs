//! What becomes of requests when servers fail.

mod answers;
mod cluster;
mod redirects;
mod store;

use strongroom_kit::proxy::FaultProxy;
use strongroom_kit::vault::Vault as Server;
use strongroom_vault::{Auth, VaultSettings};

use crate::{given, settings};

const LOOKUP: &str = "GET /v1/auth/token/lookup-self";

/// Through `proxy`, with the root token and one retry.
fn through(proxy: &FaultProxy, server: &Server) -> VaultSettings {
    let mut settings = as_root(&[&proxy.endpoint()], server);
    settings.retries = 1;
    settings
}

fn as_root(addresses: &[&str], server: &Server) -> VaultSettings {
    let mut settings = settings(addresses[0], Auth::Token(given(server.root_token())));
    settings.addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    settings
}
