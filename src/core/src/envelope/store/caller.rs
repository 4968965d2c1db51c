//! Values that their callers keep: records like those of secrets, in a context
//! of their own, that no record store ever sees.

use strongroom_guard::SecretBytes;

use super::super::{Header, Record, seal};
use super::EnvelopeStore;
use crate::context::{CallerContext, EncryptionContext};
use crate::error::Result;
use crate::secret::Kind;

impl EnvelopeStore {
    pub(super) async fn seal_for_caller(
        &self,
        context: &CallerContext,
        value: &SecretBytes,
    ) -> Result<Vec<u8>> {
        self.owns(context.name().scope())?;
        self.check_length(value)?;
        // Nobody but the caller knows what the bytes are.
        let (suite, created) = (self.options.suite, self.clock.now());
        let header = Header::of_value(suite, Kind::File, created);
        let context = EncryptionContext::of_caller(context);
        let sealed = seal(&*self.wrapper, &context, &header, value.expose()).await?;
        Ok(sealed.bytes)
    }

    pub(super) async fn open_for_caller(
        &self,
        context: &CallerContext,
        sealed: &[u8],
    ) -> Result<SecretBytes> {
        self.owns(context.name().scope())?;
        let context = EncryptionContext::of_caller(context);
        Record::parse(sealed)?.open(&*self.wrapper, &context).await
    }
}
