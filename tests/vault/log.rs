//! The log of every library at every level. A program has one: all tests log into it.

use std::io::{self, Write};
use std::sync::{Mutex, Once};

use tracing_subscriber::filter::LevelFilter;

static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Said;

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SAID.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on everything is kept.
pub(crate) fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let log = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
        tracing::subscriber::set_global_default(log.with_writer(|| Said).finish()).unwrap();
    });
}

/// What was said until now.
pub(crate) fn said() -> String {
    String::from_utf8_lossy(&SAID.lock().unwrap()).into_owned()
}
