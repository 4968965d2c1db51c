//! Artifacts: objects of S3 and images of ECR.

use super::document::Statement;
use super::error::PolicyResult;
use super::scope::Checked;

/// Narrower than `AmazonS3ReadOnlyAccess`, which is all of `s3:Get*` and `s3:List*` on
/// every bucket.
pub(super) fn s3_read(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let buckets = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketVersions"];
    s3(checked, &buckets, &["s3:GetObject", "s3:GetObjectVersion"])
}

/// Narrower than `s3:*Object`, which also reads, restores from archives and replicates.
pub(super) fn s3_write(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let objects = [
        "s3:AbortMultipartUpload",
        "s3:DeleteObject",
        "s3:ListMultipartUploadParts",
        "s3:PutObject",
    ];
    s3(checked, &["s3:GetBucketLocation"], &objects)
}

fn s3(checked: &Checked<'_>, buckets: &[&str], objects: &[&str]) -> PolicyResult<Vec<Statement>> {
    let names = checked.buckets()?;
    let below: Vec<_> = names.iter().map(|name| format!("{name}/*")).collect();
    Ok(vec![
        Statement::allow("Buckets", buckets).on(checked.s3(&names)),
        Statement::allow("Objects", objects).on(checked.s3(&below)),
    ])
}

/// Narrower than `AmazonEC2ContainerRegistryReadOnly`: it names repositories, and does
/// not read their policies.
pub(super) fn ecr_pull(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let pull = [
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:DescribeImages",
        "ecr:DescribeRepositories",
        "ecr:GetDownloadUrlForLayer",
        "ecr:ListImages",
    ];
    ecr(checked, &pull)
}

/// Narrower than `AmazonEC2ContainerRegistryFullAccess`, which is `ecr:*`, an account's
/// events and a service-linked role for replication: it makes and deletes no
/// repositories, deletes no images and changes no settings.
pub(super) fn ecr_push(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let push = [
        "ecr:CompleteLayerUpload",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:UploadLayerPart",
    ];
    let mut statements = ecr_pull(checked)?;
    statements.extend(ecr(checked, &push)?);
    Ok(statements)
}

fn ecr(checked: &Checked<'_>, actions: &[&str]) -> PolicyResult<Vec<Statement>> {
    let repositories = checked.arns("ecr", &checked.repositories()?)?;
    Ok(vec![
        Statement::anywhere(&["ecr:GetAuthorizationToken"]),
        Statement::allow("Repositories", actions).on(repositories),
    ])
}
