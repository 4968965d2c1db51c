//! The backend of `HashiCorp` Vault and `OpenBao`, which speak the same protocol.
//!
//! [`Vault`] is a connection: its addresses, TLS, proxy, and as whom it logs in
//! ([`Auth`]). On it work [`VaultKv`], a store of secrets in a KV engine, and
//! [`VaultExternalSecrets`], which references lead to.
//!
//! The protocol is spoken here, over reqwest, and not by the client library vaultrs:
//! that keeps the token as text for as long as it lives, writes each refusal to the
//! log, and drops leases and headers, which tell when a value ends and when to come
//! again.

mod auth;
mod connection;
mod error;
mod guarded;
mod kv;
mod message;
mod session;
mod settings;
mod transport;

pub use self::auth::{
    AppRole, Auth, Identity, Jwt, Kubernetes, ReadSecret, SecretText, SignedRequest,
};
pub use self::connection::Vault;
pub use self::kv::{KvOptions, KvVersion, VaultExternalSecrets, VaultKv};
pub use self::settings::{ClientCertificate, VaultSettings};
