//! TLS, and the login with a certificate.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::json;
use strongroom_core::ErrorKind;
use strongroom_kit::proxy::FaultProxy;
use strongroom_kit::vault::Vault as Server;
use strongroom_vault::{Auth, ClientCertificate, Vault, VaultSettings};
use tempfile::TempDir;

use super::assert_refused;
use crate::{bytes, caller, connect, given, settings, within};

/// A server over TLS, which lets `client.pem` log in; and where the certificates are.
fn server() -> &'static (Server, TempDir) {
    static SERVER: OnceLock<(Server, TempDir)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::over_tls(within(), folder.path());
        server.auth_mount("cert", "cert");
        let certificate = fs::read_to_string(folder.path().join("client.pem")).unwrap();
        let role = json!({"certificate": certificate, "token_policies": ["app"]});
        server.api("POST", "auth/cert/certs/app", &role);
        (server, folder)
    })
}

fn folder() -> &'static Path {
    server().1.path()
}

fn certificate(name: &str) -> ClientCertificate {
    let key = fs::read_to_string(folder().join(format!("{name}-key.pem"))).unwrap();
    let (chain, key) = (folder().join(format!("{name}.pem")), Arc::new(bytes(&key)));
    ClientCertificate { chain, key }
}

/// With the client's certificate, and the CA of the server.
fn of_client() -> VaultSettings {
    let auth = Auth::Certificate { mount: "cert".to_owned(), role: None };
    let mut settings = settings(server().0.address(), auth);
    settings.ca_file = Some(folder().join("ca.pem"));
    settings.client_certificate = Some(certificate("client"));
    settings
}

fn error(change: impl FnOnce(&mut VaultSettings)) -> strongroom_core::Error {
    let mut settings = of_client();
    settings.retries = 0;
    change(&mut settings);
    Vault::connect(&settings).and_then(|vault| caller(&vault)).unwrap_err()
}

#[test]
fn a_client_certificate_logs_in_and_a_strangers_does_not() {
    let seen = caller(&connect(&of_client())).unwrap();
    assert_eq!((&*seen.display_name, &*seen.login), ("cert-app", "auth/cert/login"));
    assert_eq!(seen.policies, ["app", "default"]);
    let mut named = of_client();
    named.auth = Auth::Certificate { mount: "cert".to_owned(), role: Some("app".to_owned()) };
    caller(&connect(&named)).unwrap();

    let refused = error(|settings| settings.client_certificate = Some(certificate("stranger")));
    assert_refused(&refused, "auth/cert/login: failed to match all constraints", &[]);
    let none = error(|settings| settings.client_certificate = None);
    assert_eq!(none.kind(), ErrorKind::Configuration, "{none}");
    assert!(none.message().contains("client_certificate"), "{none}");
    let mixed = error(|settings| {
        let key = certificate("stranger").key;
        settings.client_certificate = Some(ClientCertificate { key, ..certificate("client") });
    });
    assert_eq!(mixed.kind(), ErrorKind::Configuration, "{mixed}");
}

#[test]
fn a_server_whose_certificate_is_not_trusted_is_not_talked_to() {
    let by_the_system = error(|settings| settings.ca_file = None);
    let by_another = error(|settings| settings.ca_file = Some(folder().join("stranger.pem")));
    let for_another = error(|settings| settings.server_name = Some("vault.test".to_owned()));
    for refused in [&by_the_system, &by_another, &for_another] {
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
        assert!(refused.message().contains("certificate"), "{refused}");
        assert!(refused.message().contains(server().0.address()), "{refused}");
    }
    assert!(for_another.message().contains("vault.test"), "{for_another}");
    let nothing = error(|settings| settings.ca_file = Some(folder().join("client-key.pem")));
    assert!(nothing.message().contains("there is no certificate in"), "{nothing}");
    let missing = error(|settings| settings.ca_file = Some(folder().join("missing.pem")));
    assert!(missing.message().contains("cannot be read"), "{missing}");
}

#[test]
fn a_proxy_carries_what_it_cannot_read() {
    let (_, port) = server().0.address().rsplit_once(':').unwrap();
    let proxy = FaultProxy::start(&format!("127.0.0.1:{port}"));
    let url = proxy.endpoint().replace("http://", "http://user:hunter2@");
    let mut through = of_client();
    through.proxy = Some(Arc::new(bytes(&url)));
    caller(&connect(&through)).unwrap();
    let asked = proxy.requests();
    assert!(!asked.is_empty());
    for request in asked {
        assert_eq!(request.operation, "CONNECT");
        assert_eq!(request.proxied.as_deref(), Some(&*format!("127.0.0.1:{port}")));
        assert!(request.header("proxy-authorization").is_some());
        assert!(request.header("x-vault-token").is_none());
    }
    drop(proxy);
    let gone = error(|settings| settings.proxy = through.proxy.clone());
    assert_eq!(gone.kind(), ErrorKind::Unavailable, "{gone}");
    assert!(!format!("{gone:?}").contains("hunter2"), "{gone}");
}

#[test]
fn without_tls_a_proxy_is_asked_for_the_server() {
    let proxy = crate::proxy();
    let auth = Auth::Token(given(crate::server().root_token()));
    let mut settings = settings("http://vault.test:8200", auth);
    settings.proxy = Some(Arc::new(bytes(&proxy.endpoint())));
    caller(&connect(&settings)).unwrap();
    let asked = proxy.requests();
    assert!(asked.iter().all(|one| one.proxied.as_deref() == Some("vault.test:8200")));
}
