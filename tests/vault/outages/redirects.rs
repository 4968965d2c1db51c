//! Where a server may lead to, and under which name it is known.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use strongroom_core::ErrorKind;
use strongroom_kit::proxy::FaultProxy;
use strongroom_kit::python;
use tempfile::TempDir;

use super::{LOOKUP, as_root};
use crate::{caller, connect, server, within};

const SCRIPT: &str = concat!(include_str!("../../kit/certificates.py"), include_str!("front.py"));

/// A TLS front whose certificate is for `vault.test` only, by a CA of its own.
struct Front {
    child: Child,
    folder: TempDir,
    address: String,
}

impl Front {
    /// It `pass`es on what comes to `target`, or `lead`s there.
    fn start(verb: &str, target: &str) -> Self {
        let python = python::with("cryptography==50.0.2\n", within());
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(python);
        command.args(["-c", SCRIPT]).arg(folder.path()).args(["vault.test", verb, target]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let address = format!("https://127.0.0.1:{}", port.trim());
        Self { child, folder, address }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_is_known_by_the_name_that_is_configured() {
    let front = Front::start("pass", server().address());
    let mut settings = as_root(&[&front.address], server());
    settings.retries = 0;
    settings.ca_file = Some(front.folder().join("ca.pem"));
    let error = caller(&connect(&settings)).unwrap_err();
    assert!(error.message().contains("certificate"), "{error}");
    settings.server_name = Some("vault.test".to_owned());
    let vault = connect(&settings);
    assert_eq!(caller(&vault).unwrap().policies, ["root"]);
    assert_eq!(vault.address(), front.address);
}

#[test]
fn nobody_is_led_out_of_tls() {
    let proxy = FaultProxy::start(server().address());
    let front = Front::start("lead", &proxy.endpoint());
    let mut settings = as_root(&[&front.address], server());
    settings.ca_file = Some(front.folder().join("ca.pem"));
    settings.server_name = Some("vault.test".to_owned());
    let error = caller(&connect(&settings)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.message().contains("without TLS"), "{error}");
    assert!(error.message().contains(&proxy.endpoint()), "{error}");
    assert!(proxy.requests().is_empty(), "no token went there");
}

#[test]
fn servers_that_lead_to_each_other_are_an_outage() {
    let [first, second] = [0, 1].map(|_| FaultProxy::start(server().address()));
    for (from, to) in [(&first, &second), (&second, &first)] {
        let location = format!("{}/v1/auth/token/lookup-self", to.endpoint());
        let headers = vec![("Location".to_owned(), location)];
        from.always(
            LOOKUP,
            strongroom_kit::proxy::Fault::Status { code: 307, body: Vec::new(), headers },
        );
    }
    let mut settings = as_root(&[&first.endpoint(), &second.endpoint()], server());
    settings.retries = 0;
    let error = caller(&connect(&settings)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("none is active"), "{error}");
    assert_eq!((first.count(LOOKUP), second.count(LOOKUP)), (2, 2));
}
