//! The Serverless Framework, which makes a stack of nearly anything.
//!
//! The framework's own list is one statement on `*`, with `apigateway:*`, `lambda:*`,
//! and with `Describe*`, `Get*` and `List*` of stacks and EC2. Here what a stack
//! creates has to bear its name, where AWS lets names be asked for. A network is a
//! purpose of its own, as few need one. Left out are `cloudformation:CreateUploadBucket`
//! and `EstimateTemplateCost`, which it does not call.
//!
//! It writes policies into roles of its own, and gives those to functions. Whoever has
//! this can give a function any permission, as with the framework's list.

use super::deploy::{functions, stacks};
use super::document::Statement;
use super::error::PolicyResult;
use super::scope::Checked;

pub(super) fn serverless(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let mut statements = vec![
        Statement::anywhere(&[
            "cloudformation:ListExports",
            "cloudformation:ValidateTemplate",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
            "events:ListRuleNamesByTarget",
            "events:ListRules",
            "lambda:ListEventSourceMappings",
            "logs:DescribeLogGroups",
            "s3:ListAllMyBuckets",
            "sns:GetSubscriptionAttributes",
            "sns:ListSubscriptions",
            "sns:ListTopics",
            "sns:SetSubscriptionAttributes",
            "sns:Unsubscribe",
        ]),
        stacks(checked)?,
        Statement::allow("Stacks", &["cloudformation:UpdateTerminationProtection"])
            .on(checked.arns("cloudformation", &checked.created("stack/", "/*")?)?),
    ];
    statements.extend(compute(checked)?);
    statements.extend(events(checked)?);
    statements.extend(data(checked)?);
    statements.extend(roles(checked)?);
    Ok(statements)
}

fn compute(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let layers = checked.arns("lambda", &checked.created("layer:", "")?)?;
    let mappings = checked.arns("lambda", &["event-source-mapping:*".to_owned()])?;
    let machines = checked.arns("states", &checked.created("stateMachine:", "")?)?;
    let function = checked.arns("lambda", &checked.created("function:", "")?)?;
    let owned = function.iter().cloned();
    Ok(vec![
        functions(checked)?,
        Statement::allow(
            "Functions",
            &[
                "lambda:AddPermission",
                "lambda:DeleteFunctionConcurrency",
                "lambda:GetPolicy",
                "lambda:InvokeFunction",
                "lambda:PutFunctionConcurrency",
                "lambda:RemovePermission",
            ],
        )
        .on(owned),
        Statement::allow("Layers", &["lambda:PublishLayerVersion"]).on(layers.iter().cloned()),
        Statement::allow("LayerVersions", &["lambda:DeleteLayerVersion", "lambda:GetLayerVersion"])
            .on(layers.iter().map(|layer| format!("{layer}:*"))),
        // They have no names: the function's is asked for.
        Statement::allow(
            "EventSources",
            &[
                "lambda:DeleteEventSourceMapping",
                "lambda:GetEventSourceMapping",
                "lambda:UpdateEventSourceMapping",
            ],
        )
        .on(mappings)
        .only_if("ArnLike", "lambda:FunctionArn", function.iter().cloned()),
        Statement::allow("NewEventSources", &["lambda:CreateEventSourceMapping"])
            .on(["*"])
            .only_if("ArnLike", "lambda:FunctionArn", function),
        Statement::allow(
            "StateMachines",
            &["states:CreateStateMachine", "states:DeleteStateMachine"],
        )
        .on(machines),
        // An API is known by a number only.
        Statement::allow(
            "Apis",
            &[
                "apigateway:DELETE",
                "apigateway:GET",
                "apigateway:PATCH",
                "apigateway:POST",
                "apigateway:PUT",
            ],
        )
        .on(["apis", "restapis", "apikeys", "usageplans", "tags"]
            .iter()
            .map(|kind| checked.global_arns("apigateway", &format!(":/{kind}*")))
            .collect::<PolicyResult<Vec<_>>>()?
            .concat()),
    ])
}

