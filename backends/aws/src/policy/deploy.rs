//! Deployments: hosts, groups, stacks, clusters, functions.

use super::document::Statement;
use super::error::PolicyResult;
use super::scope::Checked;

/// What of AWS's own a node of EKS, or its control plane, is given. A role that could
/// be given any policy could become an administrator.
const EKS_POLICIES: [&str; 8] = [
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEC2ContainerRegistryReadOnly",
    "AmazonEKSClusterPolicy",
    "AmazonEKSServicePolicy",
    "AmazonEKSVPCResourceController",
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonSSMManagedInstanceCore",
];

pub(super) fn ec2() -> Vec<Statement> {
    vec![Statement::anywhere(&["ec2:DescribeInstances", "ec2:DescribeTags"])]
}

/// Networks of a region and account: they have no names.
pub(super) fn vpc(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let actions = [
        "ec2:AttachInternetGateway",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:CreateInternetGateway",
        "ec2:CreateNetworkAcl",
        "ec2:CreateNetworkAclEntry",
        "ec2:CreateRouteTable",
        "ec2:CreateSecurityGroup",
        "ec2:CreateSubnet",
        "ec2:CreateTags",
        "ec2:CreateVpc",
        "ec2:DeleteInternetGateway",
        "ec2:DeleteNetworkAcl",
        "ec2:DeleteNetworkAclEntry",
        "ec2:DeleteRouteTable",
        "ec2:DeleteSecurityGroup",
        "ec2:DeleteSubnet",
        "ec2:DeleteVpc",
        "ec2:DescribeVpcAttribute",
        "ec2:DetachInternetGateway",
        "ec2:ModifyVpcAttribute",
    ];
    let kinds =
        ["internet-gateway", "network-acl", "route-table", "security-group", "subnet", "vpc"];
    let resources = checked.arns("ec2", &kinds.map(|kind| format!("{kind}/*")))?;
    let described = [
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeInternetGateways",
        "ec2:DescribeNetworkAcls",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
    ];
    Ok(vec![Statement::anywhere(&described), Statement::allow("Network", &actions).on(resources)])
}

fn groups(
    checked: &Checked<'_>,
    actions: &[&str],
    configurations: &[&str],
) -> PolicyResult<Vec<Statement>> {
    let groups = checked.created("autoScalingGroup:*:autoScalingGroupName/", "")?;
    let launch = checked.created("launchConfiguration:*:launchConfigurationName/", "")?;
    Ok(vec![
        Statement::anywhere(&[
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeLaunchConfigurations",
            "autoscaling:DescribeScalingActivities",
        ]),
        Statement::allow("Groups", actions).on(checked.arns("autoscaling", &groups)?),
        Statement::allow("LaunchConfigurations", configurations)
            .on(checked.arns("autoscaling", &launch)?),
    ])
}

/// `autoscaling:*` is everybody's groups, their hooks and their warm pools too.
pub(super) fn autoscaling(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let actions = [
        "autoscaling:CreateAutoScalingGroup",
        "autoscaling:CreateOrUpdateTags",
        "autoscaling:DeleteAutoScalingGroup",
        "autoscaling:SetDesiredCapacity",
        "autoscaling:UpdateAutoScalingGroup",
    ];
    let configurations =
        ["autoscaling:CreateLaunchConfiguration", "autoscaling:DeleteLaunchConfiguration"];
    let mut statements = groups(checked, &actions, &configurations)?;
    statements.extend(pass_roles(checked, &["ec2", "autoscaling"]));
    Ok(statements)
}

/// Stacks whose names begin as told. What they create is the service's to do with a
/// role of its own, or the credential's with what it is allowed besides.
pub(super) fn cloudformation(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let transform = "aws:transform/Serverless-2016-10-31";
    let mut statements = vec![
        Statement::anywhere(&["cloudformation:ValidateTemplate"]),
        stacks(checked)?,
        // Templates of SAM are turned into CloudFormation's by it.
        Statement::allow("Transforms", &["cloudformation:CreateChangeSet"])
            .on(checked.global_arns("cloudformation", transform)?),
    ];
    statements.extend(pass_roles(checked, &["cloudformation"]));
    Ok(statements)
}

