//! Login with `AppRole`.

use serde_json::json;
use strongroom_vault::{AppRole, Auth};

use super::{app_role, assert_refused, login, revoke_all};
use crate::{caller, connect, given, proxy, server, settings};

/// A secret id of the role at a mount, in a token that it is wrapped in.
const WRAP: &str = "import hvac, sys
made = hvac.Client().adapter.post(f'/v1/auth/{sys.argv[1]}/role/app/secret-id', wrap_ttl='5m')
print(made['wrap_info']['token'], end='')";

const UNWRAP: &str = "import hvac, sys
print(hvac.Client(token=sys.argv[1]).sys.unwrap()['data']['secret_id'], end='')";

/// What somebody does who wants nobody to notice that he has unwrapped it.
const WRAP_AGAIN: &str = "import hvac, sys
secret_id = hvac.Client(token=sys.argv[1]).sys.unwrap()['data']
print(hvac.Client().sys.wrap(secret_id, ttl=300)['wrap_info']['token'], end='')";

const UNWRAPPED: &str = "POST /v1/sys/wrapping/unwrap";

#[test]
fn a_role_logs_in_with_its_secret_id() {
    let policies = json!({"token_policies": ["app"]});
    let (auth, _) = login(server(), "approle", &policies);
    let Auth::AppRole(role) = &auth else { unreachable!() };
    let caller_of = |auth| caller(&connect(&settings(server().address(), auth)));
    let seen = caller_of(auth.clone()).unwrap();
    assert_eq!((&*seen.display_name, &*seen.login), ("approle", "auth/approle/login"));
    assert_eq!(seen.policies, ["app", "default"]);

    let wrong = "not-the-secret-id";
    let with = |secret: Option<_>| Auth::AppRole(AppRole::new(&role.role_id, secret));
    let error = caller_of(with(Some(given(wrong)))).unwrap_err();
    assert_refused(&error, "auth/approle/login: invalid role or secret ID", &[wrong]);
    let error = caller_of(with(None)).unwrap_err();
    assert_refused(&error, "missing secret_id", &[]);
    let mut elsewhere = role.clone();
    elsewhere.mount = "nowhere".to_owned();
    let error = caller_of(Auth::AppRole(elsewhere)).unwrap_err();
    assert_refused(&error, "auth/nowhere/login", &[]);
    // A login needs no policy.
    assert!(!error.message().contains("capabilities"), "{error}");
}

#[test]
fn a_role_may_need_no_secret_id() {
    let role = json!({"bind_secret_id": true});
    let (id, _) = app_role(server(), "bound", &role);
    let bound = json!({"bind_secret_id": false, "token_bound_cidrs": ["127.0.0.1/32"]});
    server().api("POST", "auth/bound/role/app", &bound);
    let mut login = AppRole::new(&id, None);
    login.mount = "bound".to_owned();
    let vault = connect(&settings(server().address(), Auth::AppRole(login)));
    assert_eq!(caller(&vault).unwrap().login, "auth/bound/login");
}

/// The role, with a secret id in this wrapping.
fn wrapped(id: &str, mount: &str, token: &str) -> Auth {
    let mut login = AppRole::new(id, Some(given(token)));
    mount.clone_into(&mut login.mount);
    login.wrapped = true;
    Auth::AppRole(login)
}

#[test]
fn a_wrapped_secret_id_is_unwrapped_once_and_remembered() {
    let (id, _) = app_role(server(), "wrapped", &json!({}));
    let token = server().hvac(WRAP, &["wrapped"]);
    let proxy = proxy();
    let settings = settings(&proxy.endpoint(), wrapped(&id, "wrapped", &token));
    let vault = connect(&settings);
    caller(&vault).unwrap();
    revoke_all(server(), "wrapped");
    caller(&vault).unwrap();
    // Another connection of the same settings has it too.
    caller(&connect(&settings)).unwrap();
    assert_eq!(proxy.count("POST /v1/auth/wrapped/login"), 3);
    assert_eq!(proxy.count(UNWRAPPED), 1);
}

#[test]
fn a_wrapping_that_somebody_has_opened_is_an_alarm() {
    let (id, _) = app_role(server(), "opened", &json!({}));
    let proxy = proxy();
    let error_of = |token: &str| {
        let vault = connect(&settings(&proxy.endpoint(), wrapped(&id, "opened", token)));
        caller(&vault).unwrap_err()
    };
    let token = server().hvac(WRAP, &["opened"]);
    let secret_id = server().hvac(UNWRAP, &[&token]);
    let why = "somebody has unwrapped it already, who can log in with it";
    assert_refused(&error_of(&token), why, &[&token, &secret_id]);

    let token = server().hvac(WRAP, &["opened"]);
    let again = server().hvac(WRAP_AGAIN, &[&token]);
    let why = "was made by sys/wrapping/wrap, and not by a role of auth/opened";
    assert_refused(&error_of(&again), why, &[&token, &again]);
    assert_eq!(proxy.count(UNWRAPPED), 0, "what is not trusted is not opened");
    assert_eq!(proxy.count("POST /v1/auth/opened/login"), 0);
}
