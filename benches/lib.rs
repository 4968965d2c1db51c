//! What the benchmarks share: a name to seal under, and futures that are ready.

use std::path::PathBuf;

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

/// Writes a median as criterion does, for what it cannot measure, and prints it.
///
/// # Panics
/// When it cannot be written.
#[allow(clippy::print_stdout, reason = "a benchmark tells its figures")]
pub fn record(group: &str, name: &str, nanoseconds: f64) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    let place = name.replace(['/', ' '], "_");
    let folder = target.join("criterion").join(group).join(place).join("new");
    std::fs::create_dir_all(&folder).expect("made");
    let id = format!("{{\"full_id\":\"{group}/{name}\"}}");
    let estimate = format!("{{\"median\":{{\"point_estimate\":{nanoseconds}}}}}");
    std::fs::write(folder.join("benchmark.json"), id).expect("written");
    std::fs::write(folder.join("estimates.json"), estimate).expect("written");
    println!("{name:<44} {:>10.2} µs", nanoseconds / 1e3);
}
