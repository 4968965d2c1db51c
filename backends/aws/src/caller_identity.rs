//! A signed request that nobody sends here: whoever gets it sends it to STS, and learns
//! who signed. `HashiCorp` Vault lets an IAM user or role log in so.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_config::BehaviorVersion;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::ErrorMetadata;
use strongroom_core::{Error, Result};

use crate::connection::Aws;
use crate::error::Call;
use crate::region;
use crate::signing::signed_for;

/// The STS Query API, and its version.
const FORM: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// `GetCallerIdentity` as a signed POST. Whoever has it can be taken for the signer for
/// 15 minutes, wherever it says who somebody is.
#[non_exhaustive]
pub struct SignedCallerIdentity {
    /// The URL, of STS in the region.
    pub url: String,
    /// The headers, with the signature.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

type Sign = Operation<(), (), ErrorMetadata>;

impl Aws {
    /// Signs `GetCallerIdentity` with this connection's credential, and `header` among what
    /// is signed: its name and its value.
    ///
    /// # Errors
    /// `Unauthenticated` if there is no credential; `Configuration` if the header cannot be
    /// sent.
    pub async fn sign_caller_identity(
        &self,
        header: Option<(&'static str, &str)>,
    ) -> Result<SignedCallerIdentity> {
        let call = Call {
            service: "AWS STS",
            action: "sts:GetCallerIdentity",
            resource: "the credential".to_owned(),
            region: self.region().to_owned(),
        };
        let header = header.map(|(name, value)| (name, value.to_owned()));
        if let Some((name, value)) = &header
            && (value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()))
        {
            let what = format!("{} cannot be the value of {name}", value.escape_debug());
            return Err(Error::configuration(what));
        }
        let endpoint = self.config.endpoint_url().map_or_else(
            || endpoint(self.region(), self.config.use_fips().unwrap_or_default()),
            str::to_owned,
        );
        let taken = Taken::default();
        let operation = self.signing(&endpoint, header, taken.clone())?;
        let signed = async move {
            operation.invoke(()).await.map_err(|error| call.failed(error))?;
            taken.signed().ok_or_else(|| Error::internal(format!("{call} was not signed")))
        };
        self.runtime.run(signed).await
    }

    fn signing(
        &self,
        endpoint: &str,
        header: Option<(&'static str, String)>,
        taken: Taken,
    ) -> Result<Sign> {
        let Some(credentials) = self.config.credentials_provider() else {
            return Err(Error::internal("the connection to AWS is not complete"));
        };
        let plugin = signed_for("sts", self.region(), credentials);
        Ok(Operation::builder()
            .service_name("sts")
            .operation_name("GetCallerIdentity")
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(taken.clone())))
            .endpoint_url(endpoint)
            .no_retry()
            .runtime_plugin(plugin)
            .serializer(move |()| request(header.as_ref()))
            .deserializer(|_| Ok(()))
            .build())
    }
}

impl fmt::Debug for SignedCallerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedCallerIdentity").field("url", &self.url).finish_non_exhaustive()
    }
}

/// STS in `region` (AWS General Reference, "AWS Security Token Service endpoints"). The
/// endpoints of `GovCloud` are FIPS endpoints, and China has none.
fn endpoint(region: &str, fips: bool) -> String {
    match region::partition(region) {
        "aws-cn" => format!("https://sts.{region}.amazonaws.com.cn"),
        "aws" if fips => format!("https://sts-fips.{region}.amazonaws.com"),
        _ => format!("https://sts.{region}.amazonaws.com"),
    }
}

fn request(header: Option<&(&'static str, String)>) -> std::result::Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(FORM));
    request.set_method("POST")?;
    request.set_uri("/")?;
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    request.headers_mut().insert("content-type", form);
    if let Some((name, value)) = header {
        request.headers_mut().try_insert(*name, value.clone())?;
    }
    Ok(request)
}

/// Takes the request where it would be sent, and says that all is well.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Option<SignedCallerIdentity>>>);

impl Taken {
    fn signed(&self) -> Option<SignedCallerIdentity> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl HttpConnector for Taken {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let signed = SignedCallerIdentity {
            url: request.uri().to_owned(),
            headers: request.headers().iter().map(pair).collect(),
            body: FORM.to_owned(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(signed);
        let ok = aws_smithy_runtime_api::http::StatusCode::try_from(200);
        HttpConnectorFuture::ready(ok.map(|ok| HttpResponse::new(ok, SdkBody::empty())).map_err(
            |error| {
                aws_smithy_runtime_api::client::result::ConnectorError::other(error.into(), None)
            },
        ))
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taken")
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::SecretBytes;

    use super::*;
    use crate::{AwsSettings, Credential};

    fn signed(header: Option<(&'static str, &str)>) -> Result<SignedCallerIdentity> {
        let mut settings = AwsSettings::new("eu-central-1");
        let secret = SecretBytes::copy_from(b"hunter2").expect("memory");
        let token = SecretBytes::copy_from(b"a-session-token").expect("memory");
        let key = Credential::access_key("AKIDEXAMPLE", secret, Some(token));
        settings.credential = key.expect("text");
        futures_executor::block_on(async {
            Aws::connect(&settings).await?.sign_caller_identity(header).await
        })
    }

    #[test]
    fn what_is_to_be_signed_is_signed_and_nobody_is_asked() {
        let signed = signed(Some(("x-vault-aws-iam-server-id", "vault.acme"))).expect("signed");
        assert_eq!(signed.url, "https://sts.eu-central-1.amazonaws.com/");
        let header = |name: &str| {
            let found = signed.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(header("x-vault-aws-iam-server-id"), Some("vault.acme"));
        assert_eq!(header("x-amz-security-token"), Some("a-session-token"));
        let authorization = header("authorization").expect("a signature");
        assert!(authorization.contains("/eu-central-1/sts/aws4_request"), "{authorization}");
        assert!(authorization.contains("x-vault-aws-iam-server-id"), "{authorization}");
        let shown = format!("{signed:?}");
        assert!(!shown.contains("a-session-token") && !shown.contains("Signature"), "{shown}");
    }

    #[test]
    fn a_header_that_would_be_two_is_refused() {
        for bad in ["", "a\r\nb", "a b"] {
            let error = signed(Some(("x-vault-aws-iam-server-id", bad))).expect_err(bad);
            assert_eq!(error.kind(), strongroom_core::ErrorKind::Configuration);
        }
    }

    #[test]
    fn every_partition_has_its_endpoint() {
        assert_eq!(endpoint("us-east-1", false), "https://sts.us-east-1.amazonaws.com");
        assert_eq!(endpoint("us-east-1", true), "https://sts-fips.us-east-1.amazonaws.com");
        assert_eq!(endpoint("us-gov-west-1", true), "https://sts.us-gov-west-1.amazonaws.com");
        assert_eq!(endpoint("cn-north-1", false), "https://sts.cn-north-1.amazonaws.com.cn");
    }
}