pub(super) fn stacks(checked: &Checked<'_>) -> PolicyResult<Statement> {
    let actions = [
        "cloudformation:CancelUpdateStack",
        "cloudformation:ContinueUpdateRollback",
        "cloudformation:CreateChangeSet",
        "cloudformation:CreateStack",
        "cloudformation:DeleteChangeSet",
        "cloudformation:DeleteStack",
        "cloudformation:DescribeChangeSet",
        "cloudformation:DescribeStackEvents",
        "cloudformation:DescribeStackResource",
        "cloudformation:DescribeStackResources",
        "cloudformation:DescribeStacks",
        "cloudformation:ExecuteChangeSet",
        "cloudformation:GetTemplate",
        "cloudformation:GetTemplateSummary",
        "cloudformation:ListChangeSets",
        "cloudformation:ListStackResources",
        "cloudformation:UpdateStack",
    ];
    let stacks = checked.arns("cloudformation", &checked.created("stack/", "/*")?)?;
    Ok(Statement::allow("Stacks", &actions).on(stacks))
}

/// What a kubeconfig is made of. Kubernetes itself says what may be done there.
pub(super) fn eks(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    Ok(vec![Statement::anywhere(&["eks:ListClusters"]), eks_clusters(checked)?])
}

fn eks_clusters(checked: &Checked<'_>) -> PolicyResult<Statement> {
    let clusters = checked.arns("eks", &checked.clusters("cluster/", "")?)?;
    Ok(Statement::allow("EksClusters", &["eks:DescribeCluster"]).on(clusters))
}

/// A stack that creates a cluster, its network's security groups, its nodes and their
/// roles, all of the stack's name.
pub(super) fn eks_provision(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let (partition, account) = (checked.partition, checked.account()?);
    let roles = checked.iam(&checked.created("role/", "")?)?;
    let profiles = checked.iam(&checked.created("instance-profile/", "")?)?;
    let stacks = checked.arns("cloudformation", &checked.created("stack/", "/*")?)?;
    let policies =
        EKS_POLICIES.map(|name| format!("arn:{}:iam::aws:policy/{name}", partition.as_str()));
    let linked = format!("arn:{}:iam::{account}:role/aws-service-role/*", partition.as_str());
    let services = ["autoscaling", "eks", "eks-nodegroup"];
    let services: Vec<_> = services.iter().flat_map(|name| partition.service_names(name)).collect();
    let passed = ["ec2", "eks"].iter().flat_map(|name| partition.service_names(name));
    let network = checked.arns("ec2", &["security-group/*".to_owned(), "vpc/*".to_owned()])?;
    let tagged = ["security-group/*", "subnet/*", "vpc/*"].map(str::to_owned);
    let images = ":parameter/aws/service/eks/optimized-ami/*";
    let mut statements = vec![
        Statement::anywhere(&[
            "ec2:DescribeImages",
            "ec2:DescribeKeyPairs",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
            "eks:CreateCluster",
            "iam:ListRoles",
        ]),
        eks_clusters(checked)?,
        Statement::allow(
            "Stacks",
            &["cloudformation:CreateStack", "cloudformation:DescribeStacks"],
        )
        .on(stacks),
    ];
    statements.extend(groups(
        checked,
        &["autoscaling:CreateAutoScalingGroup", "autoscaling:UpdateAutoScalingGroup"],
        &["autoscaling:CreateLaunchConfiguration"],
    )?);
    statements.extend([
        Statement::allow(
            "SecurityGroups",
            &[
                "ec2:AuthorizeSecurityGroupEgress",
                "ec2:AuthorizeSecurityGroupIngress",
                "ec2:CreateSecurityGroup",
                "ec2:RevokeSecurityGroupEgress",
                "ec2:RevokeSecurityGroupIngress",
            ],
        )
        .on(network),
        Statement::allow("Tags", &["ec2:CreateTags"]).on(checked.arns("ec2", &tagged)?),
        Statement::allow("Roles", &["iam:CreateRole", "iam:GetRole"]).on(roles.clone()),
        Statement::allow("RolePolicies", &["iam:AttachRolePolicy"]).on(roles.clone()).only_if(
            "ArnEquals",
            "iam:PolicyARN",
            policies,
        ),
        Statement::allow("PassRoles", &["iam:PassRole"]).on(roles).only_if(
            "StringEquals",
            "iam:PassedToService",
            passed,
        ),
        Statement::allow(
            "InstanceProfiles",
            &["iam:AddRoleToInstanceProfile", "iam:CreateInstanceProfile"],
        )
        .on(profiles),
        Statement::allow("LinkedRoles", &["iam:CreateServiceLinkedRole"]).on([linked]).only_if(
            "StringEquals",
            "iam:AWSServiceName",
            services,
        ),
        Statement::allow("NodeImages", &["ssm:GetParameters"])
            .on(checked.global_arns("ssm", images)?),
    ]);
    Ok(statements)
}

