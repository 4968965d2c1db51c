//! hvac, the client of Python, reads what we wrote and the reverse.

use std::collections::BTreeMap;

use strongroom_core::{ErrorKind, Kind, Metadata, MetadataChange, PutOptions, SecretStore, Select};
use strongroom_kit::block_on;
use strongroom_kit::conformance::assert_kind;
use strongroom_vault::KvVersion;

use super::{BOTH, assert_value, get, hvac, name, of, open, put, versions};

#[test]
fn hvac_reads_what_was_written() {
    for version in BOTH {
        let store = open(version, "written");
        let login = br#"{"user":"me","password":"s3cret"}"#;
        put(&store, "text", "z\u{fc}rich <&>\n\"\\".as_bytes(), &of(Kind::Text)).unwrap();
        put(&store, "login", login, &of(Kind::Login)).unwrap();
        put(&store, "file", b"\x00\xfftext", &of(Kind::File)).unwrap();
        put(&store, "empty", b"", &of(Kind::Text)).unwrap();
        let client = if version == KvVersion::One { "one" } else { "two" };
        let told = hvac(
            &format!(
                "
import base64
def read(id): return {client}.read('written/acme/@' + id)
def ours(data): return sorted(k.split(':')[0] for k in data if k.startswith('strongroom-'))
assert read('text')['value'] == 'z\\u00fcrich <&>\\n\"\\\\'
assert json.loads(read('login')['value'])['password'] == 's3cret'
assert base64.b64decode(read('file')['value']) == b'\\x00\\xfftext'
assert read('empty')['value'] == ''
print(json.dumps([ours(read(id)) for id in ('text', 'login', 'file')]))
"
            ),
            &[],
        );
        let id = match version {
            KvVersion::One => r#", "strongroom-version""#,
            KvVersion::Two => "",
        };
        let of_text = id.trim_start_matches(", ");
        let file = format!(r#""strongroom-encoding", "strongroom-kind"{id}"#);
        let all = format!(r#"[[{of_text}], ["strongroom-kind"{id}], [{file}]]"#);
        assert_eq!(told.trim(), all);
    }
}

#[test]
fn what_hvac_wrote_is_read() {
    for version in BOTH {
        let client = if version == KvVersion::One { "one" } else { "two" };
        hvac(
            &format!(
                "
def write(id, data): {client}.write('foreign/acme/@' + id, data)
write('text', dict(value='z\\u00fcrich\\n', owner='ops'))
write('number', dict(value=7))
write('nested', dict(value=dict(a=[1, None])))
write('other', dict(user='canary', password='canary'))
write('garbled', {{'value': 'canary!', 'strongroom-encoding:base64': ''}})
write('later', {{'value': 'canary', 'strongroom-kind:token': ''}})
"
            ),
            &[],
        );
        let store = open(version, "foreign");
        let read = |id| get(&store, id, &Select::Latest);
        assert_value(&read("text").unwrap(), "z\u{fc}rich\n".as_bytes(), Kind::Text);
        assert_value(&read("number").unwrap(), b"7", Kind::Text);
        assert_value(&read("nested").unwrap(), br#"{"a":[1,null]}"#, Kind::Text);
        for (id, kind, told) in [
            ("other", ErrorKind::Unsupported, "password, user, and not value"),
            ("garbled", ErrorKind::Tampered, "Base64"),
            ("later", ErrorKind::Unsupported, "newer release"),
        ] {
            let error = read(id).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(told), "{error}");
            assert!(!format!("{error:?}").contains("canary"), "{id}: a value is in an error");
        }
        let number = if version == KvVersion::One { "0" } else { "1" };
        assert_eq!(read("text").unwrap().version.as_str(), number);
        assert_eq!(versions(&store, "text")[0].kind, Kind::Text);
        // What we write then is ours.
        let version = put(&store, "other", b"ours", &of(Kind::Text)).unwrap();
        assert_eq!(read("other").unwrap().version, version);
    }
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn metadata_are_the_same_to_both() {
    let store = open(KvVersion::Two, "described");
    let all =
        tags(&[("env", "prod"), ("label", ""), ("z\u{fc}rich x", "100% \"q\""), ("u", "\u{a0}")]);
    let metadata = Metadata::new("of the shop\n\u{1f512}", all).unwrap();
    let options = PutOptions { metadata: Some(metadata.clone()), ..of(Kind::Text) };
    put(&store, "db", b"value", &options).unwrap();
    let told = hvac(
        "
two.create_or_update_secret('described/acme/@foreign', secret=dict(value='x'))
two.update_metadata('described/acme/@foreign', custom_metadata={'owner': 'ops', 'a=b': 'x'})
print(json.dumps(two.read_secret_metadata('described/acme/@db')['data']['custom_metadata']))
",
        &[],
    );
    let custom: BTreeMap<String, String> = serde_json::from_str(&told).unwrap();
    assert_eq!(custom["env"], "prod");
    assert_eq!(custom["z\u{fc}rich x"], "100% \"q\"");
    assert_eq!(custom["strongroom-description"], "strongroom-escaped:of the shop%0A\u{1f512}");
    let page = strongroom_core::PageRequest::first(10);
    let listed = block_on(store.list(&"acme".parse().unwrap(), false, &page)).unwrap().items;
    assert_eq!(listed[0].metadata, metadata);
    assert_eq!(listed[1].metadata, Metadata::new("", tags(&[("owner", "ops")])).unwrap());
    // What cannot be ours stays when ours is changed.
    let change = MetadataChange { tags: tags(&[("env", "test")]), ..MetadataChange::default() };
    block_on(store.change_metadata(&name("acme", "foreign"), &change)).unwrap();
    let kept = hvac(
        "print(sorted(two.read_secret_metadata('described/acme/@foreign')['data']['custom_metadata']))",
        &[],
    );
    assert_eq!(kept.trim(), "['a=b', 'env', 'owner']");
    for key in ["strongroom-x", "a\u{a0}b"] {
        let change = MetadataChange { tags: tags(&[(key, "")]), ..MetadataChange::default() };
        let refused = block_on(store.change_metadata(&name("acme", "db"), &change));
        assert_kind(refused, ErrorKind::InvalidName, key);
    }
}
