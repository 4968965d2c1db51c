//! Nothing secret is said, at any level of any library's log.

use std::fmt::Write as _;

use strongroom_core::{ExternalStore, Kind, SecretStore, Select};
use strongroom_kit::block_on;
use strongroom_kit::proxy::Fault;
use strongroom_vault::VaultExternalSecrets;

use super::{BOTH, connect, get, mount, name, of, open_at, options, put, settings};
use crate::{log, proxy, server};

const VALUE: &str = "a-value-for-nobody's-eyes";
/// The same as it is sent.
const IN_BASE64: &str = "YS12YWx1ZS1mb3Itbm9ib2R5J3MtZXllcw";

#[test]
fn no_level_of_the_log_tells_a_value_or_a_token() {
    log::begin();
    let mut shown = String::new();
    for version in BOTH {
        let proxy = proxy();
        let vault = connect(&settings(&proxy.endpoint()));
        let store = open_at(&vault, options(version, "quiet"));
        put(&store, "db", VALUE.as_bytes(), &of(Kind::Text)).unwrap();
        let bytes = [VALUE.as_bytes(), b"\0"].concat();
        put(&store, "file", &bytes, &of(Kind::File)).unwrap();
        assert!(get(&store, "db", &Select::Latest).unwrap().value.expose() == VALUE.as_bytes());
        let path = format!("{}/quiet/acme/@db", mount(version));
        let external = VaultExternalSecrets::new(&vault);
        block_on(external.read(&path)).unwrap();
        let _ = write!(shown, "{vault:?} {store:?} {external:?}");
        // An answer that makes no sense is not quoted either.
        let cut = |body: &mut Vec<u8>| body.truncate(body.len() - 2);
        let turned = |body: &mut Vec<u8>| {
            *body = String::from_utf8_lossy(body).replace("\"data\":{", "\"data\":\"{").into();
        };
        for garble in [Fault::rewrite(cut), Fault::rewrite(turned)] {
            proxy.always(strongroom_kit::proxy::ANY, garble);
            let error = get(&store, "db", &Select::Latest).map(drop).unwrap_err();
            let _ = write!(shown, "{error:?} {error}");
            let error = block_on(store.delete(&name("acme", "db"))).unwrap_err();
            let _ = write!(shown, "{error:?} {error}");
            proxy.clear();
        }
    }
    let said = log::said();
    assert!(said.contains("TRACE") && said.contains("hyper"), "the log is on");
    assert!(shown.contains("makes no sense"), "{shown}");
    for (what, secret) in
        [("a value", VALUE), ("a file", IN_BASE64), ("the token", server().root_token())]
    {
        assert!(!said.contains(secret), "{what} is in the log");
        assert!(!shown.contains(secret), "{what} is in an error");
    }
}
