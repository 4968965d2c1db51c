//! SIGHUP: what changes at once, and what a broken configuration leaves.

use strongroom_client::{Client, Status};
use strongroom_core::{ErrorKind, PutOptions, Result, Select};
use strongroom_kit::daemon::{ALLOW_OWNER, Home};
use strongroom_kit::random::Random;
use tokio::io::{AsyncWriteExt, duplex};

use super::{client, value};

const RELOADED: &str = "the configuration was reloaded";
const REFUSED: &str = "the configuration stays as it was";

fn allow(verbs: &str) -> String {
    format!("[[sidecar.allow]]\nowner = true\nnames = [\"account.*\"]\nverbs = [{verbs}]\n")
}

async fn put(client: &Client) -> Result<()> {
    client.put("account.a", &value(b"v"), &PutOptions::default()).await.map(|_| ())
}

async fn status(client: &Client) -> Status {
    client.status(&[]).await.expect("told")
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_limits_cache_and_metrics_change_for_connections_that_are_open() {
    let home = Home::new(&allow("\"put\", \"get\""));
    let sidecar = home.start();
    // The same connection all the while.
    let client = client(&home).await;
    put(&client).await.expect("allowed");
    assert!(status(&client).await.cache.is_none());

    home.configure(&allow("\"get\""));
    sidecar.reload(RELOADED);
    assert_eq!(put(&client).await.expect_err("denied").kind(), ErrorKind::AccessDenied);
    client.get("account.a", &Select::Latest).await.expect("still allowed");

    let from = sidecar.lines();
    let more = "[cache]\nenabled = true\n[sidecar]\nmetrics = \"127.0.0.1:0\"\n\
                max_watches_per_user = 1\n";
    home.configure(&format!("{more}{ALLOW_OWNER}"));
    sidecar.reload(RELOADED);
    put(&client).await.expect("allowed again");
    for _ in 0..2 {
        client.get("account.a", &Select::Latest).await.expect("got");
    }
    let cache = status(&client).await.cache.expect("there is a cache now");
    assert!(cache.hits > 0, "{cache:?}");
    let mut watch = client.watch(&["account.a"]).await.expect("the first watch");
    watch.next().await.expect("told").expect("no error");
    let refused = client.watch(&["account.a"]).await.expect_err("the second watch");
    assert_eq!(refused.kind(), ErrorKind::Throttled);
    assert!(refused.to_string().contains("max_watches_per_user"), "{refused}");
    let metrics = sidecar.metrics(from);
    assert!(metrics.contains("strongroom_"), "{metrics}");

    // Elsewhere from now on, and then nowhere.
    let from = sidecar.lines();
    home.configure(&format!("{}{ALLOW_OWNER}", more.replace("127.0.0.1:0", "127.0.0.2:0")));
    sidecar.reload(RELOADED);
    assert!(sidecar.metrics(from).contains("strongroom_"));
    sidecar.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_configuration_changes_nothing_and_is_told() {
    let home = Home::new(ALLOW_OWNER);
    let sidecar = home.start();
    let client = client(&home).await;
    let before = status(&client).await;
    // Where somebody else listens already.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (broken, why) in [
        ("[sidecar]\nmax_conections = 1\n".to_owned(), "max_conections"),
        ("[[sidecar.allow]]\nuid = 7\nnames = [\"a b\"]\nverbs = [\"get\"]\n".to_owned(), "rule 1"),
        (format!("[sidecar]\nsocket = \"elsewhere.sock\"\n{ALLOW_OWNER}"), "restart"),
        (format!("[store]\ntype = \"sled\"\n{ALLOW_OWNER}"), "restart"),
        (format!("[sidecar]\nmetrics = \"{address}\"\n{ALLOW_OWNER}"), address.as_str()),
    ] {
        home.configure(&broken);
        let line = sidecar.reload(REFUSED);
        assert!(line.contains(why) && line.contains("ERROR"), "{why}: {line}");
        put(&client).await.expect("the old rules count");
        let status = status(&client).await;
        let told = status.reload_error.expect("told");
        assert!(told.contains(why), "{why}: {told}");
        assert_eq!(status.configured, before.configured);
    }
    home.configure(ALLOW_OWNER);
    sidecar.reload(RELOADED);
    let after = status(&client).await;
    assert_eq!(after.reload_error, None);
    assert!(after.configured >= before.configured);
    sidecar.end();
}

/// A put removes what killed uploads have left; one that goes on is none of those,
/// also for a store that was opened anew with other settings.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_through_reloads() {
    let home = Home::new(ALLOW_OWNER);
    let sidecar = home.start();
    let client = client(&home).await;
    let bytes = Random::new(1).bytes(12 << 20);
    let (mut giver, mut taker) = duplex(1 << 16);
    let uploader = client.clone();
    let upload = tokio::spawn(async move {
        uploader.upload("account.file", &mut taker, &PutOptions::default()).await
    });
    let (first, last) = bytes.split_at(bytes.len() - 1);
    giver.write_all(first).await.expect("taken");
    for more in ["", "[store]\nmax_value_bytes = 1_000_000\n"] {
        home.configure(&format!("{more}{ALLOW_OWNER}"));
        sidecar.reload(RELOADED);
        put(&client).await.expect("put");
    }
    giver.write_all(last).await.expect("taken");
    drop(giver);
    upload.await.expect("no panic").expect("stored");
    let mut back = Vec::new();
    client.download("account.file", &Select::Latest, &mut back).await.expect("read");
    assert!(back == bytes);
}
