//! Login as a service account of Kubernetes, whose `TokenReview` is answered here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use strongroom_vault::{Auth, Kubernetes};

use super::jwt::{in_seconds, keys, signed};
use super::{assert_refused, revoke_all};
use crate::{caller, connect, server, settings};

/// The part of a Kubernetes that says whose a token is. It knows those that it is told of,
/// and serves until the tests end.
struct TokenReviews {
    address: SocketAddr,
    valid: Arc<Mutex<Vec<String>>>,
}

impl TokenReviews {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let valid = Arc::<Mutex<Vec<String>>>::default();
        let known = Arc::clone(&valid);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that gives up is no fault of this server's.
                let _ = stream.and_then(|stream| review(stream, &known));
            }
        });
        Self { address, valid }
    }

    /// From now on this is the account's only token.
    fn issue(&self, token: &str) {
        *self.valid.lock().unwrap() = vec![token.to_owned()];
    }
}

/// One request, and the end of the connection.
fn review(stream: TcpStream, known: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            assert!(
                line.starts_with("POST /apis/authentication.k8s.io/v1/tokenreviews "),
                "{line}"
            );
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let token = asked["spec"]["token"].as_str().unwrap();
    let is_known = known.lock().unwrap().iter().any(|valid| valid == token);
    let user = json!({"username": "system:serviceaccount:pay:app", "uid": "a-uid"});
    let status =
        json!({"authenticated": is_known, "user": if is_known { user } else { json!({}) }});
    let answer = json!({"kind": "TokenReview", "status": status}).to_string();
    let head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: close";
    write!(stream.get_mut(), "{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())
}

fn token(key: &str, id: &str) -> String {
    let claims = json!({"iss": "https://kubernetes.default.svc", "jti": id,
        "sub": "system:serviceaccount:pay:app", "exp": in_seconds(3600), "iat": in_seconds(-60),
        "kubernetes.io": {"namespace": "pay", "serviceaccount": {"name": "app", "uid": "a-uid"}}});
    signed(key, &claims)
}

fn role(name: &str, account: &str) {
    let role = json!({"bound_service_account_names": [account],
        "bound_service_account_namespaces": ["pay"], "token_policies": ["app"]});
    server().api("POST", &format!("auth/kubernetes/role/{name}"), &role);
}

#[test]
fn a_pod_logs_in_and_its_token_is_read_at_each_login() {
    let (key, reviews) = (keys().0, TokenReviews::start());
    server().auth_mount("kubernetes", "kubernetes");
    let config = json!({"kubernetes_host": format!("http://{}", reviews.address),
        "disable_local_ca_jwt": true, "token_reviewer_jwt": token(&key, "reviewer")});
    server().api("POST", "auth/kubernetes/config", &config);
    role("app", "app");
    role("other", "somebody-else");
    let file = tempfile::NamedTempFile::new().unwrap();
    let auth = |role: &str| {
        let mut login = Kubernetes::new(role);
        login.token_file = file.path().to_owned();
        Auth::Kubernetes(login)
    };
    let (first, second) = (token(&key, "first"), token(&key, "second"));
    std::fs::write(file.path(), &first).unwrap();
    reviews.issue(&first);
    let vault = connect(&settings(server().address(), auth("app")));
    let seen = caller(&vault).unwrap();
    assert_eq!(
        (&*seen.display_name, &*seen.login),
        ("kubernetes-pay-app", "auth/kubernetes/login")
    );
    assert_eq!(seen.policies, ["app", "default"]);

    let other = connect(&settings(server().address(), auth("other")));
    assert_refused(&caller(&other).unwrap_err(), "service account name not authorized", &[&first]);

    // The kubelet has renewed it, and Kubernetes knows the old one no more.
    reviews.issue(&second);
    revoke_all(server(), "kubernetes");
    assert_refused(&caller(&vault).unwrap_err(), "auth/kubernetes/login", &[&first]);
    std::fs::write(file.path(), &second).unwrap();
    caller(&vault).unwrap();
}
