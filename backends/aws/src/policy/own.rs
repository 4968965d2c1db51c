//! What this crate itself calls.

use super::document::Statement;
use super::error::PolicyResult;
use super::scope::{Checked, KeyResources};

/// The key of the encryption context that has the account's identifier in it.
const ACCOUNT: &str = "kms:EncryptionContext:strongroom:account";
/// The one key of the context that a check uses.
const CHECK: &str = "kms:EncryptionContext:strongroom:check";

/// What every credential needs.
pub(super) fn connector(checked: &Checked<'_>) -> Vec<Statement> {
    let everyone = Statement::anywhere(&["ec2:DescribeRegions", "sts:GetCallerIdentity"]);
    let mut statements = vec![everyone];
    let roles = &checked.scope.assume_roles;
    if !roles.is_empty() {
        let mut actions = vec!["sts:AssumeRole"];
        if checked.scope.session_tags {
            actions.push("sts:TagSession");
        }
        statements.push(Statement::allow("AssumeRoles", &actions).on(roles.iter().cloned()));
    }
    statements
}

/// The calls of [`crate::AwsKms`].
pub(super) fn kms(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let mut statements = Vec::new();
    let accounts = &checked.scope.accounts;
    for keys in checked.kms_keys()? {
        // It carries no encryption context: a condition on one would never hold.
        statements.push(of(&keys, "KmsDescribe", &["kms:DescribeKey"]));
        let all = [
            "kms:Decrypt",
            "kms:Encrypt",
            "kms:GenerateDataKey",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
        ];
        let (used, tried): (&[_], &[_]) = if checked.scope.read_only {
            (&["kms:Decrypt"], &["kms:Decrypt", "kms:GenerateDataKey"])
        } else {
            (&all, &all)
        };
        let mut used = of(&keys, "KmsUse", used);
        if !accounts.is_empty() {
            used = used.only_if("StringEquals", ACCOUNT, accounts.iter().cloned());
        }
        statements.push(used);
        // A check belongs to no account. Without a condition the statement above has it.
        if !accounts.is_empty() || checked.scope.read_only {
            let check = of(&keys, "KmsCheck", tried);
            statements.push(check.only_if("StringEquals", CHECK, ["1"]));
        }
    }
    Ok(statements)
}

fn of(keys: &KeyResources, sid: &str, actions: &[&str]) -> Statement {
    let statement = Statement::allow(sid, actions).on(keys.arns.iter().cloned());
    if keys.aliases.is_empty() {
        return statement;
    }
    let aliases = keys.aliases.iter().cloned();
    statement.only_if("ForAnyValue:StringEquals", "kms:ResourceAliases", aliases)
}

/// The calls of a store on Secrets Manager.
pub(super) fn secrets_manager(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let mut actions = vec![
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:ListSecretVersionIds",
    ];
    if !checked.scope.read_only {
        actions.extend([
            "secretsmanager:CreateSecret",
            "secretsmanager:DeleteSecret",
            "secretsmanager:PutSecretValue",
            "secretsmanager:RestoreSecret",
            "secretsmanager:TagResource",
            "secretsmanager:UntagResource",
            "secretsmanager:UpdateSecret",
            "secretsmanager:UpdateSecretVersionStage",
        ]);
    }
    let secrets = checked.secrets()?;
    let mut statements = vec![
        // The batch gives only what GetSecretValue is allowed for.
        Statement::anywhere(&["secretsmanager:BatchGetSecretValue", "secretsmanager:ListSecrets"]),
        Statement::allow("Secrets", &actions).on(secrets.iter().cloned()),
    ];
    if checked.scope.secret_keys.is_empty() {
        return Ok(statements);
    }
    // Secrets Manager calls KMS as whoever calls it (Secrets Manager User Guide, "Secret
    // encryption and decryption"); with the second value it tries a key out.
    let mut of_secrets = secrets;
    of_secrets.push("RequestToValidateKeyAccess".to_owned());
    let mut actions = vec!["kms:Decrypt"];
    if !checked.scope.read_only {
        actions.push("kms:GenerateDataKey");
    }
    let services = checked
        .regions()?
        .into_iter()
        .flat_map(|region| checked.partition.service_names(&format!("secretsmanager.{region}")));
    let services: Vec<_> = services.collect();
    for keys in checked.keys(&checked.scope.secret_keys)? {
        statements.push(
            of(&keys, "SecretsKeys", &actions)
                .only_if("StringLike", "kms:ViaService", services.iter().cloned())
                .only_if(
                    "StringLike",
                    "kms:EncryptionContext:SecretARN",
                    of_secrets.iter().cloned(),
                ),
        );
    }
    Ok(statements)
}
