//! One harness for each seam. A backend is one line, and every sentence of the
//! trait's contract becomes a test of its own with the backend's name in it:
//!
//! ```text
//! mod records {
//!     conformance_records!(memory => RecordsBackend::volatile(|_| Ok(Arc::new(MemoryRecords::new()))));
//! }
//! ```
//! gives `records::memory::scan_gives_keys_in_order` and all the others. What a
//! backend cannot do, its capabilities say, and the points about it pass.

use std::fmt;
use std::path::Path;
use std::sync::Once;

use strongroom_core::guard::{Config, configure};
use strongroom_core::{ErrorKind, Result};
use tempfile::TempDir;

pub mod records;
pub mod secrets;
pub mod wrapper;

/// Makes a macro that turns every contract point into a `#[test]`, and the
/// function that those tests call. A point that is not listed is dead code,
/// which the compiler tells.
macro_rules! points {
    ($d:tt $macro:ident for $backend:ty as $seam:ident: $($name:ident),* $(,)?) => {
        /// A test for each point of the seam's contract: `name => backend`.
        #[macro_export]
        macro_rules! $macro {
            ($d id:ident => $d backend:expr) => {
                mod $d id {
                    #[allow(unused_imports, reason = "a backend may need nothing from outside")]
                    use super::*;
                    $(#[test]
                    fn $name() {
                        $crate::conformance::$seam::run(stringify!($name), $d backend);
                    })*
                }
            };
        }

        /// Runs one point on a new backend.
        pub fn run(point: &str, backend: $backend) {
            $crate::conformance::prepare_memory();
            let bench = Bench::new(backend);
            $crate::block_on(async {
                match point {
                    $(stringify!($name) => $name(&bench).await,)*
                    _ => panic!("there is no contract point {point}"),
                }
            });
        }
    };
}
pub(crate) use points;

/// Lets tests run under a lock limit that is too small for values of 1 MiB: the
/// suites are about stores, and guarded memory has tests of its own.
pub fn prepare_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut config = Config::default();
        config.accept_unguarded_memory = true;
        config.max_locked_bytes = 512 << 20;
        configure(config).expect("no secret exists yet");
    });
}

/// The directory of one test.
fn temporary_directory() -> TempDir {
    TempDir::with_prefix("strongroom-").expect("a temporary directory")
}

/// Demands an error of `kind`, without printing what came instead.
#[track_caller]
pub fn assert_kind<T>(result: Result<T>, kind: ErrorKind, what: impl fmt::Display) {
    match result {
        Ok(_) => panic!("{what}: succeeded instead of {kind}"),
        Err(error) => assert_eq!(error.kind(), kind, "{what}: {error}"),
    }
}

type Factory<T> = Box<dyn Fn(&Path) -> Result<T> + Send + Sync>;
