//! The sidecar as `strongroom serve` runs it: the same function on the same
//! allocator. `sidecar-host CONFIGURATION`; it ends with its standard input.

use std::io::Read;
use std::time::Duration;

use strongroom_sidecar::RunOptions;

#[global_allocator]
static ALLOCATOR: strongroom_core::guard::WipingAllocator = strongroom_core::guard::WipingAllocator;

fn main() {
    let config = std::env::args().nth(1).expect("a configuration").into();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let ready = Box::new(|_: &strongroom_sidecar::Ready| println!("ready"));
    let (passphrase, wait, socket) = (None, Duration::ZERO, None);
    let target_passphrase = None;
    strongroom_sidecar::run(RunOptions {
        config,
        passphrase,
        target_passphrase,
        wait,
        socket,
        ready,
    })
    .expect("served");
}