/// Services and tasks of clusters that exist, and task definitions of the given names.
pub(super) fn ecs(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let clusters = checked.arns("ecs", &checked.clusters("cluster/", "")?)?;
    let services = checked.arns("ecs", &checked.clusters("service/", "/*")?)?;
    let tasks = checked.arns("ecs", &checked.clusters("task/", "/*")?)?;
    let definitions = checked.arns("ecs", &checked.created("task-definition/", ":*")?)?;
    let within = |statement: Statement| {
        statement.only_if("ArnLike", "ecs:cluster", clusters.iter().cloned())
    };
    let mut statements = vec![
        Statement::anywhere(&["ecs:DescribeTaskDefinition", "ecs:ListClusters"]),
        Statement::allow("EcsClusters", &["ecs:DescribeClusters"]).on(clusters.iter().cloned()),
        Statement::allow(
            "EcsServices",
            &[
                "ecs:CreateService",
                "ecs:DeleteService",
                "ecs:DescribeServices",
                "ecs:UpdateService",
            ],
        )
        .on(services),
        Statement::allow("EcsTasks", &["ecs:DescribeTasks", "ecs:StopTask"]).on(tasks),
        within(Statement::allow("EcsLists", &["ecs:ListServices", "ecs:ListTasks"]).on(["*"])),
        Statement::allow("TaskDefinitions", &["ecs:RegisterTaskDefinition"])
            .on(definitions.iter().cloned()),
        within(Statement::allow("EcsRuns", &["ecs:RunTask"]).on(definitions.iter().cloned())),
    ];
    statements.extend(pass_roles(checked, &["ecs-tasks"]));
    Ok(statements)
}

/// Functions of the given names.
pub(super) fn lambda(checked: &Checked<'_>) -> PolicyResult<Vec<Statement>> {
    let mut statements = vec![functions(checked)?];
    statements.extend(pass_roles(checked, &["lambda"]));
    Ok(statements)
}

pub(super) fn functions(checked: &Checked<'_>) -> PolicyResult<Statement> {
    let actions = [
        "lambda:CreateAlias",
        "lambda:CreateFunction",
        "lambda:DeleteAlias",
        "lambda:DeleteFunction",
        "lambda:GetAlias",
        "lambda:GetFunction",
        "lambda:GetFunctionCodeSigningConfig",
        "lambda:GetFunctionConfiguration",
        "lambda:ListAliases",
        "lambda:ListTags",
        "lambda:ListVersionsByFunction",
        "lambda:PublishVersion",
        "lambda:TagResource",
        "lambda:UntagResource",
        "lambda:UpdateAlias",
        "lambda:UpdateFunctionCode",
        "lambda:UpdateFunctionConfiguration",
    ];
    let functions = checked.arns("lambda", &checked.created("function:", "")?)?;
    Ok(Statement::allow("Functions", &actions).on(functions))
}

/// The given roles, given on to these services only.
fn pass_roles(checked: &Checked<'_>, services: &[&str]) -> Option<Statement> {
    let roles = &checked.scope.pass_roles;
    let services = services.iter().flat_map(|name| checked.partition.service_names(name));
    (!roles.is_empty()).then(|| {
        Statement::allow("PassRoles", &["iam:PassRole"]).on(roles.iter().cloned()).only_if(
            "StringEquals",
            "iam:PassedToService",
            services,
        )
    })
}
