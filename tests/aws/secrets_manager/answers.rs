//! A server that answers each call as a test says, and not as AWS would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use strongroom_aws::AwsSecretsManager;
use strongroom_core::{ErrorKind, Expect, Kind, PutOptions, SecretStore, Select, Version};
use strongroom_kit::block_on;
use strongroom_kit::conformance::assert_kind;

use super::{assert_value, aws, get, name, of, options, put};

#[test]
fn an_answer_that_cannot_be_read_is_not_quoted() {
    let cut = r#"{"ARN":"arn:x","Name":"p/acme/@db","SecretString":"a-value-nobody-may-see"#;
    let endpoint = answering(move |_, _| (200, cut.to_owned()));
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
        let endpoint = answering(move |_, _| (200, answer.clone()));
        let store = AwsSecretsManager::new(&aws(&endpoint), options("p")).expect("options");
        let select = Select::Version(Version::new("v".repeat(32)).expect("a version"));
        assert_kind(get(&store, "db", &select).map(drop), ErrorKind::Tampered, of);
    }
}

#[test]
fn who_may_not_read_batches_reads_one_by_one() {
    let endpoint = answering(|target, _| match target {
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

#[test]
fn twenty_current_versions_are_one_call() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let endpoint = answering(move |target, asked| {
        seen.lock().expect("not poisoned").push(target.to_owned());
        let ids = asked["SecretIdList"].as_array().expect("a batch");
        let values: Vec<_> = ids.iter().map(|id| value_of(id.as_str().expect("text"))).collect();
        (200, format!(r#"{{"SecretValues":[{}]}}"#, values.join(",")))
    });
    let store = AwsSecretsManager::new(&aws(&endpoint), options("p")).expect("options");
    let names: Vec<_> = (0..40).map(|n| name("acme", &format!("s{n}"))).collect();
    let wanted: Vec<_> = names.iter().map(|name| (name, &Select::Latest)).collect();
    for answer in block_on(store.get_many(&wanted)) {
        assert_value(&answer.expect("got"), b"x", Kind::Text);
    }
    assert_eq!(*calls.lock().expect("not poisoned"), ["secretsmanager.BatchGetSecretValue"; 2]);
}

/// The label is moved, and whoever asked did not hear it: asked again, AWS refuses.
#[test]
fn a_swap_whose_answer_was_lost_has_won_or_not() {
    for (stage, has_won) in
        [("AWSCURRENT", true), ("AWSPREVIOUS", true), ("strongroom-swap-1", false)]
    {
        let expected = "v".repeat(32);
        let (before, ours) = (expected.clone(), Mutex::new(None));
        let moved = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&moved);
        let endpoint = answering(move |target, asked| {
            let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
            let ours = || ours.lock().expect("not poisoned");
            let mut answer = json!({ "ARN": "arn:x", "Name": "p/acme/@db" });
            match target.trim_start_matches("secretsmanager.") {
                "PutSecretValue" => {
                    *ours() = Some(text("ClientRequestToken"));
                    answer["VersionId"] = asked["ClientRequestToken"].clone();
                }
                "DescribeSecret" => {
                    let current = match &*ours() {
                        Some(ours) => json!({ ours: [stage] }),
                        None => json!({ &before: ["AWSCURRENT"] }),
                    };
                    answer["VersionIdsToStages"] = current;
                }
                _ if asked["VersionStage"] == "AWSCURRENT" => {
                    let no = r#"{"__type":"InvalidParameterException","message":"no"}"#;
                    return (400, no.to_owned());
                }
                _ => seen.lock().expect("not poisoned").push(text("VersionStage")),
            }
            (200, answer.to_string())
        });
        let store = AwsSecretsManager::new(&aws(&endpoint), options("p")).expect("options");
        let latest = Expect::Latest(Version::new(expected).expect("a version"));
        let swap = PutOptions { expect: latest, ..of(Kind::Text) };
        let answer = put(&store, "db", b"x", &swap);
        let moved = moved.lock().expect("not poisoned");
        if has_won {
            answer.expect(stage);
            assert_eq!(moved.len(), 1, "its label is taken away");
        } else {
            assert_kind(answer, ErrorKind::Conflict, stage);
            assert!(moved.is_empty(), "its label hides it");
        }
    }
}

fn value_of(name: &str) -> String {
    let version = "v".repeat(32);
    format!(
        r#"{{"ARN":"arn:x","Name":"{name}","SecretString":"x","VersionId":"{version}","VersionStages":["AWSCURRENT"],"CreatedDate":1}}"#
    )
}

/// Serves until the process ends: `answer` gives status and body for the operation
/// that is called, and what it is asked. Gives the endpoint.
fn answering(answer: impl Fn(&str, &Value) -> (u16, String) + Send + 'static) -> String {
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

fn serve(
    mut stream: TcpStream,
    answer: &impl Fn(&str, &Value) -> (u16, String),
) -> std::io::Result<()> {
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
    let mut asked = vec![0; length];
    reader.read_exact(&mut asked)?;
    let (status, body) = answer(&target, &serde_json::from_slice(&asked)?);
    let bytes = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: application/x-amz-json-1.1\r\n\
         content-length: {bytes}\r\nconnection: close\r\n\r\n{body}"
    )
}
