//! One user's flood, and another user beside it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use strongroom_core::Select;
use strongroom_kit::sidecar::connect;

use crate::process_of::{PROGRAM, Process};
use crate::until;

/// A user who owns nothing: `nobody`, everywhere.
const FLOODER: u32 = 65_534;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_one_user_starves_no_other() {
    // What the flooder is refused with, it asserts itself.
    let mut sidecar = Process::start(
        "socket_mode = \"0666\"\nmax_requests_per_user = 16\nmax_connections_per_user = 32",
    );
    let mut command = Command::new(PROGRAM);
    command.arg("flood").arg(sidecar.path()).uid(FLOODER).gid(FLOODER);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut flood = match spawned {
        Ok(flood) => flood,
        Err(error) => {
            assert!(!is_root() || error.kind() == std::io::ErrorKind::PermissionDenied, "{error}");
            eprintln!("SKIPPED: no process can be run as user {FLOODER}: {error}");
            return;
        }
    };
    let mut output = BufReader::new(flood.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it floods");
    assert_eq!(line, "flooding\n");

    for _ in 0..10 {
        let client = connect(sidecar.path()).await;
        for _ in 0..20 {
            client.get("account.db", &Select::Latest).await.expect("not one is refused");
        }
    }

    drop(flood.stdin.take());
    let mut tally = String::new();
    output.read_to_string(&mut tally).expect("how it went");
    assert!(flood.wait().expect("it ends").success());
    let counts: Vec<u64> = tally.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    let [answered, refused, closed] = counts[..] else { panic!("{tally}") };
    println!("the flooder was answered {answered} times and refused {refused} times");
    assert!(answered > 0 && refused > 0);
    let metric = |sidecar: &mut Process, limit: &str| {
        sidecar.metric(&format!("strongroom_refused_total{{limit=\"{limit}\"}}"))
    };
    assert_eq!(metric(&mut sidecar, "max_requests_per_user"), refused);
    assert_eq!(metric(&mut sidecar, "max_connections_per_user"), closed);
    until("nothing is left of it", || sidecar.is_idle()).await;
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
