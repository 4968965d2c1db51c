//! Login with a JSON Web Token, which the test signs.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strongroom_vault::{Auth, Jwt, SecretText};

use super::assert_refused;
use crate::{caller, connect, given, server, settings};

const KEYS: &str = "
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import serialization as s
key = ec.generate_private_key(ec.SECP256R1())
private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
print((private + b'|' + public).decode(), end='')";

const SIGN: &str = "import json, jwt, sys
print(jwt.encode(json.loads(sys.argv[2]), sys.argv[1], 'ES256'), end='')";

/// A key that signs, and its public half.
pub(super) fn keys() -> (String, String) {
    let made = server().hvac(KEYS, &[]);
    let (private, public) = made.split_once('|').unwrap();
    (private.to_owned(), public.to_owned())
}

pub(super) fn signed(key: &str, claims: &Value) -> String {
    server().hvac(SIGN, &[key, &claims.to_string()])
}

/// Seconds since 1970, so many from now.
pub(super) fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}

fn claims(expires: i64) -> Value {
    json!({"iss": "https://issuer.test", "sub": "app", "aud": "strongroom",
        "iat": in_seconds(-600), "exp": in_seconds(expires)})
}

fn mount(path: &str, public: &str) {
    server().auth_mount(path, "jwt");
    let config = json!({"jwt_validation_pubkeys": [public], "bound_issuer": "https://issuer.test"});
    server().api("POST", &format!("auth/{path}/config"), &config);
    let role = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["strongroom"],
        "token_policies": ["app"], "clock_skew_leeway": -1, "expiration_leeway": -1});
    server().api("POST", &format!("auth/{path}/role/app"), &role);
}

fn with(mount: &str, role: &str, token: SecretText) -> Auth {
    Auth::Jwt(Jwt { mount: mount.to_owned(), role: Some(role.to_owned()), token })
}

#[test]
fn a_token_of_the_issuer_logs_in_and_no_other() {
    let (key, public) = keys();
    mount("jwt", &public);
    let seen = |role: &str, token: &str| {
        caller(&connect(&settings(server().address(), with("jwt", role, given(token)))))
    };
    let good = signed(&key, &claims(600));
    let found = seen("app", &good).unwrap();
    assert_eq!((&*found.display_name, &*found.login), ("jwt-app", "auth/jwt/login"));
    assert_eq!(found.policies, ["app", "default"]);

    let mut other_audience = claims(600);
    other_audience["aud"] = json!("somebody else");
    let (stranger, _) = keys();
    for (why, role, token) in [
        ("expired", "app", signed(&key, &claims(-300))),
        ("invalid audience (aud) claim", "app", signed(&key, &other_audience)),
        ("no known key successfully validated the token", "app", signed(&stranger, &claims(600))),
        ("role \"root\" could not be found", "root", good.clone()),
        ("auth/jwt/login", "app", "no-json-web-token".to_owned()),
    ] {
        let signature = token.rsplit('.').next().unwrap();
        assert_refused(&seen(role, &token).unwrap_err(), why, &[&token, signature]);
    }
}

#[test]
fn the_file_of_a_token_is_read_at_each_login() {
    let (key, public) = keys();
    mount("jwt-file", &public);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signed(&key, &claims(-300))).unwrap();
    let auth = with("jwt-file", "app", SecretText::File(file.path().to_owned()));
    let vault = connect(&settings(server().address(), auth));
    assert_refused(&caller(&vault).unwrap_err(), "expired", &[]);
    std::fs::write(file.path(), signed(&key, &claims(600)) + "\n").unwrap();
    caller(&vault).unwrap();
}
