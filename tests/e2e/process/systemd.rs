//! The service manager's protocol, with this test in its place: `sd_notify(3)`
//! and `sd_listen_fds(3)`.

use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use strongroom_core::{PutOptions, Select};
use strongroom_kit::daemon::{ALLOW_OWNER, Daemon, Home};

use super::value;

/// What the sidecar tells next.
fn told(notify: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 4096];
    let bytes = notify.recv(&mut buffer).expect("the service manager is told");
    let text = String::from_utf8(buffer[..bytes].to_vec()).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_service_manager_is_told_of_the_start_each_reload_and_the_end() {
    let home = Home::new(ALLOW_OWNER);
    let address = home.path().join("notify");
    let notify = UnixDatagram::bind(&address).expect("bound");
    notify.set_read_timeout(Some(Duration::from_mins(1))).expect("a limit");
    let mut command = home.command();
    command.env("NOTIFY_SOCKET", &address);
    let sidecar = Daemon::launch(command);
    assert_eq!(told(&notify), ["READY=1"]);
    // Whoever is told may call at once.
    UnixStream::connect(home.socket()).expect("the socket is there");
    for broken in [false, true] {
        if broken {
            home.configure("nonsense");
        }
        sidecar.signal(Signal::HUP);
        let reloading = told(&notify);
        assert_eq!(reloading[0], "RELOADING=1");
        let since = reloading[1].strip_prefix("MONOTONIC_USEC=").expect("a time");
        assert!(since.parse::<u64>().is_ok_and(|since| since > 0), "{since}");
        assert_eq!(told(&notify), ["READY=1"], "a service that stays as it was is ready, too");
    }
    sidecar.signal(Signal::TERM);
    assert_eq!(told(&notify), ["STOPPING=1"]);
    let (status, log) = sidecar.ended();
    assert!(status.success(), "{log}");
}

/// Binds sockets as systemd would, hands them over from descriptor 3 on, and
/// becomes the command: `PATH... -- COMMAND`.
const ACTIVATE: &str = "
import os, socket, sys
end = sys.argv.index('--')
held = []
for number, path in enumerate(sys.argv[1:end]):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    # Out of the way of the numbers that are handed over.
    held.append(os.dup2(listener.detach(), 100 + number))
for number, descriptor in enumerate(held):
    os.dup2(descriptor, 3 + number, inheritable=True)
    os.close(descriptor)
os.environ['LISTEN_FDS'] = str(len(held))
os.environ['LISTEN_PID'] = str(os.getpid())
os.execv(sys.argv[end + 1], sys.argv[end + 1:])
";

fn activated(home: &Home, sockets: &[&Path]) -> Daemon {
    let mut python = Command::new("python3");
    python.args(["-c", ACTIVATE]).args(sockets).arg("--");
    let command = home.command();
    python.arg(command.get_program()).args(command.get_args());
    Daemon::launch(python)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_handed_over_is_served_and_stays_systemds() {
    let home = Home::new(ALLOW_OWNER);
    let handed = home.path().join("handed.sock");
    let sidecar = activated(&home, &[&handed]);
    sidecar.wait_for("\"serving\"", 0);
    assert!(!home.socket().exists(), "the configured socket is not made besides");
    let client = strongroom_client::Client::connect(&handed).await.expect("connected");
    client.put("account.a", &value(b"v"), &PutOptions::default()).await.expect("put");
    sidecar.reload("the configuration was reloaded");
    client.get("account.a", &Select::Latest).await.expect("got");
    sidecar.end();
    assert!(handed.exists(), "systemd's socket was removed");

    // The same home serves its own socket without systemd.
    let sidecar = home.start();
    super::client(&home).await.get("account.a", &Select::Latest).await.expect("got");
    sidecar.end();
}

#[test]
fn more_than_one_socket_is_refused() {
    let home = Home::new(ALLOW_OWNER);
    let sockets = ["one", "two"].map(|name| home.path().join(name));
    let (status, log) = activated(&home, &[&sockets[0], &sockets[1]]).ended();
    assert!(!status.success());
    assert!(log.contains("2 sockets"), "{log}");
}
