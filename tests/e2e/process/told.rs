//! What the sidecar tells of its work: metrics and, at the level where it says
//! most, logs. Neither names a secret or shows a value.

use std::collections::BTreeMap;

use strongroom_core::{PutOptions, Select};
use strongroom_kit::daemon::{ALLOW_OWNER, Home};
use strongroom_kit::random::Random;
use strongroom_kit::sha256_hex;

use super::{client, value};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_logs_hold_no_name_and_no_value() {
    let more = "[cache]\nenabled = true\n[sidecar]\nmetrics = \"127.0.0.1:0\"\n";
    let home = Home::new(&format!("{more}{ALLOW_OWNER}"));
    let sidecar = home.start();
    let (name, canary) = (random_text(), random_text());
    let (full, secret) = (format!("account.{name}"), value(canary.as_bytes()));
    let client = client(&home).await;
    client.put(&full, &secret, &PutOptions::default()).await.expect("put");
    client.upload(&full, &mut canary.as_bytes(), &PutOptions::default()).await.expect("uploaded");
    for _ in 0..3 {
        client.get(&full, &Select::Latest).await.expect("got");
    }
    let batch = [(full.as_str(), Select::Latest), ("account.missing", Select::Latest)];
    client.get_all(&batch).await.expect("got");
    client.download(&full, &Select::Latest, &mut Vec::new()).await.expect("downloaded");
    let context = BTreeMap::from([("for".to_owned(), "a test".to_owned())]);
    let sealed = client.seal(&full, context.clone(), &secret).await.expect("sealed");
    client.open(&full, context, &sealed).await.expect("opened");
    client.versions(&full, &strongroom_core::PageRequest::first(10)).await.expect("listed");
    let mut watch = client.watch(&[&full]).await.expect("watched");
    watch.next().await.expect("told").expect("no error");
    client.delete(&full).await.expect("deleted");
    client.get(&full, &Select::Latest).await.expect_err("deleted");
    client.get("../etc", &Select::Latest).await.expect_err("no name");

    let metrics = sidecar.metrics(0);
    for counted in [
        "strongroom_requests_total{method=\"Get\",code=\"OK\"} 3",
        "strongroom_requests_total{method=\"Get\",code=\"NOT_FOUND\"} 1",
        "strongroom_requests_total{method=\"Upload\",code=\"OK\"} 1",
    ] {
        assert!(metrics.contains(counted), "{counted} is not in {metrics}");
    }
    drop(watch);
    sidecar.signal(rustix::process::Signal::TERM);
    let (status, log) = sidecar.ended();
    assert!(status.success(), "{log}");
    for (what, text) in [("metrics", &metrics), ("logs", &log)] {
        assert!(!text.contains(&name), "the secret's name is in the {what}");
        assert!(!text.contains(&canary), "the value is in the {what}");
    }
    // The audit log does name it, or the search would mean nothing.
    let audit = home.config().audit_path().expect("an audit log");
    let audit = std::fs::read_to_string(audit).expect("read");
    assert!(audit.contains(&name) && !audit.contains(&canary));
}

fn random_text() -> String {
    sha256_hex(&Random::fresh().0.bytes(16))
}
