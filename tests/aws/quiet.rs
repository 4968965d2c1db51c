//! Nothing secret is said, at any level of any library's log.

use std::sync::{Arc, Mutex};

use crate::log::log;
use crate::{KEY, TRUST, bytes, connect, context, key, moto, proxy, settings};
use strongroom_aws::{AssumeRole, AwsKms, AwsSecretsManager, KmsOptions, SecretsManagerOptions};
use strongroom_core::{KeyWrapper, PutOptions, SecretName, SecretStore, Select};
use strongroom_kit::block_on;
use strongroom_kit::moto::ALLOW_ALL;
use strongroom_kit::proxy::Fault;

const VALUE: &str = "a-value-for-nobody's-eyes";

#[test]
fn no_level_of_the_log_tells_a_credential_or_a_key() {
    let log = log();
    let proxy = proxy();
    let mut settings = settings(&proxy);
    settings.role = Some(AssumeRole::new(&moto().0.create_role("quiet", TRUST, ALLOW_ALL)));
    let answers = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&answers);
    let note = move |body: &mut Vec<u8>| noted.lock().unwrap().push(body.clone());
    for operation in ["AssumeRole", "GenerateDataKey", "Decrypt"] {
        proxy.next(operation, Fault::rewrite(note.clone()));
    }
    let aws = connect(&settings);
    block_on(aws.caller()).unwrap();
    block_on(aws.describe_regions(None)).unwrap();
    let kms = AwsKms::new(&aws, &key(KEY), KmsOptions::default()).unwrap();
    let (_, wrapped) = block_on(kms.generate(&context("a"))).unwrap();
    block_on(kms.unwrap(&wrapped, &context("a"))).unwrap();
    let mut options = SecretsManagerOptions::new("acme");
    "quiet".clone_into(&mut options.prefix);
    let store = AwsSecretsManager::new(&connect(&settings), options).unwrap();
    let name = SecretName::new("acme".parse().unwrap(), "db").unwrap();
    block_on(store.put(&name, &bytes(VALUE), &PutOptions::default())).unwrap();
    assert!(
        block_on(store.get(&name, &Select::Latest)).unwrap().value.expose() == VALUE.as_bytes()
    );
    // An answer that makes no sense is not quoted either.
    let garble = |body: &mut Vec<u8>| body.truncate(body.len() - 1);
    proxy.always("Decrypt", Fault::rewrite(garble));
    let error = block_on(kms.unwrap(&wrapped, &context("a"))).unwrap_err();
    let shown = format!("{error:?} {error}");

    let said = log.text();
    assert!(said.contains("TRACE") && said.contains("aws_smithy"), "the log is on");
    let answers: Vec<_> = answers.lock().unwrap().iter().map(|body| text(body)).collect();
    let between = |text: &str, from: &str, to: &str| {
        let start = text.find(from).unwrap() + from.len();
        text[start..start + text[start..].find(to).unwrap()].to_owned()
    };
    let secrets = [
        ("the user's secret", moto().1.secret.clone()),
        ("the session's secret", between(&answers[0], "<SecretAccessKey>", "<")),
        ("the session token", between(&answers[0], "<SessionToken>", "<")),
        ("a generated DEK", between(&answers[1], "\"Plaintext\": \"", "\"")),
        ("a value", VALUE.to_owned()),
        ("a decrypted DEK", between(&answers[2], "\"Plaintext\": \"", "\"")),
    ];
    for (what, secret) in secrets {
        assert!(secret.len() > 15, "{what}");
        assert!(!said.contains(&secret), "{what} is in the log");
        assert!(!shown.contains(&secret), "{what} is in an error");
    }
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}
