//! Strongroom's gRPC interface, as the sidecar serves it and its clients call
//! it: the protocol's bindings, what an error is on the wire, and who the
//! caller on a Unix socket is.
//!
//! The protocol itself is documented in `proto/strongroom/v1/strongroom.proto`.

mod convert;
mod peer;
mod reports;
mod status;
mod upkeep;
mod values;

pub use convert::{
    duration, from_duration, from_timestamp, kind_from_wire, kind_to_wire, metadata_from_wire,
    metadata_to_wire, timestamp,
};
pub use peer::Peer;
pub use reports::{
    backup_info_from_wire, backup_info_to_wire, migrated_from_wire, migrated_to_wire,
    verified_from_wire, verified_to_wire,
};
pub use status::{DOMAIN, code_of, error_of, from_wire, reason_of, status_of, to_wire};
pub use upkeep::{
    kek_version_from_wire, kek_version_to_wire, key_report_from_wire, key_report_to_wire,
    missing_from_wire, missing_to_wire, outcome_from_wire, outcome_to_wire, progress_from_wire,
    progress_to_wire,
};

/// Messages, client and server of `strongroom.v1`, as they are generated.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the .proto file documents it"
)]
pub mod v1 {
    include!("generated/strongroom.v1.rs");
}

/// The protocol's file descriptors, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/strongroom.v1.bin");

/// The longest chunk of an upload or a download, in bytes: far below the 4 MiB
/// that stock clients accept as one message.
pub const CHUNK_BYTES: usize = 64 << 10;

/// What a message may have besides its value: names, versions, context and
/// framing. A server accepts messages of its longest value and this.
pub const MESSAGE_OVERHEAD_BYTES: usize = 64 << 10;