fn events(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let rules = checked.arns("events", &checked.created("rule/", "")?)?;
    let topic_rules = checked.arns("iot", &checked.created("rule/", "")?)?;
    let topics = checked.arns("sns", &checked.created("", "")?)?;
    let logs = checked.arns("logs", &checked.created("log-group:/aws/lambda/", "")?)?;
    Ok(vec![
        Statement::allow(
            "Events",
            &[
                "events:DeleteRule",
                "events:DescribeRule",
                "events:ListTargetsByRule",
                "events:PutRule",
                "events:PutTargets",
                "events:RemoveTargets",
            ],
        )
        .on(rules),
        Statement::allow(
            "TopicRules",
            &[
                "iot:CreateTopicRule",
                "iot:DeleteTopicRule",
                "iot:DisableTopicRule",
                "iot:EnableTopicRule",
                "iot:ReplaceTopicRule",
            ],
        )
        .on(topic_rules),
        Statement::allow(
            "Topics",
            &[
                "sns:CreateTopic",
                "sns:DeleteTopic",
                "sns:GetTopicAttributes",
                "sns:ListSubscriptionsByTopic",
                "sns:SetTopicAttributes",
                "sns:Subscribe",
            ],
        )
        .on(topics),
        Statement::allow(
            "Logs",
            &[
                "logs:CreateLogGroup",
                "logs:DeleteLogGroup",
                "logs:DescribeLogStreams",
                "logs:FilterLogEvents",
                "logs:GetLogEvents",
                "logs:PutSubscriptionFilter",
            ],
        )
        .on(logs),
    ])
}

fn data(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let tables = checked.arns("dynamodb", &checked.created("table/", "")?)?;
    let streams = checked.arns("kinesis", &checked.created("stream/", "")?)?;
    let buckets = checked.s3(&checked.created("", "")?);
    let objects = checked.s3(&checked.created("", "/*")?);
    Ok(vec![
        Statement::allow(
            "Tables",
            &[
                "dynamodb:CreateTable",
                "dynamodb:DeleteTable",
                "dynamodb:DescribeTable",
                "dynamodb:DescribeTimeToLive",
                "dynamodb:UpdateTimeToLive",
            ],
        )
        .on(tables),
        Statement::allow(
            "Streams",
            &["kinesis:CreateStream", "kinesis:DeleteStream", "kinesis:DescribeStream"],
        )
        .on(streams),
        Statement::allow(
            "Buckets",
            &[
                "s3:CreateBucket",
                "s3:DeleteBucket",
                "s3:DeleteBucketPolicy",
                "s3:GetBucketLocation",
                "s3:ListBucket",
                "s3:PutBucketNotification",
                "s3:PutBucketPolicy",
                "s3:PutBucketTagging",
                "s3:PutBucketWebsite",
                "s3:PutEncryptionConfiguration",
            ],
        )
        .on(buckets),
        Statement::allow(
            "Objects",
            &[
                "s3:DeleteObject",
                "s3:DeleteObjectVersion",
                "s3:GetObject",
                "s3:GetObjectVersion",
                "s3:PutObject",
            ],
        )
        .on(objects),
    ])
}

fn roles(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let roles = checked.iam(&checked.created("role/", "")?)?;
    let services = ["apigateway", "events", "lambda", "states"];
    let services = services.iter().flat_map(|name| checked.partition.service_names(name));
    Ok(vec![
        Statement::allow(
            "Roles",
            &[
                "iam:AttachRolePolicy",
                "iam:CreateRole",
                "iam:DeleteRole",
                "iam:DeleteRolePolicy",
                "iam:DetachRolePolicy",
                "iam:GetRole",
                "iam:PutRolePolicy",
            ],
        )
        .on(roles.iter().cloned()),
        Statement::allow("PassRoles", &["iam:PassRole"])
            .on(roles.into_iter().chain(checked.scope.pass_roles.iter().cloned()))
            .only_if("StringEquals", "iam:PassedToService", services),
    ])
}
