//! A server that answers each call as a test says, and not as AWS would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use strongroom_aws::AwsSecretsManager;
use strongroom_core::{ErrorKind, Kind, SecretStore, Select, Version};
use strongroom_kit::block_on;
use strongroom_kit::conformance::assert_kind;

use super::{assert_value, aws, get, name, of, options, put};

#[test]
fn an_answer_that_cannot_be_read_is_not_quoted() {
    let cut = r#"{"ARN":"arn:x","Name":"p/acme/@db","SecretString":"a-value-nobody-may-see"#;
    let endpoint = answering(move |_| (200, cut.to_owned()));
    let store = AwsSecretsManager::new(&aws(&endpoint), options("p")).expect("options");
    let error = get(&store, "db", &Select::Latest).expect_err("it is cut");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error} {error:?}").contains("nobody-may-see"), "the value is in the error");
}

#[test]
fn another_secret_than_was_asked_for_is_not_given() {
    for (of, version) in [("p/acme/@db2", "v"), ("p/acme/@db", "w")] {
        let version = version.repeat(32);
        let answer = format!(
            r#"{{"ARN":"arn:x","Name":"{of}","SecretString":"x","VersionId":"{version}","CreatedDate":1}}"#
        );
        let endpoint = answering(move |_| (200, answer.clone()));
        let store = AwsSecretsManager::new(&aws(&endpoint), options("p")).expect("options");
        let select = Select::Version(Version::new("v".repeat(32)).expect("a version"));
        assert_kind(get(&store, "db", &select).map(drop), ErrorKind::Tampered, of);
    }
}

#[test]
fn who_may_not_read_batches_reads_one_by_one() {
    let endpoint = answering(|target| match target {
        "secretsmanager.GetSecretValue" => (200, value_of("p/acme/@a")),
        _ => (400, r#"{"__type":"AccessDeniedException","message":"no"}"#.to_owned()),
    });
    let store = AwsSecretsManager::new(&aws(&endpoint), options("p")).expect("options");
    let (a, b) = (name("acme", "a"), name("acme", "b"));
    let found = block_on(store.get_many(&[(&a, &Select::Latest), (&b, &Select::Latest)]));
    let [a, b] = found.try_into().expect("two");
    assert_value(&a.expect("got"), b"x", Kind::Text);
    assert_kind(b.map(drop), ErrorKind::Tampered, "the answer is about a");
    let denied = block_on(store.check()).expect_err("the probe is answered");
    assert_eq!(denied.operation(), Some("check"));
    let denied = put(&store, "a", b"x", &of(Kind::Text)).expect_err("not allowed");
    assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    assert!(denied.message().contains("secretsmanager:PutSecretValue"), "{denied}");
}

fn value_of(name: &str) -> String {
    let version = "v".repeat(32);
    format!(
        r#"{{"ARN":"arn:x","Name":"{name}","SecretString":"x","VersionId":"{version}","CreatedDate":1}}"#
    )
}

/// Serves until the process ends: `answer` gives status and body for the operation
/// that is called. Gives the endpoint.
fn answering(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that hangs up asks again.
            let _ = stream.and_then(|stream| serve(stream, &answer));
        }
    });
    endpoint
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str) -> (u16, String)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut target, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((key, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match key.to_ascii_lowercase().as_str() {
            "x-amz-target" => value.clone_into(&mut target),
            "content-length" => length = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let (status, body) = answer(&target);
    let bytes = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: application/x-amz-json-1.1\r\n\
         content-length: {bytes}\r\nconnection: close\r\n\r\n{body}"
    )
}
