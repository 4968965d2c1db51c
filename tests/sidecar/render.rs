//! Templates that a sidecar renders: the rules, the audit log, and the limits.

use strongroom::config::Verb;
use strongroom_client::Client;
use strongroom_core::{ErrorKind, Result, SecretBytes};
use strongroom_kit::sidecar::{Setup, anyone, memory_store, secret};

async fn render(client: &Client, template: &str) -> Result<SecretBytes> {
    client.render(&secret(template)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_secret_needs_the_callers_get_before_any_is_read() {
    let setup = Setup::new(memory_store()).with(|section| {
        section.allow = vec![anyone(&["account.web-*"], &[Verb::Get])];
    });
    let mut sidecar = setup.start();
    sidecar.seed("account.web-a", "1");
    sidecar.seed("account.web-b", "22");
    sidecar.seed("account.db", "333");
    let client = sidecar.client().await;

    let all = "<+secrets.getValue('account.web-a')>-<+secrets.getValue(\"account.web-b\")>-\
               <+secrets.getValue('account.web-a')>";
    let rendered = render(&client, all).await.expect("rendered");
    assert!(rendered.expose() == b"1-22-1");
    let reads = |sidecar: &strongroom_kit::sidecar::Sidecar, name: &str| {
        sidecar.audit().lines().filter(|line| line.contains("get") && line.contains(name)).count()
    };
    assert_eq!((reads(&sidecar, "web-a"), reads(&sidecar, "web-b")), (1, 1));

    let denied = "<+secrets.getValue('account.web-a')><+secrets.getValue('account.db')>";
    let error = render(&client, denied).await.expect_err("denied");
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert_eq!(reads(&sidecar, "web-a"), 1, "nothing was read");
    let audit = sidecar.audit();
    let refusal = audit.lines().find(|line| line.contains("\"db\"") && line.contains("denied"));
    assert!(refusal.is_some(), "the refusal is recorded");
    assert!(!audit.contains("getValue"), "a template is not recorded");
    sidecar.end().expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_as_everywhere() {
    let setup = Setup::new(memory_store()).with(|section| {
        section.allow = vec![anyone(&["**"], &[Verb::Get])];
    });
    let mut sidecar = setup.start();
    sidecar.seed("account.large", &"x".repeat(1 << 20));
    let client = sidecar.client().await;
    let large = "<+secrets.getValue('account.large')>";
    for (template, kind, what) in [
        ("a\n<+secrets.getValue(x)>".to_owned(), ErrorKind::InvalidName, "line 2, column 20"),
        ("<+secrets.getValue('account.no')>".to_owned(), ErrorKind::NotFound, "no such secret"),
        ("<+secrets.getValue('aws://a/b')>".to_owned(), ErrorKind::Unsupported, "external store"),
        (large.repeat(17), ErrorKind::LimitExceeded, "more than 16777216"),
    ] {
        let error = render(&client, &template).await.expect_err(what);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(what), "{error}");
    }
    assert_eq!(render(&client, &large.repeat(9)).await.expect("rendered").len(), 9 << 20);
    sidecar.end().expect("it ends");
}
