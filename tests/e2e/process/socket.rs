//! The socket file: its permissions, and who may take its place.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use strongroom_kit::daemon::{Daemon, Home};

/// `command`, under this umask.
fn under(umask: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask $0 && exec \"$@\"", umask]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").mode() & 0o7777
}

#[test]
fn the_umask_has_no_say_in_the_sockets_permissions() {
    for umask in ["000", "077"] {
        for (asked, expected, directory) in
            [("0600", 0o600, 0o700), ("0660", 0o660, 0o755), ("0666", 0o666, 0o755)]
        {
            let home = Home::new(&format!("[sidecar]\nsocket_mode = \"{asked}\"\n"));
            let sidecar = Daemon::start(under(umask, &home.command()));
            let socket = home.socket();
            assert_eq!(mode(&socket), expected, "umask {umask}");
            assert_eq!(mode(socket.parent().expect("a folder")), directory, "umask {umask}");
            assert_eq!(mode(&socket.with_extension("sock.lock")), 0o600, "umask {umask}");
            sidecar.end();
        }
    }
}

#[test]
fn the_socket_of_a_dead_sidecar_is_taken_over_and_that_of_a_live_one_is_not() {
    let home = Home::new("");
    home.start().kill();
    assert!(home.socket().exists(), "nobody was there to remove it");
    let sidecar = home.start();
    // Another store, the same socket.
    let other = Home::new(&format!("[sidecar]\nsocket = {:?}\n", home.socket()));
    let (status, log) = Daemon::launch(other.command()).ended();
    assert!(!status.success());
    assert!(log.contains(&format!("pid {}", sidecar.pid())), "{log}");
    UnixStream::connect(home.socket()).expect("the first one is alive");
    sidecar.end();
    assert!(!home.socket().exists());
}

#[test]
fn a_symbolic_link_in_the_sockets_place_is_left_alone() {
    let home = Home::new("");
    let (socket, precious) = (home.socket(), home.path().join("precious"));
    fs::create_dir_all(socket.parent().expect("a folder")).expect("made");
    fs::write(&precious, "kept").expect("written");
    symlink(&precious, &socket).expect("linked");
    let (status, log) = Daemon::launch(home.command()).ended();
    assert!(!status.success());
    assert!(log.contains("symbolic link"), "{log}");
    assert_eq!(fs::read(&precious).expect("there"), b"kept");
}
