//! Login as an IAM user: Vault asks STS who signed, here moto's, which checks the
//! signature.

use std::sync::Arc;

use serde_json::json;
use strongroom::AwsIdentity;
use strongroom_aws::{Aws, AwsSettings, Credential};
use strongroom_kit::block_on;
use strongroom_kit::moto::{ALLOW_ALL, AccessKey, Moto, REGION};
use strongroom_vault::Auth;

use super::assert_refused;
use crate::{bytes, caller, connect, server, settings, within};

const SERVER_ID: &str = "vault.acme.test";

fn identity(moto: &Moto, key: &AccessKey) -> AwsIdentity {
    let mut settings = AwsSettings::new(REGION);
    settings.endpoint = Some(moto.endpoint().to_owned());
    let token = key.token.as_deref().map(bytes);
    settings.credential = Credential::access_key(&key.id, bytes(&key.secret), token).unwrap();
    AwsIdentity::new(&block_on(Aws::connect(&settings)).unwrap())
}

fn arn(moto: &Moto, key: &AccessKey) -> String {
    let script = "import boto3; \
        print(boto3.client('sts').get_caller_identity()['Arn'], end='')";
    moto.boto3_as(key, moto.endpoint(), script, &[])
}

#[test]
fn an_iam_user_logs_in_by_a_signature_for_this_server() {
    let (moto, user) = Moto::with_auth(within(), ALLOW_ALL);
    let other = moto.create_user("other", ALLOW_ALL);
    server().auth_mount("aws", "aws");
    let client = json!({"sts_endpoint": moto.endpoint(), "sts_region": REGION,
        "iam_server_id_header_value": SERVER_ID});
    server().api("POST", "auth/aws/config/client", &client);
    let role = json!({"auth_type": "iam", "resolve_aws_unique_ids": false,
        "bound_iam_principal_arn": [arn(&moto, &user)], "token_policies": ["app"]});
    server().api("POST", "auth/aws/role/app", &role);
    let seen = |key: &AccessKey, server_id: Option<&str>| {
        let (mount, role) = ("aws".to_owned(), Some("app".to_owned()));
        let identity = Arc::new(identity(&moto, key));
        let server_id = server_id.map(str::to_owned);
        let auth = Auth::Aws { mount, role, server_id, identity };
        caller(&connect(&settings(server().address(), auth)))
    };
    let found = seen(&user, Some(SERVER_ID)).unwrap();
    assert_eq!(found.login, "auth/aws/login");
    assert_eq!(found.policies, ["app", "default"]);

    let forged = AccessKey { secret: "another-secret".to_owned(), ..user.clone() };
    for (why, key, server_id) in [
        ("missing header", &user, None),
        (
            "expected \"vault.acme.test\" but got \"vault.other.test\"",
            &user,
            Some("vault.other.test"),
        ),
        ("error making upstream request", &forged, Some(SERVER_ID)),
        ("does not belong to the role", &other, Some(SERVER_ID)),
    ] {
        assert_refused(&seen(key, server_id).unwrap_err(), why, &[&key.secret, "Signature="]);
    }
}
