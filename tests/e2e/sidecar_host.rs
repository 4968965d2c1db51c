//! The sidecar on the system's own allocator, called as `strongroom serve` is.
//!
//! `sidecar-host serve --config FILE …`; for the memory test, which demands to
//! find here what the wiping allocator of the real program removes.

use std::error::Error;
use std::time::Duration;

use strongroom_sidecar::RunOptions;

fn main() -> Result<(), Box<dyn Error>> {
    strongroom::guard::harden_process()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, option, config, ..] = &arguments[..] else {
        return Err("usage: sidecar-host serve --config FILE".into());
    };
    if (command.as_str(), option.as_str()) != ("serve", "--config") {
        return Err("usage: sidecar-host serve --config FILE".into());
    }
    tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::TRACE)
        .init();
    strongroom_sidecar::run(RunOptions {
        config: config.into(),
        passphrase: None,
        target_passphrase: None,
        wait: Duration::ZERO,
        socket: None,
        ready: Box::new(|_| ()),
    })?;
    Ok(())
}
