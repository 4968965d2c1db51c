//! Calls that go on while a test does something to the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

/// After this time nothing goes well any more.
const PATIENCE: Duration = Duration::from_mins(2);

/// A call, again and again: whether it went well.
pub(crate) type Call<'a> = Box<dyn Fn() -> bool + Sync + Send + 'a>;

/// What is going on.
pub(crate) struct Load(Receiver<()>);

impl Load {
    /// Waits until so many more calls have gone well.
    #[track_caller]
    pub(crate) fn progress(&self, count: usize) {
        while self.0.try_recv().is_ok() {}
        for _ in 0..count {
            self.0.recv_timeout(PATIENCE).expect("it goes on");
        }
    }
}

/// Makes each call in a thread of its own until `meanwhile` is done.
///
/// # Panics
/// If a call does.
pub(crate) fn under(calls: Vec<Call<'_>>, meanwhile: impl FnOnce(&Load)) {
    /// Also if `meanwhile` panics.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let end = AtomicBool::new(false);
    let (tell, told) = sync_channel(16);
    thread::scope(|scope| {
        let _end = End(&end);
        for call in calls {
            let (end, tell) = (&end, tell.clone());
            scope.spawn(move || {
                while !end.load(Ordering::SeqCst) {
                    if call() {
                        // Whoever waits has seen enough if it does not fit.
                        let _ = tell.try_send(());
                    }
                }
            });
        }
        drop(tell);
        meanwhile(&Load(told));
    });
}
