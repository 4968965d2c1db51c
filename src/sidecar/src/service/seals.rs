//! `Seal` and `Open`: for callers who keep their ciphertext themselves.

use strongroom::config::Verb;
use strongroom::{Result, SecretBytes};
use strongroom_rpc::v1;

use super::reads::bytes_of;
use super::{Counted, Service};

impl Service {
    pub(super) async fn seal_value(
        &self,
        counted: Counted,
        request: v1::SealRequest,
    ) -> Result<v1::SealResponse> {
        let v1::SealRequest { name, context, value, scope } = request;
        let value = {
            let wire = value;
            SecretBytes::copy_from(&wire)?
        };
        let session = self.session();
        let (engine, name) = Self::admit(&session, Verb::Seal, &scope, &name).await?;
        let context = context.into_iter().collect();
        let work = async move { engine.seal(&name, context, &value).await };
        let sealed = self.finish(counted, work).await?;
        Ok(v1::SealResponse { sealed: sealed.into() })
    }

    pub(super) async fn open_sealed(
        &self,
        counted: Counted,
        request: v1::OpenRequest,
    ) -> Result<v1::OpenResponse> {
        let v1::OpenRequest { name, context, sealed, scope } = request;
        let session = self.session();
        let (engine, name) = Self::admit(&session, Verb::Open, &scope, &name).await?;
        let context = context.into_iter().collect();
        let work = async move { engine.open(&name, context, &sealed).await };
        let value = self.finish(counted, work).await?;
        Ok(v1::OpenResponse { value: bytes_of(value) })
    }
}
