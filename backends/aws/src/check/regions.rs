//! `DescribeRegions`, the one call to EC2. It is made without a client of the SDK for
//! EC2, which is larger than all others together, but with everything that the others
//! have: signer, retries, timeouts and connections.

use aws_config::BehaviorVersion;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ErrorMetadata;
use http_body_util::Limited;
use strongroom_core::{Error, Result};

use crate::connection::Aws;
use crate::error::Call;
use crate::region;
use crate::signing::signed_for;

/// The EC2 Query API, and its version. Only regions that the account has enabled.
const FORM: &str = "Action=DescribeRegions&Version=2016-11-15&AllRegions=false";

/// The answer has about 5 KB.
const MAX_BYTES: usize = 1 << 20;

type Describe = Operation<(), Vec<String>, ErrorMetadata>;

impl Aws {
    /// A region of this partition that every account has.
    #[must_use]
    pub fn default_test_region(&self) -> &'static str {
        match region::partition(self.region()) {
            "aws-us-gov" => "us-gov-west-1",
            "aws-cn" => "cn-north-1",
            _ => "us-east-1",
        }
    }

    /// The regions that the account has enabled, asked of EC2 in `test_region`: without
    /// one, in [`Aws::default_test_region`].
    ///
    /// # Errors
    /// `Configuration` if `test_region` is no region, or one of another partition;
    /// `AccessDenied` if no policy allows `ec2:DescribeRegions`; `Unauthenticated` if
    /// there is no credential or AWS does not take it; `Unavailable` or `Throttled` if
    /// EC2 does not answer.
    pub async fn describe_regions(&self, test_region: Option<&str>) -> Result<Vec<String>> {
        let asked = test_region.unwrap_or(self.default_test_region());
        region::check(asked)?;
        if region::partition(asked) != region::partition(self.region()) {
            return Err(Error::configuration(format!(
                "the test region {asked} is of another partition than {}",
                self.region()
            )));
        }
        let call = Call {
            service: "AWS EC2",
            action: "ec2:DescribeRegions",
            resource: "*".to_owned(),
            region: asked.to_owned(),
        };
        let operation = self.operation(asked)?;
        let answer = async move { operation.invoke(()).await.map_err(|error| call.failed(error)) };
        self.runtime.run(answer).await
    }

    fn operation(&self, region: &str) -> Result<Describe> {
        let config = &self.config;
        let parts = (config.http_client(), config.timeout_config(), config.credentials_provider());
        let (Some(http), Some(timeouts), Some(credentials)) = parts else {
            return Err(Error::internal("the connection to AWS is not complete"));
        };
        let fips = config.use_fips().unwrap_or_default();
        let endpoint = config.endpoint_url().map_or_else(|| endpoint(region, fips), str::to_owned);
        let plugin = signed_for("ec2", region, credentials);
        let operation = Operation::builder()
            .service_name("ec2")
            .operation_name("DescribeRegions")
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .endpoint_url(&endpoint)
            .timeout_config(timeouts.clone())
            .with_connection_poisoning()
            .interceptor(Bounded)
            .runtime_plugin(plugin)
            .serializer(|()| request())
            .deserializer(answer);
        Ok(self.retry.operation(operation).build())
    }
}

/// EC2 in `region` (AWS General Reference, "Amazon EC2 endpoints"). The endpoints of
/// `GovCloud` are FIPS endpoints, and China has none.
fn endpoint(region: &str, fips: bool) -> String {
    match region::partition(region) {
        "aws-cn" => format!("https://ec2.{region}.amazonaws.com.cn"),
        "aws" if fips => format!("https://ec2-fips.{region}.amazonaws.com"),
        _ => format!("https://ec2.{region}.amazonaws.com"),
    }
}

fn request() -> std::result::Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(FORM));
    request.set_method("POST")?;
    request.set_uri("/")?;
    request.headers_mut().insert("content-type", "application/x-www-form-urlencoded");
    Ok(request)
}

fn answer(
    response: &HttpResponse,
) -> std::result::Result<Vec<String>, OrchestratorError<ErrorMetadata>> {
    let text = response.body().bytes().and_then(|body| std::str::from_utf8(body).ok());
    let text = text.unwrap_or_default();
    if response.status().is_success() {
        // `Call::failed` knows what an error with a status of success is.
        return names(text).ok_or_else(|| OrchestratorError::operation(ErrorMetadata::default()));
    }
    let mut error = ErrorMetadata::builder();
    if let Some(code) = elements(text, "Code").and_then(|all| all.first().copied()) {
        error = error.code(code);
    }
    if let Some(message) = elements(text, "Message").and_then(|all| all.first().copied()) {
        error = error.message(message);
    }
    Err(OrchestratorError::operation(error.build()))
}

/// The names of regions in an answer; nothing if it is none.
fn names(text: &str) -> Option<Vec<String>> {
    let is_answer = text.contains("<DescribeRegionsResponse")
        && text.trim_end().ends_with("</DescribeRegionsResponse>");
    let names = elements(text, "regionName").filter(|names| is_answer && !names.is_empty())?;
    let is_name = |name: &&str| {
        let is_of_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !name.is_empty() && name.bytes().all(is_of_name)
    };
    names.iter().all(is_name).then(|| names.into_iter().map(str::to_owned).collect())
}

/// The texts of all elements of this name, which have neither attributes nor elements in
/// them; nothing if one does not end. No text can hold a tag: XML escapes it.
fn elements<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    text.split(&start).skip(1).map(|rest| Some(rest.split_once(&end)?.0.trim())).collect()
}

/// Ends an answer that is too long.
#[derive(Debug)]
struct Bounded;

impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "strongroom-bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let whole = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(whole, MAX_BYTES));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_endpoint() {
        assert_eq!(endpoint("us-east-1", false), "https://ec2.us-east-1.amazonaws.com");
        assert_eq!(endpoint("us-east-1", true), "https://ec2-fips.us-east-1.amazonaws.com");
        assert_eq!(endpoint("us-gov-west-1", true), "https://ec2.us-gov-west-1.amazonaws.com");
        assert_eq!(endpoint("cn-north-1", false), "https://ec2.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn regions_are_read_and_nothing_else() {
        let answer = |items: &str| {
            let head = "<?xml version=\"1.0\"?>\n<DescribeRegionsResponse xmlns=\"x\">";
            format!("{head}<regionInfo>{items}</regionInfo></DescribeRegionsResponse>\n")
        };
        let item = |name: &str| format!("<item><regionName>{name}</regionName></item>");
        let two = answer(&[item("eu-central-1"), item(" us-east-1\n")].concat());
        assert_eq!(names(&two).expect("an answer"), ["eu-central-1", "us-east-1"]);
        for bad in [
            String::new(),
            answer(""),
            answer(&item("")),
            answer(&item("eu-central-1<b/>")),
            answer(&item("Frankfurt")),
            answer("<regionName>eu-central-1"),
            two.replace("DescribeRegions", "Describe"),
            two[..two.len() - 4].to_owned(),
        ] {
            assert_eq!(names(&bad), None, "{bad}");
        }
    }
}
