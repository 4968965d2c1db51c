//! `strongroom aws`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::kit::Home;

const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";

fn policy(home: &Home, args: &[&str]) -> Value {
    home.json(&[&["aws", "policy"], args].concat())
}

/// No configuration and no store are needed.
#[test]
fn a_policy_is_the_document_itself() {
    let home = Home::empty();
    let args = ["aws", "policy", "--for", "kms", "--key", KEY, "--account", "acme"];
    let text = home.ok(&args);
    assert!(text.starts_with("{\n  \"Version\": \"2012-10-17\",\n"), "{text}");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document, home.json(&args));
    assert_eq!(document["Statement"][1]["Action"], "kms:DescribeKey");
    assert_eq!(document["Statement"][1]["Resource"], KEY);
    assert!(text.contains("kms:EncryptionContext:strongroom:account"));
    assert_eq!(fs::read_dir(home.dir.path()).expect("listed").count(), 0);
}

#[test]
fn purposes_come_with_commas_or_one_by_one() {
    let home = Home::empty();
    let bucket = ["--bucket", "artifacts"];
    let one = policy(&home, &[&["--for", "s3-read,s3-write"][..], &bucket].concat());
    let other = policy(&home, &[&["--for", "s3-read", "--for", "s3-write"][..], &bucket].concat());
    assert_eq!(one, other);
}

#[test]
fn a_flag_that_is_missing_is_named() {
    let home = Home::empty();
    let place = ["--region", "eu-central-1", "--aws-account", "111122223333"];
    for (purpose, flag) in [
        ("kms", "--key"),
        ("secrets-manager", "--prefix"),
        ("s3-read", "--bucket"),
        ("ecr-pull", "--repository"),
        ("eks", "--cluster"),
        ("cloudformation", "--name-prefix"),
    ] {
        let args = [&["aws", "policy", "--for", purpose][..], &place].concat();
        let error = home.fails(2, &args, b"");
        assert!(error.contains(&format!("give {flag}, or --any-resource")), "{purpose}: {error}");
        home.ok(&[&args[..], &["--any-resource"]].concat());
    }
    let error = home.fails(2, &["aws", "policy", "--for", "eks", "--cluster", "prod"], b"");
    assert!(error.contains("--region") || error.contains("--aws-account"), "{error}");
    let error = home.fails(2, &["aws", "policy", "--for", "s3-read", "--bucket", "a*"], b"");
    assert!(error.contains("`a*` is not a bucket"), "{error}");
    home.fails(2, &["aws", "policy"], b"");
    home.fails(2, &["aws", "policy", "--for", "everything"], b"");
}

#[test]
fn a_policy_that_is_too_long_is_split() {
    let home = Home::empty();
    let mut args = vec!["aws", "policy", "--for", "serverless,vpc,eks-provision"];
    args.extend(["--region", "eu-central-1", "--aws-account", "111122223333"]);
    args.extend(["--name-prefix", "web-", "--cluster", "prod"]);
    let error = home.fails(14, &args, b"");
    assert!(error.contains("6144") && error.contains("--split"), "{error}");
    args.push("--split");
    let documents = home.json(&args);
    let documents = documents.as_array().expect("a list");
    assert!(documents.len() >= 2, "{}", documents.len());
    assert!(documents.iter().all(|document| document.to_string().len() <= 6144));
}

#[test]
fn trust_policies_name_whom_they_trust() {
    let home = Home::empty();
    let issuer = "https://manager.example.com/oidc/account/acme";
    let base = ["aws", "trust-policy", "oidc", "--aws-account", "111122223333"];
    let base = [&base[..], &["--issuer", issuer]].concat();
    let document = home.json(&[&base[..], &["--subject-of", "acme/ops/web"]].concat());
    let condition = &document["Statement"][0]["Condition"]["StringEquals"];
    assert_eq!(
        condition["manager.example.com/oidc/account/acme:sub"],
        "account/acme:org/ops:project/web"
    );
    home.fails(2, &base, b"");
    home.ok(&[&base[..], &["--any-subject"]].concat());
    home.fails(2, &[&base[..], &["--subject", "*"]].concat(), b"");

    let mut args = vec!["aws", "trust-policy", "irsa", "--aws-account", "111122223333"];
    args.extend(["--issuer", "https://oidc.eks.cn-north-1.amazonaws.com.cn/id/ABC"]);
    args.extend(["--partition", "aws-cn", "--namespace", "delegates"]);
    args.extend(["--service-account", "delegate"]);
    let text = home.ok(&args);
    assert!(text.contains("\"system:serviceaccount:delegates:delegate\""), "{text}");
    assert!(text.contains("arn:aws-cn:iam::111122223333:oidc-provider/"), "{text}");

    let mut args = vec!["aws", "trust-policy", "cross-account", "--principal", "111122223333"];
    args.extend(["--external-id", "Example-987", "--session-tag", "team=web"]);
    let document = home.json(&args);
    let trust = &document["Statement"][0];
    assert_eq!(trust["Principal"]["AWS"], "arn:aws:iam::111122223333:root");
    assert_eq!(trust["Condition"]["StringEquals"]["sts:ExternalId"], "Example-987");
    assert_eq!(document["Statement"][1]["Action"], "sts:TagSession");
    home.fails(2, &["aws", "trust-policy", "cross-account", "--principal", "*"], b"");
}

fn kubeconfig<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["aws", "kubeconfig", "--cluster", "prod", "--region", "eu-central-1"];
    args.extend(["--endpoint", "https://0123ABCD.gr7.eu-central-1.eks.amazonaws.com"]);
    args.extend(more);
    args
}

#[test]
fn a_kubeconfig_goes_to_a_new_file_of_its_owner() {
    let home = Home::empty();
    fs::write(home.path("ca.pem"), CERTIFICATE).expect("written");
    let (ca, out) = (home.path("ca.pem"), home.path("kubeconfig"));
    let (ca, out) = (ca.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
    let document = home.json(&kubeconfig(&["--ca-file", ca]));
    assert_eq!(document["current-context"], "prod");

    let args = kubeconfig(&["--ca-file", ca, "--output", out]);
    let said = home.ok(&args);
    assert!(said.contains("context prod"), "{said}");
    let written = fs::read(out).expect("read");
    assert_eq!(serde_json::from_slice::<Value>(&written).expect("JSON"), document);
    assert_eq!(fs::metadata(out).expect("there").permissions().mode() & 0o7777, 0o600);

    let error = home.fails(4, &args, b"");
    assert!(error.contains("exists") && error.contains("--force"), "{error}");
    assert!(fs::read(out).expect("read") == written);
    let account = ["--aws-account", "111122223333", "--force"];
    let answer = home.json(&[&args[..], &account].concat());
    let name = "arn:aws:eks:eu-central-1:111122223333:cluster/prod";
    assert_eq!(answer, json!({ "output": out, "context": name }));
    assert_eq!(fs::metadata(out).expect("there").permissions().mode() & 0o7777, 0o600);
}

#[test]
fn certificates_come_from_stdin_too_and_keys_from_nowhere() {
    let home = Home::empty();
    let output = home.run(&kubeconfig(&["--ca-file", "-"]), CERTIFICATE.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let key = CERTIFICATE.replace("CERTIFICATE", "PRIVATE KEY");
    let error = home.fails(2, &kubeconfig(&["--ca-file", "-"]), key.as_bytes());
    assert!(error.contains("certificates and nothing else") && !error.contains("MAMC"), "{error}");
    home.fails(2, &kubeconfig(&[]), b"");
    home.fails(2, &kubeconfig(&["--ca-file", "-", "--external-id", "x1"]), b"");
}
