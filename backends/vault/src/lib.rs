//! The backend of `HashiCorp` Vault and `OpenBao`, which speak the same protocol.
//!
//! [`Vault`] is a connection: its addresses, TLS, proxy, and as whom it logs in
//! ([`Auth`]). On it work [`VaultKv`], a store of secrets in a KV engine; [`VaultTransit`],
//! a key wrapper; [`VaultExternalSecrets`] and [`VaultLeases`], which references lead to.
//! A [`Policy`] says what they need, and [`Vault::allowed`] what of it is missing.
//!
//! The protocol is spoken here, over reqwest, and not by the client library vaultrs:
//! that keeps the token as text for as long as it lives, writes each refusal to the
//! log, and drops leases and headers, which tell when a value ends and when to come
//! again.

mod auth;
mod check;
mod connection;
mod error;
mod guarded;
mod kv;
mod lease;
mod message;
mod policy;
mod session;
mod settings;
mod transit;
mod transport;

pub use self::auth::{
    AppRole, Auth, Identity, Jwt, Kubernetes, ReadSecret, SecretText, SignedRequest,
};
pub use self::check::{Allowed, Caller};
pub use self::connection::Vault;
pub use self::kv::{KvOptions, KvVersion, VaultExternalSecrets, VaultKv};
pub use self::lease::{LeaseOptions, VaultLeases};
pub use self::policy::{Capability, KvDirectory, Policy, Rule, TransitKey};
pub use self::settings::{ClientCertificate, VaultSettings};
pub use self::transit::VaultTransit;
