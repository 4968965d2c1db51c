//! What the benchmarks share: a name to seal under, and futures that are ready.

use strongroom_core::{EncryptionContext, Kind, Scope, SecretName, Version};

/// A name of ordinary length in a project.
///
/// # Panics
/// Never: the name is valid.
#[must_use]
pub fn name(id: &str) -> SecretName {
    let scope: Scope = "acme/payments/checkout".parse().expect("a valid scope");
    SecretName::new(scope, id).expect("a valid name")
}

/// The context of the first version of a secret.
///
/// # Panics
/// Never: the version is valid.
#[must_use]
pub fn context() -> EncryptionContext {
    let version = Version::new("1").expect("a valid version");
    EncryptionContext::new(&name("database-password"), &version, Kind::Text)
}
